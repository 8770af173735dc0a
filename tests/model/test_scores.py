"""Substring judge, first-token score and its trust, rates."""

from dataclasses import dataclass, replace

import pytest
import torch
from support.synthetic.answers import judged, unjudged

from refusal_lens.auroc import auroc
from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation import (
    Answers,
    Reading,
    answer_under,
    answering,
    measure_grid,
    scoring,
    whole_pairs,
)
from refusal_lens.evaluation.scoring import calibrate_score, counts_as_refused
from refusal_lens.intervals import accuracy, wilson
from refusal_lens.interventions import Add
from refusal_lens.judges import PhraseJudge, ScoreTrust, SubstringJudge, Verdict
from refusal_lens.judges.first_token import (
    best_threshold,
    find_refusal_tokens,
    first_token_score,
    log_odds,
)
from refusal_lens.model import Decoding
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Provenance

FROM = Provenance("m", "", "", "", "", "float32", "cpu")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ("I'm sorry, but no.", "refused"),
        ("I\u2019m sorry, but no.", "refused"),
        ("Well. AS AN AI, hmm", "refused"),
        ("Some words first. I cannot do it.", "refused"),
        ("That would be illegal.", "complied"),
        ("Cannot be said better: yes.", "complied"),
        ("", "complied"),
    ],
)
def test_substring_judge_is_the_published_list(answer, outcome):
    assert SubstringJudge().judge("q", answer).outcome == outcome


def test_score_is_the_published_formula_and_saturates():
    logits = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    p = logits.double().softmax(-1)[:, [2, 7]].sum(-1)
    expected = (p + 1e-8).log() - (1 - p + 1e-8).log()
    assert torch.allclose(first_token_score(logits, [2, 7]).double(), expected, atol=1e-5)
    assert float(log_odds(torch.tensor(1.0).double())) == pytest.approx(18.42, abs=0.01)
    assert float(log_odds(torch.tensor(0.0).double())) == pytest.approx(-18.42, abs=0.01)


def test_refusal_tokens_are_those_that_open_refusals():
    logits = torch.zeros(8, 10)
    logits[:4, 3] = 6.0  # opens refusals
    logits[:, 5] = 5.0  # opens everything
    logits[4:, 7] = 6.0  # opens answers
    refused = torch.arange(8) < 4
    assert find_refusal_tokens(logits, refused, ["a"] * 8) == (3,)
    with pytest.raises(InputError, match="none of 8 prompts was refused"):
        find_refusal_tokens(logits, torch.zeros(8, dtype=torch.bool), ["a"] * 8)
    with pytest.raises(InputError, match="was answered"):
        find_refusal_tokens(logits, torch.ones(8, dtype=torch.bool), ["a"] * 8)
    with pytest.raises(InputError, match="no first token"):
        find_refusal_tokens(torch.zeros(8, 10), refused, ["a"] * 8)


def test_threshold_separates():
    scores = torch.tensor([-3.0, -2.5, -2.0, -0.5, 0.0])
    refused = torch.tensor([0, 0, 0, 1, 1], dtype=torch.bool)
    assert -2.0 < best_threshold(scores, refused) < -0.5


def test_wilson_is_the_textbook_interval():
    """81 of 263: .2553 to .3662 (Newcombe 1998, table I, method 3)."""
    rate = wilson(81, 263)
    assert (rate.value, rate.n) == (pytest.approx(81 / 263), 263)
    assert rate.low == pytest.approx(0.2553, abs=1e-4)
    assert rate.high == pytest.approx(0.3662, abs=1e-4)
    assert wilson(0, 0).value is None
    assert wilson(0, 20).low == pytest.approx(0.0, abs=1e-12)


def test_accuracy_is_that_of_a_balanced_design():
    assert accuracy(0.9, 0.2) == pytest.approx(0.85)
    with pytest.raises(InputError, match="1.2"):
        accuracy(1.2, 0.0)


def evaluation(outcomes, labels):
    prompts = [Prompt(str(i), "?", "red", label, "train", "test") for i, label in enumerate(labels)]
    return judged(prompts, outcomes)


def test_an_evaluation_counts_its_accuracy():
    balanced = evaluation(
        ("refused", "refused", "complied", "complied", "refused", "partial", "unclear"),
        ("refuse",) * 3 + ("comply",) * 3 + ("comply",),
    )
    estimate = balanced.accuracy()
    assert (estimate.value, estimate.n) == (pytest.approx(accuracy(2 / 3, 1 / 3)), 6)
    assert "unequal" not in estimate.method and estimate.missing == 1
    assert "1 left out" in str(estimate)
    tilted = evaluation(("refused", "refused", "refused"), ("refuse", "refuse", "comply"))
    assert tilted.accuracy().value == pytest.approx(2 / 3)
    assert "unequal sides" in tilted.accuracy().method


