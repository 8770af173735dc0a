"""Where and when edits act, against an implementation without batches, caches or shared prefix.

Tolerance 1e-4 on logits of order 10, as in test_gates.py; the largest difference between a batch
behind a shared prefix and Hugging Face's own forward pass, one prompt at a time, was 2e-5.
"""

import math
from dataclasses import replace

import pytest
import torch
from support.reference.steering import resid_at, steered_answer, steered_logits

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import (
    Ablate,
    AblateSubspace,
    Add,
    Affine,
    Clamp,
    Cosine,
    Leace,
    Only,
    PerRow,
    Probe,
    Rotate,
    When,
)
from refusal_lens.model import Decoding
from refusal_lens.records import Provenance
from refusal_lens.sites import Site, stream_writes

TOLERANCE = 1e-4
D_MODEL = 32
N_NEW = 5
PROVENANCE = Provenance("tiny", "", "", "prefix", "prompts", "float32", "cpu")
PROMPTS = ("Why?", "Name two", "How does a long question about tides end?", "Go on no no")
ALWAYS = lambda place: True  # noqa: E731
PRE, MID, POST = "resid_pre", "resid_mid", "resid_post"


def direction(seed=0, scale=3.0, layer=1, offset=-1):
    vector = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(seed))
    return Direction.from_difference(
        vector / vector.norm() * scale,
        category=f"d{seed}",
        site=Site(layer),
        offset=offset,
        provenance=PROVENANCE,
        low=0.5,
    )


A, B = direction(0), direction(1)


def plus(d, length):
    return lambda x: x + length * d.vector


def set_to(d, value):
    return lambda x: x + (value - x @ d.vector)[:, None] * d.vector


def turned(x):
    """Angular steering to 30 degrees in the plane of A and B, where x . A is positive."""
    b2 = B.vector - (B.vector @ A.vector) * A.vector
    b2 = b2 / b2.norm()
    a, b = x @ A.vector, x @ b2
    size = (a * a + b * b).sqrt()
    angle = math.pi / 6
    new = (
        x
        + (size * math.cos(angle) - a)[:, None] * A.vector
        + (size * math.sin(angle) - b)[:, None] * b2
    )
    return torch.where((a > 0)[:, None], new, x)


def points(*names):
    return tuple(Site(layer, name) for layer in range(3) for name in names)


def everywhere(change, sites):
    return [(site, change, ALWAYS) for site in sites]


SPAN = torch.linalg.qr(torch.stack([A.vector, B.vector]).T)[0]
ADD = Add(A, strength=1.0)
CASES = {
    "prompt": (Only(ADD, "prompt"), [(Site(1), plus(A, 3.0), lambda p: p < 0)]),
    "generated": (Only(ADD, "generated"), [(Site(1), plus(A, 3.0), lambda p: p >= 0)]),
    "two offsets": (
        Only(ADD, "prompt", (-1, -3)),
        [(Site(1), plus(A, 3.0), lambda p: p in (-1, -3))],
    ),
    "an offset and the answer": (
        Only(ADD, "all", (-2,)),
        [(Site(1), plus(A, 3.0), lambda p: p == -2 or p >= 0)],
    ),
    "an offset in the shared prefix": (
        Only(Add(A, alpha=9.0), "prompt", (-20,)),
        [(Site(1), plus(A, 9.0), lambda p: p == -20)],
    ),
    "clamped behind a block": (
        Clamp(A, "high", at=(Site(1, POST),)),
        [(Site(1, POST), set_to(A, 3.5), ALWAYS)],
    ),
    "affine": (Affine(A, -1.0), [(Site(1), set_to(A, -2.5), ALWAYS)]),
    "turned": (
        Rotate(A, B.vector, degrees=30.0, adaptive=True, at=(Site(1), Site(2))),
        everywhere(turned, (Site(1), Site(2))),
    ),
    "span": (
        AblateSubspace((A, B)),
        everywhere(lambda x: x - (x @ SPAN) @ SPAN.T, stream_writes(3)),
    ),
    "two in order": (
        Ablate(A, at=(Site(1),)) + Add(B, strength=1.0),
        [(Site(1), set_to(A, 0.0), ALWAYS), (Site(1), plus(B, 3.0), ALWAYS)],
    ),
    "two in the other order": (
        Add(B, strength=1.0) + Ablate(A, at=(Site(1),)),
        [(Site(1), plus(B, 3.0), ALWAYS), (Site(1), set_to(A, 0.0), ALWAYS)],
    ),
    "between attention and MLP": (
        Clamp(A, 2.0, at=points(MID)),
        everywhere(set_to(A, 2.0), points(MID)),
    ),
    "between, behind an edit of the input": (
        Ablate(A, at=points(PRE, MID, POST)) + Add(A, alpha=4.0),
        # The addition stands behind the ablation at its own site; the middle ablates it again.
        [
            *everywhere(set_to(A, 0.0), points(PRE)),
            (Site(1), plus(A, 4.0), ALWAYS),
            *everywhere(set_to(A, 0.0), points(MID, POST)),
        ],
    ),
}


