"""RDO: it finds what is planted, its terms are what they say, and it leaves the model as it was.

Gradients are checked against central differences of step 1e-2 along random directions, within 2%
or 1e-3: losses are float32 sums of order 1 to 10, whose rounding moves a difference by about 1e-4.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from support.directions import a_direction
from support.planted_circuit import planted_prompts
from support.planted_subspace import (
    ALPHA,
    REFUSAL,
    A,
    B,
    axis,
    in_the_stream,
    planted_plane,
    share_of_plane,
)

from refusal_lens.errors import InputError
from refusal_lens.evaluation.costs import kl_at_last_token
from refusal_lens.evaluation.scoring import opening_score
from refusal_lens.interventions import Ablate, Add
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.model.bridge import hugging_face_of
from refusal_lens.optimised import Learned, Objective, Settings, Weights, fit_rdo
from refusal_lens.optimised.independence_term import IndependenceLoss
from refusal_lens.optimised.passes import LearningPasses, learning
from refusal_lens.optimised.problem import Problem
from refusal_lens.optimised.rows import _first_sentence, answer_rows, refusal_rows, text_rows
from refusal_lens.optimised.score_term import RefusalScoreLoss
from refusal_lens.optimised.terms import RetainLoss, TargetLoss
from refusal_lens.sites import Site

SHORT = Settings(steps=6, rows=4, target_tokens=2, retain_tokens=1, evaluate_every=2)
FAST = Settings(steps=30, rows=4, target_tokens=1, retain_tokens=0, learning_rate=0.03)
OPENINGS = ((5, 9), (5, 3), (7, 2))


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    return planted_plane(tmp_path_factory.mktemp("plane"))


@pytest.fixture(scope="module")
def prompts():
    return planted_prompts(6)


def word(model):
    return model.chat.tokenizer.decode([REFUSAL])


def poor_start(model):
    generator = torch.Generator().manual_seed(0)
    return in_the_stream(model, torch.randn(model.d_model, generator=generator))


def short_objective(model, prompts, **fields):
    return Objective(prompts.only(label="comply"), a_direction(model), refusals="No.", **fields)


def test_a_poor_start_ends_in_the_planted_plane(plane, prompts):
    start = poor_start(plane)
    assert float(share_of_plane(start.vector[None])) < 0.3
    objective = Objective(prompts.only(label="comply"), start, refusals=word(plane))
    learned = fit_rdo(plane, objective, settings=FAST)
    assert float(share_of_plane(learned.basis)) > 0.95
    assert learned.evaluation[-1] < 0.05 * learned.evaluation[0]
    with plane.editing(Add(learned.direction, strength=1.0)):
        added = plane.logits(prompts.only(label="comply")).softmax(-1)[:, REFUSAL]
    assert added.min() > 0.9


def test_the_score_under_ablation_finds_what_supplies_refusal(plane, prompts):
    """Without addition and retain terms nothing but the refuse-side prompts' score teaches."""
    refused = prompts.only(label="refuse")
    start = in_the_stream(plane, axis(plane, A, B) + 2.0 * axis(plane, 25))
    objective = Objective(
        prompts.only(label="comply"), start, refused=refused, refusal_openings=((REFUSAL,),)
    )
    weights = Weights(addition=0.0, retain=0.0)
    learned = fit_rdo(plane, objective, settings=replace(FAST, weights=weights))
    with plane.editing(Ablate(start)):
        before = plane.logits(refused).softmax(-1)[:, REFUSAL].mean()
    with plane.editing(Ablate(learned.direction)):
        after = plane.logits(refused).softmax(-1)[:, REFUSAL].mean()
    assert before > 0.1 and after < 0.01
    assert learned.method == (
        "RDO without addition and retain terms with the refusal score as ablation term"
    )