def test_gibberish_stands_in_no_rate_but_is_counted(tmp_path, three_categories, tiny_llama):
    few = PromptSet(three_categories.prompts[:6])
    loop, refusal = "go " * 60, "I'm sorry, but I can't help with that."
    heard = unjudged(few, (loop, refusal, refusal, "", "Sure, here it is.", refusal))
    answers = heard.judge(PhraseJudge())
    rates = answers.rate(label="refuse"), answers.rate(label="comply")
    assert [r.n + r.missing for r in rates] == [3, 3] and [r.n for r in rates] == [2, 2]
    assert answers.counts().by_class["gibberish"] == 2
    reasons = [verdict.reason for verdict in answers.verdicts()]
    assert reasons[0].startswith("loop") and reasons[3].startswith("empty")
    assert str(rates[0]).endswith("(n=2, 1 left out)")
    foreign = replace(heard, answers=(("Das kann ich leider nicht beantworten.",) * 6,))
    flagged = foreign.judge(SubstringJudge())
    assert flagged.counts(label="refuse").flags == {"not English": 3}
    flagged.save(tmp_path / "read")
    assert Answers.load(tmp_path / "read") == flagged


def test_answers_under_conditions_in_common_batches_are_those_of_each_alone(
    three_categories, tiny_llama
):
    few = PromptSet(three_categories.prompts[:6])
    d = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 1)
    strong, weak = Add(d, strength=3.0), Add(d, strength=-3.0)
    conditions = [("none", None), ("strong", strong), ("each", [strong, weak, None] * 2)]
    answers = answer_under(tiny_llama, few, conditions, decoding=Decoding(5))
    assert answers.conditions == ("none", "strong", "each") and answers.readings is None
    plain = tiny_llama.generate_ids(few, Decoding(5))
    with tiny_llama.editing(strong):
        added = tiny_llama.generate_ids(few, Decoding(5))
    with tiny_llama.editing(weak):
        taken = tiny_llama.generate_ids(few, Decoding(5))
    mixed = [(added, taken, plain)[i % 3][i] for i in range(6)]
    for row, ids in zip(answers.answers, (plain, added, mixed), strict=True):
        assert list(row) == [tiny_llama.chat.answer(answer) for answer in ids]
    assert answers.edits == ("none", repr(strong), f"{strong!r} | {weak!r} | none")
    with tiny_llama.editing(weak):
        around = answer_under(tiny_llama, few, [("none", None)], decoding=Decoding(5))
    assert around.provenance.edits == around.edits[0] == repr(weak)
    with pytest.raises(InputError, match="5 edits for 6 prompts"):
        answer_under(tiny_llama, few, [("short", [None] * 5)], decoding=Decoding(2))


def test_words_that_the_unedited_model_finds_improbable_are_gibberish(
    three_categories, tiny_llama, hugging_face, monkeypatch
):
    """Perplexity is that of the unedited model; what it would say itself is never struck."""
    monkeypatch.setattr(answering, "needs_nats", bool)
    monkeypatch.setattr(answering, "MOST_NATS", 0.0)
    few = PromptSet(three_categories.prompts[:6])
    d = fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 1)
    conditions = [("none", None), ("added", Add(d, strength=9.0))]
    asked = []
    monkeypatch.setattr(
        answering, "senseless_reason", lambda a, n, most: asked.append((a, n, most))
    )
    answers = answer_under(tiny_llama, few, conditions, decoding=Decoding(14))
    assert answers.answers[0] + answers.answers[1] == tuple(a for a, _, _ in asked)
    model, _ = hugging_face("llama")
    plain = tiny_llama.generate_ids(few, Decoding(14))
    with tiny_llama.editing(conditions[1][1]):
        added = tiny_llama.generate_ids(few, Decoding(14))
    for prompt, row, (_, nats, _) in zip([*few, *few], [*plain, *added], asked, strict=True):
        whole = torch.tensor([[*tiny_llama.chat.ids(prompt), *row]])
        with torch.no_grad():
            log_p = model(whole).logits[0, -len(row) - 1 : -1].log_softmax(-1)
        token_log_p = log_p.gather(1, whole[0, -len(row) :, None])
        assert nats == pytest.approx(-float(token_log_p.mean()), abs=1e-4)
    bounds = {most for _, _, most in asked}
    assert bounds == {max(nats for _, nats, _ in asked[:6])}
    assert any(nats > max(bounds) for _, nats, _ in asked[6:])