def reference_logits(model, chat, acts, prompts=PROMPTS):
    rows = [chat.ids(p) for p in prompts]
    return torch.stack([steered_logits(model, ids, len(ids), acts)[-1] for ids in rows])


@pytest.fixture
def reference(hugging_face, request):
    return hugging_face(request.node.callspec.params["tiny"][0])[0]


@pytest.mark.parametrize("case", CASES)
def test_edits_act_as_if_unbatched_uncached_and_unshared(tiny, reference, case):
    edit, acts = CASES[case]
    plain = tiny.logits(PROMPTS)
    stops = tiny.stops
    with tiny.editing(edit):
        ours = tiny.logits(PROMPTS)
        cached = tiny.generate_ids(PROMPTS, Decoding(N_NEW))
        whole = tiny.generate_ids(PROMPTS, Decoding(N_NEW, use_cache=False))
    rows = [tiny.chat.ids(p) for p in PROMPTS]
    assert (ours - reference_logits(reference, tiny.chat, acts)).abs().max() < TOLERANCE
    expected = [steered_answer(reference, ids, acts, N_NEW, stops) for ids in rows]
    assert cached == expected
    assert whole == expected
    if case == "generated":
        assert torch.equal(ours, plain)  # the prompt's last token chooses the first one
        assert expected != [steered_answer(reference, ids, [], N_NEW, stops) for ids in rows]
    else:
        assert (ours - plain).abs().max() > 1e-3


def test_the_answer_is_the_generated_phase_when_it_is_given(tiny, reference):
    """Teacher-forced answers: their tokens are edited as generated ones, the prompt is not."""
    answers = [(70, 71, 72), (73, 74), (75,), (76, 77, 78, 79)]
    _, acts = CASES["generated"]
    with tiny.editing(CASES["generated"][0]):
        ours = tiny.answer_log_probs(PROMPTS, answers)
    plain = tiny.answer_log_probs(PROMPTS, answers)
    for i, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        ids = tiny.chat.ids(prompt)
        logits = steered_logits(reference, [*ids, *answer], len(ids), acts)
        p = logits.log_softmax(-1)[len(ids) - 1 : -1]
        expected = p[torch.arange(len(answer)), torch.tensor(answer)].sum()
        assert abs(float(ours[i] - expected)) < TOLERANCE
    assert abs(float((ours - plain)[2])) < 1e-6  # one token: chosen before any was edited
    assert (ours - plain).abs().max() > 1e-3


@pytest.mark.parametrize("case", ["generated", "prompt", "two offsets", "an offset and the answer"])
def test_answers_behind_one_prompt_are_as_probable_as_each_alone(tiny, reference, case):
    """Three answers per prompt, of different length: the prompt is read once for all of them."""
    edit, acts = CASES[case]
    answer_ids = [(70, 71, 72, 73, 74), (75,), (), (76, 77)]
    rows = [(prompt, answer_ids[(i + k) % 4]) for k in range(3) for i, prompt in enumerate(PROMPTS)]
    ticks = []
    with tiny.editing(edit):
        prompts, answers = (list(column) for column in zip(*rows, strict=True))
        ours = tiny.answer_log_probs(prompts, answers, progress=ticks.append)
        alone = [tiny.answer_log_probs([p], [a]) for p, a in rows]
    assert sum(ticks) == len(rows)
    assert (ours - torch.cat(alone)).abs().max() < TOLERANCE
    for (prompt, answer), log_prob in zip(rows, ours.tolist(), strict=True):
        ids = tiny.chat.ids(prompt)
        logits = steered_logits(reference, [*ids, *answer], len(ids), acts)
        p = logits.log_softmax(-1)[len(ids) - 1 : -1] if answer else logits[:0]
        expected = p[torch.arange(len(answer)), torch.tensor(answer, dtype=torch.int64)].sum()
        assert abs(log_prob - float(expected)) < TOLERANCE