def test_independence_turns_to_the_other_axis(plane, prompts):
    """Every direction of the plane refuses; of those, one is independent of the first axis."""
    first = in_the_stream(plane, axis(plane, A))
    start = in_the_stream(plane, axis(plane, A) + 0.5 * axis(plane, B))
    asked = Objective(
        prompts.only(label="comply"),
        start,
        refusals=word(plane),
        refused=prompts.only(label="refuse"),
        independent_of=(first,),
    )
    # The paper's weight of 200 outweighs refusal here: without A the stream is shorter, and that
    # changes cosines with B, too.
    settings = replace(FAST, weights=Weights(independence=5.0))
    apart = fit_rdo(plane, asked, settings=settings)
    alone = fit_rdo(plane, replace(asked, independent_of=()), settings=replace(settings, steps=10))
    assert apart.terms == ("addition", "retain", "independence")
    assert apart.method == "RDO without ablation term independent of 1 direction"
    assert abs(float(alone.basis[0] @ first.vector)) > 0.8
    assert abs(float(apart.basis[0] @ first.vector)) < 0.3
    assert float(share_of_plane(apart.basis)) > 0.9


def all_terms(model, prompts):
    """Each term with the edit-free rows that it reads, on a few prompts of unequal length."""
    harmless, refused = prompts.only(label="comply"), prompts.only(label="refuse")
    passes = LearningPasses(model, a_direction(model))
    to_refuse = text_rows(model, harmless, "No!", 2)
    other = a_direction(model, seed=5)
    return {
        "addition": TargetLoss(passes, to_refuse, lambda d: Add(d, alpha=3.0)),
        "answers": TargetLoss(passes, text_rows(model, refused, "Yes", 2), Ablate),
        "retain": RetainLoss(passes, answer_rows(model, harmless, 2), n_at_once=4),
        "code": RetainLoss(passes, answer_rows(model, harmless, 2), n_at_once=4, form="code"),
        "score": RefusalScoreLoss(passes, to_refuse, tuple((t,) for t in range(150))),
        "independence": IndependenceLoss(passes, to_refuse, [other], n_at_once=4),
    }


def test_gradients_are_those_of_the_losses(tiny, three_categories):
    with learning(tiny):
        terms = all_terms(tiny, three_categories)
        for name, term in terms.items():
            r = a_direction(tiny).vector.requires_grad_()
            (gradient,) = torch.autograd.grad(term.losses([0, 1, 2], [r] * 3).sum(), r)
            along = F.normalize(a_direction(tiny, seed=9).vector - 0.1 * r.detach(), dim=0)
            along = F.normalize(along - (along @ r.detach()) * r.detach(), dim=0)
            with torch.no_grad():
                moved = [F.normalize(r + step * along, dim=0) for step in (1e-2, -1e-2)]
                up, down = (float(term.losses([0, 1, 2], [v] * 3).sum()) for v in moved)
            slope = (up - down) / 2e-2
            assert float(gradient @ along) == pytest.approx(slope, rel=2e-2, abs=1e-3), name
            assert abs(slope) > 1e-4, name


def test_each_row_has_a_vector_of_its_own(tiny, three_categories):
    with learning(tiny):
        vectors = [a_direction(tiny, seed=seed).vector for seed in range(3)]
        for name, term in all_terms(tiny, three_categories).items():
            together = term.losses([0, 1, 2], vectors)
            alone = torch.cat([term.losses([i], [v]) for i, v in enumerate(vectors)])
            assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4), name


def test_terms_are_what_the_public_methods_measure(tiny_llama, three_categories):
    model, d = tiny_llama, a_direction(tiny_llama)
    harmless = three_categories.only(label="comply")
    every, vectors = range(len(harmless)), [d.vector] * len(harmless)
    with learning(model), torch.no_grad():
        passes, rows = LearningPasses(model, d), text_rows(model, harmless, "No!", 2)
        added = TargetLoss(passes, rows, lambda v: Add(v, strength=1.0)).losses(every, vectors)
        last = answer_rows(model, harmless, 0)
        kept = RetainLoss(passes, last, n_at_once=4).losses(every, vectors)
        turned = RetainLoss(passes, last, n_at_once=4, form="code").losses(every, vectors)
        opened = RefusalScoreLoss(passes, rows, OPENINGS).losses(every, vectors)
        first = RefusalScoreLoss(passes, rows, ((5,), (7,))).losses(every, vectors)
    with model.editing(Add(d, strength=1.0)):
        log_p = model.answer_log_probs(harmless, [rows[0].target] * len(harmless))
    plain = model.logits(harmless)
    with model.editing(Ablate(d)):
        ablated = model.logits(harmless)
        openings = opening_score(model, harmless, OPENINGS)
    assert torch.allclose(added, -log_p / 2, atol=1e-4)
    assert torch.allclose(kept, kl_at_last_token(plain, ablated), atol=1e-4)
    assert torch.allclose(turned, kl_at_last_token(ablated, plain), atol=1e-4)
    assert torch.allclose(opened, F.softplus(openings), atol=1e-4)
    assert torch.allclose(first, F.softplus(first_token_score(ablated, (5, 7))), atol=1e-4)