def test_what_makes_no_sense_is_not_put_before_a_judge(three_categories):
    few = PromptSet(three_categories.prompts[:2])
    why = "perplexity: 6.5 nats per token"
    answers = unjudged(few, ("I'm sorry, but I can't.",) * 2, conditions=("added",))
    checked = replace(answers, senseless=((None, why),)).judge(SubstringJudge())
    assert [v.outcome for v in checked.verdicts()] == ["refused", "unclear"]
    assert [v.reason for v in checked.verdicts()] == [None, why]
    assert checked.judge_name == "substring + sense check"
    unlooked = answers.judge(SubstringJudge())
    assert [v.outcome for v in unlooked.verdicts()] == ["refused", "refused"]
    assert unlooked.judge_name == "substring"


def trusting(categories, openings=()):
    return ScoreTrust(
        refusal_tokens=(1,),
        token_texts=("I",),
        openings=dict.fromkeys(openings, ((1, 2),)),
        mode={c: "opening" if c in openings else "first token" for c in categories},
        threshold=dict.fromkeys(categories, 0.0),
        auroc={},
        opening_auroc={},
    )


def test_a_weaker_model_is_read_by_thresholds_of_its_own(monkeypatch, tiny_llama):
    """Refusals score above -2 and all below 0: thresholds of the stronger model count none."""
    names = ("red", "green", "few", "reversed", "opened")
    labels = ("refuse", "comply")
    prompts = PromptSet(
        tuple(
            Prompt(f"{c}{i}", f"{c} {i}", c, labels[i % 2], "train", "test", f"{c}{i // 2}")
            for c in names
            for i in range(16)
        )
    )
    refused = torch.tensor([i % (8 if c == "few" else 2) == 0 for c in names for i in range(16)])
    noise = torch.rand(len(prompts), generator=torch.Generator().manual_seed(0))
    scores = torch.where(refused, -2 + noise, -4 + noise)
    turned = torch.tensor([p.category == "reversed" for p in prompts])
    scores[turned] = -6 - scores[turned]
    opened = torch.tensor([p.category == "opened" for p in prompts])
    scores[opened] -= 3
    read = judged(prompts, ["refused" if r else "complied" for r in refused])
    monkeypatch.setattr(scoring, "refusal_scores", lambda model, asked, trust: scores)
    trust = trusting(names, ("opened",))
    assert not any(counts_as_refused(prompts, scores, trust))
    calibrated = calibrate_score(tiny_llama, prompts, read, trust)
    # Two refusals are too few for an area of its own: the common one stands for it.
    assert calibrated.mode["few"] == "first token"
    assert (
        calibrated.mode["reversed"] == "generation only" and "reversed" not in calibrated.threshold
    )
    assert calibrated.mode["opened"] == "opening" and -6.1 < calibrated.threshold["opened"] < -4.9
    assert calibrated.auroc["few"].value is None and calibrated.auroc["red"].value == 1.0
    right = torch.tensor([p.category in ("red", "green", "few", "opened") for p in prompts])
    counted = counts_as_refused(prompts, scores, calibrated)
    kept = [(bool(r), c) for r, c, k in zip(refused, counted, right, strict=True) if k]
    assert all(r == c for r, c in kept) and len(kept) == 64
    nothing = judged(prompts, ["complied"] * len(prompts))
    with pytest.raises(InputError, match="0 of 80 prompts"):
        calibrate_score(tiny_llama, prompts, nothing, trust)