def test_three_sites_of_arditi_equal_three_sites_of_joad(tiny):
    plain = tiny.logits(PROMPTS)
    with tiny.editing(Ablate(A)):
        writes = tiny.logits(PROMPTS)
    with tiny.editing(Ablate(A, at=points(PRE, MID, POST))):
        stream = tiny.logits(PROMPTS)
        answers = tiny.generate_ids(PROMPTS, Decoding(N_NEW))
        assert answers == tiny.generate_ids(PROMPTS, Decoding(N_NEW, use_cache=False))
    assert (writes - stream).abs().max() < TOLERANCE
    assert (writes - plain).abs().max() > 1e-3


def test_an_inner_context_is_seen_in_the_middle_of_an_outer_one(tiny, reference):
    outer, inner = Clamp(A, 2.0, at=(Site(1, MID),)), Add(B, alpha=5.0)
    acts = [(Site(1), plus(B, 5.0), ALWAYS), (Site(1, MID), set_to(A, 2.0), ALWAYS)]
    with tiny.editing(outer), tiny.editing(inner):
        nested = tiny.logits(PROMPTS)
        assert tiny.edits_text == f"{outer!r} + {inner!r}"
    assert tiny.edits_text == "none"
    assert (nested - reference_logits(reference, tiny.chat, acts)).abs().max() < TOLERANCE


# --- conditions -------------------------------------------------------------------------------


def cosines(model, chat, layer, offset):
    rows = [resid_at(model, chat.ids(p), layer, offset) for p in PROMPTS]
    return [float(x @ A.vector / x.norm()) for x in rows]


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("side", ["above", "below"])
def test_a_condition_is_decided_for_each_prompt(tiny, reference, layer, side):
    """The edit stands at layer 1, the condition is read before it, at it and behind it."""
    condition_at = direction(0, layer=layer, offset=-15)
    values = cosines(reference, tiny.chat, layer, -15)
    threshold = sum(sorted(values)[1:3]) / 2
    met = [v > threshold if side == "above" else v < threshold for v in values]
    assert sorted(met) == [False, False, True, True]
    condition = Cosine(condition_at, side, threshold)
    acts = [(Site(1), plus(B, 6.0), ALWAYS)]
    edit = When(condition, Add(B, alpha=6.0))
    rows = [tiny.chat.ids(p) for p in PROMPTS]
    with tiny.editing(edit):
        ours = tiny.logits(PROMPTS)
        alone = torch.cat([tiny.logits([p]) for p in PROMPTS])
        cached = tiny.generate_ids(PROMPTS, Decoding(N_NEW))
        whole = tiny.generate_ids(PROMPTS, Decoding(N_NEW, use_cache=False))
    expected = [
        steered_logits(reference, ids, len(ids), acts if m else [])[-1]
        for ids, m in zip(rows, met, strict=True)
    ]
    answers = [
        steered_answer(reference, ids, acts if m else [], N_NEW, tiny.stops)
        for ids, m in zip(rows, met, strict=True)
    ]
    assert (ours - torch.stack(expected)).abs().max() < TOLERANCE
    assert (alone - ours).abs().max() < TOLERANCE
    assert cached == whole == answers