def test_the_code_s_retain_term_is_a_sum(tiny_llama, three_categories):
    """The released form: another direction, and summed over the positions."""
    model, d = tiny_llama, a_direction(tiny_llama)
    rows = answer_rows(model, three_categories, 2)
    with learning(model), torch.no_grad():
        passes = LearningPasses(model, d)
        code = RetainLoss(passes, rows[:1], n_at_once=4, form="code").losses([0], [d.vector])
        plain, ablated = (
            passes.logits(rows[:1], edit)[0].log_softmax(-1) for edit in (None, Ablate(d))
        )
    assert len(plain) == 3
    by_hand = (ablated.exp() * (ablated - plain)).sum()
    assert float(code) == pytest.approx(float(by_hand), rel=1e-4)


def test_an_addition_runs_no_block_below_its_layer(tiny_llama, three_categories):
    model = tiny_llama
    ran = []
    blocks = hugging_face_of(model.backend).model.layers
    handles = [
        block.self_attn.register_forward_hook(lambda *_, i=i: ran.append(i))
        for i, block in enumerate(blocks)
    ]
    try:
        with learning(model):
            passes = LearningPasses(model, a_direction(model, layer=2))
            rows = text_rows(model, three_categories, "No!", 2)
            edit = passes.edit([passes.start.vector], lambda d: Add(d, strength=1.0))
            passes.keep_streams(rows, edit, 4)
            ran.clear()
            begun = passes.logits(rows[:2], edit)
        n_first = ran.count(0), ran.count(2)
    finally:
        for handle in handles:
            handle.remove()
    with learning(model):  # no streams: whole passes
        whole = LearningPasses(model, passes.start).logits(rows[:2], edit)
    assert n_first == (1, 2)  # the template's prefix is run whole, the rows from block 2
    for a, b in zip(begun, whole, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_the_model_is_left_as_it_was(tiny_llama, three_categories):
    model = tiny_llama
    before, hooks = model.logits(three_categories), model.backend.hook_count()
    weights = hugging_face_of(model.backend)
    saved = {name: w.clone() for name, w in weights.state_dict().items()}
    asked = {name: w.requires_grad for name, w in weights.named_parameters()}
    objective = short_objective(model, three_categories)

    def stop(n):
        raise KeyboardInterrupt

    fit_rdo(model, objective, settings=SHORT)
    with pytest.raises(KeyboardInterrupt):
        fit_rdo(model, objective, settings=SHORT, progress=stop)
    assert model.backend.hook_count() == hooks and model.edits_text == "none"
    assert torch.equal(model.logits(three_categories), before)
    assert all(torch.equal(w, saved[name]) for name, w in weights.state_dict().items())
    assert all(w.grad is None for w in weights.parameters())
    assert asked == {name: w.requires_grad for name, w in weights.named_parameters()}


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_a_stopped_fit_goes_on_bit_for_bit(tiny_llama, three_categories, tmp_path, stop_at):
    objective = short_objective(tiny_llama, three_categories)
    whole = fit_rdo(tiny_llama, objective, settings=SHORT)
    done = []

    def count(n):
        done.append(n)
        if len(done) == stop_at:
            raise KeyboardInterrupt

    stem = tmp_path / "fit"
    with pytest.raises(KeyboardInterrupt):
        fit_rdo(tiny_llama, objective, settings=SHORT, checkpoint=stem, progress=count)
    done.clear()
    resumed = fit_rdo(
        tiny_llama, objective, settings=SHORT, checkpoint=stem, progress=lambda n: done.append(n)
    )
    assert sum(done) == SHORT.steps
    assert torch.equal(resumed.basis, whole.basis)
    assert torch.equal(resumed.losses, whole.losses)
    assert torch.equal(resumed.evaluation, whole.evaluation)
    with pytest.raises(InputError, match="checkpoint of another fit"):
        fit_rdo(tiny_llama, objective, settings=replace(SHORT, seed=1), checkpoint=stem)
    other = replace(objective, start=a_direction(tiny_llama, seed=4))
    with pytest.raises(InputError, match="checkpoint of another fit"):
        fit_rdo(tiny_llama, other, settings=SHORT, checkpoint=stem)


def test_seeds(tiny_llama, three_categories):
    objective = short_objective(tiny_llama, three_categories)
    with torch.inference_mode():  # whoever calls it
        first = fit_rdo(tiny_llama, objective, settings=SHORT)
    again = fit_rdo(tiny_llama, objective, settings=SHORT)
    other = fit_rdo(tiny_llama, objective, settings=replace(SHORT, seed=1))
    assert torch.equal(first.basis, again.basis) and torch.equal(first.losses, again.losses)
    assert (first.losses - other.losses).abs().max() > 1e-3
    assert first.losses.shape == (SHORT.steps, 2)
    assert bool((first.losses > 0).all())


def test_the_result_is_kept_and_read_back(tiny_llama, three_categories, tmp_path):
    learned = fit_rdo(tiny_llama, short_objective(tiny_llama, three_categories), settings=SHORT)
    learned.save(tmp_path / "learned")
    again = Learned.load(tmp_path / "learned")
    assert torch.equal(again.basis, learned.basis) and again.settings == SHORT
    assert again.method == "RDO without ablation term"
    assert again.chosen == again.evaluated[int(again.evaluation.argmin())]
    d = again.direction
    resid = tiny_llama.residuals(three_categories.only(label="comply"), sites=[d.site]).tensor
    assert d.low == pytest.approx(float((resid[:, 0, 0] @ d.vector).mean()), abs=1e-4)
    assert d.high - d.low == pytest.approx(d.scale) and d.scale == pytest.approx(3.0)
    assert d.site == Site(1) and d.provenance.seed == SHORT.seed


def test_own_refusals_end_with_their_first_sentence(plane, prompts):
    """The start brings about the refusal token over and over, until a full stop is put there."""
    objective = Objective(prompts.only(label="comply"), in_the_stream(plane, axis(plane, A)))
    rows = refusal_rows(plane, objective, ALPHA, n_tokens=3)
    assert all(row.target == (REFUSAL,) * 3 for row in rows)
    (stop,) = plane.chat.tokenizer(".", add_special_tokens=False)["input_ids"]
    assert _first_sentence(plane, (REFUSAL, stop, REFUSAL)) == (REFUSAL, stop)


def test_what_is_off_is_named(tiny_llama, three_categories):
    refused = three_categories.only(label="refuse")
    answers = ["Yes."] * len(refused)
    base = short_objective(tiny_llama, three_categories)
    full_objective = replace(base, refused=refused, answers=answers)

    def method(objective, **changes):
        return Problem(tiny_llama, objective, replace(SHORT, **changes), "RDO", 1).method

    assert method(full_objective) == "RDO"
    assert method(full_objective, weights=Weights(ablation=0.0)) == "RDO without ablation term"
    assert method(full_objective, weights=Weights(addition=0.0)) == "RDO without addition term"
    assert method(full_objective, retain="code") == "RDO with the released code's retain term"
    assert fit_rdo(tiny_llama, full_objective, settings=SHORT).terms == (
        "ablation",
        "addition",
        "retain",
    )


def test_errors_are_one_line(tiny_llama, three_categories):
    objective = short_objective(tiny_llama, three_categories)
    none = replace(SHORT, weights=Weights(addition=0.0, retain=0.0))
    wide = replace(objective, start=replace(a_direction(tiny_llama), vector=torch.eye(8)[0]))
    cases = [
        (objective, none, "every loss term is off"),
        (wide, SHORT, "8 wide, this model's stream 32"),
        (replace(objective, refusals=""), SHORT, "has no token"),
    ]
    for asked, settings, words in cases:
        with pytest.raises(InputError, match=words) as error:
            fit_rdo(tiny_llama, asked, settings=settings)
        assert "\n" not in str(error.value)
    with (
        tiny_llama.editing(Ablate(a_direction(tiny_llama))),
        pytest.raises(InputError, match="is on: directions are learned on the unedited model"),
    ):
        fit_rdo(tiny_llama, objective, settings=SHORT)