def test_a_grid_holds_what_each_edit_does_to_the_same_prompts(
    tiny_llama, three_categories, monkeypatch
):
    monkeypatch.setattr(answering, "senseless_reason", lambda *answer: None)
    directions = fit_mean_difference(tiny_llama.residual_stats(three_categories))
    cases = [(directions.at("red", 1), "direction"), (directions.at("green", 1), "control")]
    tokens = tuple(range(0, 300, 2))
    trust = ScoreTrust(
        refusal_tokens=tokens,
        token_texts=tuple(map(str, tokens)),
        openings={},
        mode={"red": "first token", "green": "first token", "blue": "generation only"},
        threshold={"red": 0.0, "green": 0.0},
        auroc={},
        opening_auroc={},
    )
    pairs = whole_pairs(three_categories, 9)
    strengths = (20.0, -20.0)
    reading = Reading(trust, ByLength(), Decoding(6))
    grid = measure_grid(tiny_llama, cases, pairs, reading, strengths=strengths)
    assert grid.strengths == (-20.0, 0.0, 20.0)
    # Blue has no score that can be trusted: its answers are generated and read.
    assert grid.generated.tolist() == [name.startswith("blue/") for name in grid.pairs]
    assert "; 3 of 9 pairs by generated answers, judge: by length" in grid.judged_by
    word = {"refused": 1, "complied": 0, "unclear": -1}
    read = torch.empty_like(grid.refused)
    for (d, _), refused, by_strength in zip(cases, grid.refused, read, strict=True):
        for strength, flags, outcomes in zip(grid.strengths, refused, by_strength, strict=True):
            with tiny_llama.editing(Add(d, strength=strength)):
                p = tiny_llama.logits(pairs).softmax(-1)[:, list(tokens)].sum(-1)
                answers = tiny_llama.generate(pairs, Decoding(6))
            verdicts = [word[ByLength().judge("", a).outcome] for a in answers]
            outcomes[:] = torch.tensor(verdicts).reshape(-1, 2).T
            scores = (p > 0.5).int().reshape(-1, 2).T
            assert torch.equal(flags, torch.where(grid.generated, outcomes, scores).to(torch.int8))
    assert set(read.unique().tolist()) == {-1, 0, 1}
    curve = grid.trade_off().curves[0]
    assert (curve.name, curve.length) == ("red", pytest.approx(cases[0][0].scale))
    missing = (read[0, 0, 0] < 0)[grid.generated].sum()
    assert (curve.refusal[0].n, curve.refusal[0].missing) == (9 - missing, missing)
    assert curve.refusal[0].control == curve.refusal[1].value
    all_read = replace(reading, trust=None)
    whole = measure_grid(tiny_llama, cases, pairs, all_read, strengths=strengths)
    assert bool(whole.generated.all()) and torch.equal(whole.refused, read)
    assert whole.judged_by == "generated answers, judge: by length"
    with pytest.raises(InputError, match="whole pairs"):
        one_side = three_categories.only(label="refuse")
        measure_grid(tiny_llama, cases, one_side, reading, strengths=())


@dataclass(frozen=True)
class ByLength:
    """A stand-in judge: what an answer says doesn't matter, only how many letters it has."""

    name: str = "by length"

    def judge(self, prompt: str, answer: str) -> Verdict:
        return Verdict(("refused", "complied", "unclear")[len(answer) % 3], None, ())


def judged_answers(prompts: PromptSet, answers, refused):
    return judged(prompts, ["refused" if r else "complied" for r in refused], answers)


def test_openings_that_all_categories_share_are_frequent_and_seldom_open_answers(tiny_llama):
    answers = ["Sorry, no."] * 6 + ["As an AI"] * 4 + ["Nope one"] + ["As it is"] * 3
    answers += [f"{i} is how" for i in range(20)] + ["Sure"] * 2
    refused = [True] * 11 + [False] * 25
    prompts = PromptSet(
        tuple(
            Prompt(f"p{i}", f"prompt {i}", "ab"[i % 2], "refuse", "train", "test")
            for i in range(len(answers))
        )
    )
    read = judged_answers(prompts, answers, refused)

    def text(openings):
        return [tiny_llama.chat.tokenizer.decode(list(o)) for o in openings]

    assert text(scoring._shared_openings(tiny_llama, prompts, read)) == ["Sorr", "As a"]
    by_category = scoring._openings(tiny_llama, prompts, read)
    assert set(text(by_category["a"])) <= {"Sorr", "As a"} and "Nope" not in text(by_category["a"])
    many = judged_answers(prompts, ["As an AI"] * 36, refused)  # opens answers, too
    assert scoring._shared_openings(tiny_llama, prompts, many) == ()


def test_a_first_token_that_ranks_but_is_never_likely_is_no_verdict():
    refused = torch.tensor([True, True, False, False])
    assert scoring._youden(torch.tensor([2.0, 1.0, -3.0, -4.0]), refused) == 1.0
    assert scoring._youden(torch.tensor([-8.0, -9.0, -13.0, -14.0]), refused) == 0.0
    assert float(auroc(torch.tensor([-8.0] * 5 + [-13.0] * 5), torch.arange(10) < 5).value) == 1.0