def test_a_condition_reads_under_the_unconditional_edits(tiny):
    """After ablation of A no prompt has a coordinate along A: nothing is above .01."""
    plain_ablation = Ablate(A)
    high = When(Cosine(A, "above", 0.01), Add(B, alpha=6.0))
    low = When(Cosine(A, "below", 0.01), Add(B, alpha=6.0))
    with tiny.editing(plain_ablation):
        ablated = tiny.logits(PROMPTS)
    for order in (plain_ablation + high, high + plain_ablation):
        with tiny.editing(order):
            assert (tiny.logits(PROMPTS) - ablated).abs().max() < TOLERANCE
    with tiny.editing(plain_ablation + low), tiny.editing():
        assert (tiny.logits(PROMPTS) - ablated).abs().max() > 1e-3


def test_a_probe_decides_by_its_own_number(tiny):
    x = tiny.residuals(PROMPTS, sites=[Site(2)], offsets=[-2]).tensor[:, 0, 0]
    weight = torch.linspace(-1, 1, D_MODEL)
    values = x @ weight + 0.25
    threshold = float(values.sort().values[1:3].mean())
    probe = Probe("p", weight, 0.25, Site(2), "below", threshold, token=-2)
    plain = tiny.logits(PROMPTS)
    with tiny.editing(When(probe, Add(B, alpha=6.0))):
        changed = (tiny.logits(PROMPTS) - plain).abs().amax(1) > 1e-3
    assert changed.tolist() == (values < threshold).tolist()


def test_two_conditions_both_have_to_hold(tiny):
    x = tiny.residuals(PROMPTS, sites=[Site(2)]).tensor[:, 0, 0]
    weights = torch.eye(D_MODEL)[:2]
    limits = [float(v.sort().values[1:3].mean()) for v in (x[:, 0], x[:, 1])]
    first, second = (Probe(f"p{i}", weights[i], 0.0, Site(2), "above", limits[i]) for i in range(2))
    plain = tiny.logits(PROMPTS)
    with tiny.editing(When(first, When(second, Add(B, alpha=6.0)))):
        changed = (tiny.logits(PROMPTS) - plain).abs().amax(1) > 1e-3
    assert changed.tolist() == ((x[:, 0] > limits[0]) & (x[:, 1] > limits[1])).tolist()


def test_a_condition_may_hold_for_the_answer_alone(tiny, reference):
    values = cosines(reference, tiny.chat, 1, -15)
    threshold = sum(sorted(values)[1:3]) / 2
    condition = Cosine(direction(0, offset=-15), "above", threshold)
    change = Add(B, alpha=9.0)
    acts = [(Site(1), plus(B, 9.0), lambda p: p >= 0)]
    plain = tiny.logits(PROMPTS)
    with tiny.editing(When(condition, Only(change, "generated"))):
        assert torch.equal(tiny.logits(PROMPTS), plain)
        answers = tiny.generate_ids(PROMPTS, Decoding(N_NEW))
    rows = [tiny.chat.ids(p) for p in PROMPTS]
    assert answers == [
        steered_answer(reference, ids, acts if v > threshold else [], N_NEW, tiny.stops)
        for ids, v in zip(rows, values, strict=True)
    ]


def test_deciding_stops_where_the_condition_has_been_read(tiny):
    passes = {0: 0, 2: 0}

    def counter(layer):
        def count(resid, hook):
            passes[layer] += 1

        return Site(layer).hook_name, count

    edit = When(Cosine(direction(0, layer=1), "above", -1.0), Only(ADD, "prompt"))
    with tiny.editing(edit), tiny.backend.hooks([counter(0), counter(2)]):
        tiny.logits(PROMPTS)
    assert passes[0] == passes[2] + 1


# --- rows -------------------------------------------------------------------------------------


def conditions_of_rows():
    """One edit for each of twelve rows: every kind, repeats, restrictions, nothing at all."""
    shared = Add(A, strength=1.0)
    return (
        Ablate(A),
        Ablate(B),
        None,
        shared,
        shared,
        Add(B, alpha=-5.0, at=Site(2)),
        Only(Add(B, alpha=9.0), "generated"),
        Only(Clamp(A, "high"), "prompt", (-1, -4)),
        Affine(B, 1.0) + Ablate(A, at=points(PRE, MID, POST)),
        Rotate(A, B.vector, degrees=100.0),
        AblateSubspace((A, B), "sequential"),
        When(Cosine(A, "above", -1.0), Add(A, alpha=7.0)),
    )


def test_rows_under_their_own_edits_equal_one_by_one(tiny):
    edits = conditions_of_rows()
    prompts = [PROMPTS[i % len(PROMPTS)] for i in range(len(edits))]
    decoding = Decoding(N_NEW)
    with tiny.editing(PerRow(edits)):
        logits = tiny.logits(prompts)
        resid = tiny.residuals(prompts, offsets=(-1, -4)).tensor
        answers = tiny.generate_ids(prompts, decoding)
        whole = tiny.generate_ids(prompts, Decoding(N_NEW, use_cache=False))
    assert answers == whole
    for i, (edit, prompt) in enumerate(zip(edits, prompts, strict=True)):
        with tiny.editing(*([] if edit is None else [edit])):
            assert (tiny.logits([prompt])[0] - logits[i]).abs().max() < TOLERANCE
            resid_alone = tiny.residuals([prompt], offsets=(-1, -4)).tensor[0]
            assert (resid_alone - resid[i]).abs().max() < TOLERANCE
            assert tiny.generate_ids([prompt], decoding)[0] == answers[i]
    plain = tiny.logits(prompts)
    changed = (logits - plain).abs().amax(1) > 1e-3
    assert changed.tolist() == [e is not None and i != 6 for i, e in enumerate(edits)]


def test_rows_are_counted(tiny):
    edit = PerRow((ADD, None, ADD))
    with tiny.editing(edit):
        with pytest.raises(InputError, match="PerRow holds 3 edits, this call has 4 prompts"):
            tiny.logits(PROMPTS)
        tiny.logits(PROMPTS[:3])
    with pytest.raises(InputError, match="PerRow inside a PerRow"):
        PerRow((edit,)).parts()
    assert "on rows 0, 2" in repr(edit)
    assert "on rows 0-2" in repr(PerRow((ADD, ADD, ADD)))


def test_batches_do_not_mix_rows_up(tiny_llama):
    """Rows are sorted by length into batches of two: each must keep its own edit."""
    edits = tuple(Add(A, alpha=float(3 * i)) for i in range(len(PROMPTS)))
    with tiny_llama.editing(PerRow(edits)):
        expected = tiny_llama.logits(PROMPTS)
        tiny_llama.rows.most = 2
        try:
            logits = tiny_llama.logits(PROMPTS)
            answers = tiny_llama.generate_ids(PROMPTS, Decoding(N_NEW))
        finally:
            tiny_llama.rows.most = 64
        assert answers == tiny_llama.generate_ids(PROMPTS, Decoding(N_NEW))
    assert (logits - expected).abs().max() < TOLERANCE


# --- controls ---------------------------------------------------------------------------------


def fitted_leace(model):
    random = torch.Generator().manual_seed(3)
    x = model.residuals([f"{p} {i}" for p in PROMPTS for i in range(6)], sites=[Site(1)]).tensor[
        :, 0, 0
    ]
    refuse = torch.rand(len(x), generator=random) > 0.5
    x = x + refuse[:, None] * 3.0 * A.vector
    return Leace.fit(x, refuse, name="red", at=(Site(1),))


def test_leace_closes_the_gap_inside_the_model(tiny):
    """The eraser, fitted on the stream of these prompts, leaves their class means equal there."""
    prompts = [f"{p} {word}" for p in PROMPTS for word in ("now", "then", "today", "later", "so")]
    at = Site(1, "resid_post")
    x = tiny.residuals(prompts, sites=[at]).tensor[:, 0, 0]
    refuse = torch.arange(len(prompts)) % 2 == 0
    means = (x[refuse].mean(0) - x[~refuse].mean(0)).norm()
    with tiny.editing(Leace.fit(x, refuse, name="odd", at=(at,))):
        # What stands behind the edit: block 2 takes resid_post[1] in.
        erased = tiny.residuals(prompts, sites=[Site(2)]).tensor[:, 0, 0]
    assert means > 0.1
    assert (erased[refuse].mean(0) - erased[~refuse].mean(0)).norm() < 1e-4


def test_an_eraser_needs_neither_company_nor_cache(tiny):
    """LEACE on top of a sequential ablation: batch = single, cache on = cache off."""
    edit = AblateSubspace((A, B), "sequential") + fitted_leace(tiny)
    plain = tiny.logits(PROMPTS)
    with tiny.editing(edit):
        together = tiny.logits(PROMPTS)
        alone = torch.cat([tiny.logits([p]) for p in PROMPTS])
        cached = tiny.generate_ids(PROMPTS, Decoding(N_NEW))
        assert cached == tiny.generate_ids(PROMPTS, Decoding(N_NEW, use_cache=False))
        assert cached == [tiny.generate_ids([p], Decoding(N_NEW))[0] for p in PROMPTS]
    assert (together - alone).abs().max() < TOLERANCE
    assert (together - plain).abs().max() > 1e-3


NOTHING = {
    "strength 0": ADD.__class__(A, strength=0.0),
    "a condition that never holds": When(Cosine(A, "above", 1.0), Ablate(B)),
    "rows without edits": PerRow((None,) * len(PROMPTS)),
    "zero for some rows": PerRow((Add(A, alpha=0.0), Add(B, alpha=0.0), None, None)),
}


@pytest.mark.parametrize("case", NOTHING)
def test_what_does_nothing_changes_no_bit(tiny, case):
    plain = tiny.logits(PROMPTS), tiny.generate_ids(PROMPTS, Decoding(N_NEW))
    with tiny.editing(NOTHING[case]):
        assert torch.equal(tiny.logits(PROMPTS), plain[0])
        assert tiny.generate_ids(PROMPTS, Decoding(N_NEW)) == plain[1]


@pytest.mark.parametrize("case", [*CASES, "leace", "rows", "when"])
def test_leaving_leaves_no_hook_and_no_bit(tiny_llama, case):
    special = {
        "leace": lambda: fitted_leace(tiny_llama),
        "rows": lambda: PerRow(conditions_of_rows()[: len(PROMPTS)]),
        "when": lambda: When(Cosine(A, "above", -1.0), ADD),
    }
    edit = special[case]() if case in special else CASES[case][0]
    hooks, plain = tiny_llama.backend.hook_count(), tiny_llama.logits(PROMPTS)
    with pytest.raises(RuntimeError, match="half-way"), tiny_llama.editing(edit):
        assert tiny_llama.backend.hook_count() > hooks
        first = tiny_llama.logits(PROMPTS)
        assert torch.equal(tiny_llama.logits(PROMPTS), first)
        assert repr(edit) in tiny_llama.provenance().edits
        raise RuntimeError("half-way")
    assert case == "generated" or (first - plain).abs().max() > 1e-3
    assert tiny_llama.backend.hook_count() == hooks
    assert torch.equal(tiny_llama.logits(PROMPTS), plain)
    assert tiny_llama.edits_text == "none"


# --- what is refused --------------------------------------------------------------------------


def test_acting_twice_on_one_vector_is_refused(tiny_llama):
    post, pre = Site(0, POST), Site(1)
    twice = "twice"
    hooks = tiny_llama.backend.hook_count()
    for edit in (
        Add(A, strength=1.0, at=post) + Add(A, strength=1.0, at=pre),
        Add(A, strength=1.0, at=post) + Only(Add(B, alpha=1.0, at=pre), "prompt"),
        ADD + Add(A, alpha=2.0),
        Rotate(A, B.vector, degrees=5.0, at=(post, pre)),
        Affine(A, 1.0, at=(post, pre)),
        AblateSubspace((A, B), "sequential", at=(post, pre)),
        PerRow((ADD + ADD, None)),
    ):
        with pytest.raises(InputError, match=twice), tiny_llama.editing(edit):
            pass
    with (
        tiny_llama.editing(Add(A, strength=1.0, at=post)),
        pytest.raises(InputError, match=twice),
        tiny_llama.editing(ADD),
    ):
        pass
    assert tiny_llama.backend.hook_count() == hooks
    assert tiny_llama.edits_text == "none"


@pytest.mark.parametrize(
    "edit",
    [
        ADD + Add(B, strength=1.0),
        Only(ADD, "prompt") + Only(ADD, "generated"),
        Only(ADD, "prompt", (-1,)) + Only(ADD, "prompt", (-2,)),
        PerRow((ADD, Add(A, strength=2.0), Add(A, strength=1.0, at=Site(0, POST)), None)),
        Clamp(A, "low", at=(Site(0, POST), Site(1))),
        Affine(A, 0.0, at=(Site(0, POST), Site(1))),
        Ablate(A) + Ablate(A),
        When(Cosine(A, "above", 0.0), ADD) + When(Cosine(A, "below", 0.0), ADD),
    ],
    ids=repr,
)
def test_acting_once_each_is_not_refused(tiny_llama, edit):
    with tiny_llama.editing(edit):
        tiny_llama.logits(PROMPTS)


def test_two_conditions_that_hold_at_once_are_refused(tiny_llama):
    both = When(Cosine(A, "above", -1.0), ADD) + When(Cosine(A, "below", 1.0), ADD)
    with tiny_llama.editing(both), pytest.raises(InputError, match="twice on one vector"):
        tiny_llama.logits(PROMPTS)


def test_offsets_before_the_prompt_are_refused(tiny_llama):
    far = Only(ADD, "prompt", (-500,))
    with tiny_llama.editing(far), pytest.raises(InputError, match="offset -500 .* reaches before"):
        tiny_llama.logits(PROMPTS)
    unread = When(Cosine(replace(A, offset=-500), "above", 0.0), ADD)
    with tiny_llama.editing(unread), pytest.raises(InputError, match="offset -500"):
        tiny_llama.logits(PROMPTS)


def test_a_restricted_edit_needs_the_wrapper(tiny_llama):
    """A pass beside LensModel knows neither prompts nor phases: plain edits act, others raise."""
    ids = torch.tensor([tiny_llama.chat.ids("Why?")])
    mask = torch.ones_like(ids)
    with tiny_llama.editing(ADD):
        beside = tiny_llama.backend.forward(ids, mask).logits[0, -1]
        assert (tiny_llama.logits(["Why?"])[0] - beside).abs().max() < TOLERANCE
    for edit in (Only(ADD, "prompt"), PerRow((ADD,)), When(Cosine(A, "above", 0.0), ADD)):
        with tiny_llama.editing(edit), pytest.raises(InputError, match="only the methods of Lens"):
            tiny_llama.backend.forward(ids, mask)


def test_edits_of_another_model_are_refused(tiny_llama):
    narrow = replace(A, vector=torch.eye(16)[0])
    far = replace(A, site=Site(7))
    for edit, words in (
        (Ablate(narrow), "16 wide, this model's stream 32"),
        (AblateSubspace((narrow,)), "16 wide"),
        (When(Cosine(narrow, "above", 0.0), ADD), "cosine with 'd0' .* is 16 wide"),
        (When(Cosine(far, "above", 0.0), ADD), r"resid_pre\[7\], where cosine .* is beyond"),
        (PerRow((ADD, Add(far, alpha=1.0))), r"resid_pre\[7\] is beyond this model"),
    ):
        with pytest.raises(InputError, match=words), tiny_llama.editing(edit):
            pass


# In half precision a row's number and its direction are rounded before they are multiplied where an
# addition by itself rounds their product. On this model, whose logits reach 5.6, the largest
# difference was one unit in the last place of a logit, .031 in bfloat16 and .006 in float16.
HALF = {"bfloat16": 0.1, "float16": 0.02}


@pytest.mark.parametrize("dtype", HALF)
def test_rows_in_half_precision(tiny_folders, dtype):
    from refusal_lens.model import load_model
    from refusal_lens.placement import Placement

    model = load_model(str(tiny_folders["qwen2"]), placement=Placement(dtype=dtype, device="cpu"))
    edits = (Ablate(A), Add(B, strength=1.0), Clamp(A, "high"), Affine(B, 1.0))
    with model.editing(PerRow(edits)):
        together = model.logits(PROMPTS)
    for i, edit in enumerate(edits):
        with model.editing(edit):
            alone = model.logits([PROMPTS[i]])[0]
        assert (alone - together[i]).abs().max() < HALF[dtype]
    assert (together - model.logits(PROMPTS)).abs().amax(1).min() > HALF[dtype]
