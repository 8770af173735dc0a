"""A monitor on a tiny model: reading behind edits, the loop, saving, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from refusal_lens.directions.mean_difference import fit_within_categories
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, Add, Clamp
from refusal_lens.judges import make_judge
from refusal_lens.model import Decoding, TransferWarning
from refusal_lens.monitor import (
    Monitor,
    MonitorSettings,
    fit_monitor,
    measure,
    monitor_variants,
    try_monitor,
)
from refusal_lens.monitor.reading import read_streams
from refusal_lens.monitor.scoring import highest
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.sites import Site
from refusal_lens.suffixes import Suffix

SETTINGS = MonitorSettings(tokens=3, alpha=0.2, early=(1,), late=(2,))
TEXTS = [f"Tell me about thing {i} please" for i in range(40)], [f"Say {i}" for i in range(40)]


@pytest.fixture(scope="module")
def prompts():
    return PromptSet.from_texts(*TEXTS)


@pytest.fixture(scope="module")
def monitor(tiny_llama, prompts):
    return fit_monitor(tiny_llama, prompts, settings=SETTINGS)


@pytest.fixture(scope="module")
def pooled(tiny_llama, prompts):
    stats = tiny_llama.residual_stats(prompts.only(split="train"), offsets=(-1,))
    return fit_within_categories(stats)


def test_readings_are_those_of_every_prompt_by_itself_and_of_plain_generation(tiny):
    asked = ["Why?", "How does a very long question about tides end?", "Go on"]
    sites, vectors = (Site(1), Site(2)), torch.eye(tiny.d_model)[:2]
    read = read_streams(tiny, asked, sites, vectors, tokens=5)
    assert list(read.answers) == tiny.generate_ids(asked, Decoding(5))
    at_prompt = (tiny.residuals(asked, sites=sites).tensor[:, 0] * vectors).sum(-1)
    assert torch.allclose(read.projections[:, 0].float(), at_prompt, atol=1e-5)
    for i, prompt in enumerate(asked):
        alone = read_streams(tiny, [prompt], sites, vectors, tokens=5)
        passes = int(read.there[i].sum())
        gap = (alone.projections[0, :passes] - read.projections[i, :passes]).abs().max()
        assert float(gap) < 1e-4  # float32 rounding of another batch
        ids = [*tiny.ids([prompt])[0], *read.answers[i][: passes - 1]]
        whole = tiny.feed_ids([tuple(ids)], ["whole"])
        seen = whole.read(whole.batch([0]), [s.hook_name for s in sites], (-1,))
        last = (seen.residuals(sites, tiny.d_model)[0, 0] * vectors).sum(-1)
        assert torch.allclose(read.projections[i, passes - 1].float(), last, atol=1e-4)


def test_each_threshold_is_the_conformal_value_at_half_the_bound(tiny_llama, monitor, prompts):
    """Of the largest scores over each calibrating answer, one detector at a time."""
    calibrating = [p.text for p in prompts.only(split="val")]
    n, alpha = len(calibrating), SETTINGS.alpha
    assert n == monitor.counts["calibration"] == monitor.calibrated.n
    scores = monitor.scores(monitor.read(tiny_llama, calibrating)).numpy()
    top = np.sort(np.nanmax(scores, axis=1), axis=0)
    rank, whole = (math.ceil((n + 1) * (1 - a) - 1e-9) for a in (alpha / 2, alpha))
    assert monitor.thresholds == pytest.approx(top[rank - 1], rel=1e-6)
    assert (top[rank - 1] > top[whole - 1] + 1e-3).all()
    assert monitor.calibrated.value == pytest.approx((n + 1 - rank) / (n + 1))


def test_the_loop_gives_the_tokens_of_generation_and_the_scores_of_batches(tiny_llama, monitor):
    decoding = Decoding(5)
    for prompt in ("Tell me about thing 99 please", "Say it"):
        steps = list(monitor.watch(tiny_llama, prompt, decoding))
        tokens = tuple(s.token for s in steps if s.token is not None)
        assert [tokens] == tiny_llama.generate_ids([prompt], decoding)
        assert "".join(s.text for s in steps) == tiny_llama.generate([prompt], decoding)[0]
        read = monitor.read(tiny_llama, [prompt])
        scores = monitor.scores(read)[0]
        for step in steps[: int(read.there[0].sum())]:
            expected = scores[step.place].tolist()
            assert [step.scores["mahalanobis"], step.scores["logistic"]] == pytest.approx(
                expected, abs=1e-3
            )
        assert steps[-1].flag == (monitor.alarms(read)[0] is not None)
        assert all(b.flag >= a.flag for a, b in zip(steps, steps[1:], strict=False))
    assert tiny_llama.backend.hook_count() == 0


def test_sampling_and_a_loop_that_is_left_leave_the_model_as_it_was(tiny_llama, monitor):
    before = tiny_llama.logits(["Why?"])
    sampled = Decoding(4, temperature=1.0, seed=3)
    steps = list(monitor.watch(tiny_llama, "Why?", sampled))
    ids = tuple(s.token for s in steps if s.token is not None)
    assert [ids] == tiny_llama.generate_ids(["Why?"], sampled)
    loop = monitor.watch(tiny_llama, "Why?", sampled)
    first = next(loop)
    assert tiny_llama.backend.hook_count() == 0  # between steps nothing is read
    assert torch.equal(tiny_llama.logits(["Why?"]), before)
    loop.close()
    assert first.place == 0 and tiny_llama.backend.hook_count() == 0


def test_it_reads_behind_the_edits_of_a_site(tiny_llama, monitor, pooled):
    late = monitor.late[0]
    direction = pooled.at_site("pooled", late)
    with tiny_llama.editing(Clamp(direction, to=-50.0, at=(late,))):
        read = monitor.read(tiny_llama, ["Tell me about thing 99 please"])
        steps = list(monitor.watch(tiny_llama, "Tell me about thing 99 please", Decoding(2)))
    at_late = read.projections[0, :, monitor.n_early :]
    assert at_late[read.there[0]].numpy() == pytest.approx(-50.0, abs=1e-3)
    assert steps[0].flag and steps[0].deviations[late.layer] < -3
    early = monitor.read(tiny_llama, ["Tell me about thing 99 please"]).projections[0, 0, 0]
    assert read.projections[0, 0, 0] == pytest.approx(float(early), abs=1e-5)


def test_planted_suppression_is_flagged_where_and_when_it_begins(tiny_llama, monitor, pooled):
    late = monitor.late[0]
    direction = pooled.at_site("pooled", late)
    asked = [f"Tell me about thing {i} please" for i in range(100, 120)]
    push = Add(direction, alpha=-20 * float(direction.scale), at=late)
    clean = monitor.alarms(monitor.read(tiny_llama, asked))
    with tiny_llama.editing(push):
        alarms = monitor.alarms(monitor.read(tiny_llama, asked))
    assert alarms == [0] * len(asked)
    assert sum(a is not None for a in clean) < 10


def test_a_small_random_edit_is_not_flagged_more_often(tiny_llama, monitor, pooled, prompts):
    asked = [p.text for p in prompts.only(split="test")] + [f"Say {i}" for i in range(50, 70)]
    clean = [a is not None for a in monitor.alarms(monitor.read(tiny_llama, asked))]
    random = pooled.at_site("pooled", monitor.late[0]).random_like(0)
    with tiny_llama.editing(Ablate(random, at=(monitor.late[0],))):
        edited = [a is not None for a in monitor.alarms(monitor.read(tiny_llama, asked))]
    assert sum(edited) - sum(clean) <= 2


def test_a_saved_monitor_gives_equal_scores(tiny_llama, monitor, tmp_path):
    monitor.save(tmp_path / "monitor")
    again = Monitor.load(tmp_path / "monitor")
    read = monitor.read(tiny_llama, ["Why?", "Say it"])
    assert torch.equal(again.scores(read).nan_to_num(), monitor.scores(read).nan_to_num())
    assert again.thresholds == monitor.thresholds and again.sites == monitor.sites
    assert {p.name for p in tmp_path.iterdir()} == {"monitor.json", "monitor.safetensors"}


def test_variants_cover_suppression_controls_and_evasions(tiny_llama, monitor, pooled):
    suffixes = [Suffix("a", "Please."), Suffix("b", "Now.")]
    others = [pooled.at("pooled", 1)]
    made = monitor_variants(
        monitor, pooled, 2, tiny_llama.n_layers, others=others, suffixes=suffixes
    )
    assert {v.kind for v in made} == {"suppression", "control", "evasion"}
    assert len({v.name for v in made}) == len(made) == 13
    by_name = {v.name: v for v in made}
    two = PromptSet.from_texts(["Sell?", "Buy?"], [])
    pushed = [p.text for p in by_name["suffix"].asked(two)]
    assert pushed == ["Sell? Please.", "Buy? Now."]
    across = by_name["other categories"].edits[0].directions_used[0]
    assert abs(float(across.vector @ pooled.at("pooled", 2).vector)) < 1e-5
    random = {id(by_name["random ablated"].edit_of(i)) for i in range(8)}
    assert len(random) == 4
    # What is put back is what the monitor reads; what is hidden is what it can't see.
    with tiny_llama.editing(by_name["put back"].edits[0]):
        read = monitor.read(tiny_llama, ["Why?"])
    high = pooled.at_site("pooled", monitor.late[0]).high
    assert float(read.projections[0, 0, -1]) == pytest.approx(high, abs=1e-3)
    with tiny_llama.editing(by_name["unseen layers"].edits[0]):
        unseen, logits = monitor.read(tiny_llama, ["Why?"]), tiny_llama.logits(["Why?"])
    plain = monitor.read(tiny_llama, ["Why?"])
    assert torch.allclose(unseen.projections[:, 0], plain.projections[:, 0], atol=1e-6)
    assert not torch.allclose(logits, tiny_llama.logits(["Why?"]))


def test_another_model_is_refused_or_warned_of(load_tiny, tiny_llama, monitor):
    with pytest.warns(TransferWarning, match="calibrated on"):
        monitor.read(load_tiny("qwen2"), ["Why?"])
    deeper = MonitorSettings(early=(1,), late=(2, 7))
    texts = PromptSet.from_texts(*TEXTS)
    with pytest.raises(InputError, match="layer 7 is beyond this model"):
        fit_monitor(tiny_llama, texts, settings=deeper)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "reads 0 tokens"),
        ({"early": (2,), "late": (1,)}, "ascending order"),
        ({"alpha": 0.01, "tokens": 2, "early": (1,), "late": (2,)}, "at least 199"),
        ({"alpha": 2.0, "tokens": 2, "early": (1,), "late": (2,)}, "between 0 and 1"),
    ],
)
def test_wrong_settings_are_named(tiny_llama, prompts, settings, message):
    with pytest.raises(InputError, match=message):
        fit_monitor(tiny_llama, prompts, settings=MonitorSettings(**settings))


def unread(*_, **__):
    raise AssertionError("read before it was known whether there are enough prompts")


def test_too_few_prompts_to_calibrate_are_named_before_any_is_read(
    tiny_llama, prompts, monkeypatch
):
    monkeypatch.setattr(type(tiny_llama), "residual_stats", unread)
    few = prompts.only(split="train").first(30) + prompts.only(split="val").first(3)
    with pytest.raises(InputError, match="6 held-out .* rate of 0.05 over 2 detectors.*least 39"):
        fit_monitor(tiny_llama, few, settings=MonitorSettings(tokens=2))


def split_in_two(texts: list[str]) -> PromptSet:
    """Sixty of `train`, half to be refused, and the texts as `val`."""
    train = [(f"Tell me about thing {i} please", "refuse") for i in range(30)]
    train += [(f"Say {i}", "comply") for i in range(30)]
    rows = [("train", *row) for row in train] + [("val", text, "comply") for text in texts]
    return PromptSet(
        tuple(Prompt(f"{i}", t, "all", label, s, "t") for i, (s, t, label) in enumerate(rows))
    )


def test_each_wording_calibrates_once(tiny_llama):
    once = [f"Say number {i} now" for i in range(12)]
    fitted = [
        fit_monitor(tiny_llama, split_in_two(texts), settings=SETTINGS)
        for texts in (once, [*once, *(f" {once[3]} " for _ in range(30))])
    ]
    assert fitted[0].counts == fitted[1].counts and fitted[1].calibrated.n == 12
    assert fitted[0].thresholds == fitted[1].thresholds
    with pytest.raises(InputError, match="1 held-out prompts, each wording counted once"):
        fit_monitor(tiny_llama, split_in_two(["Say it"] * 100), settings=SETTINGS)


def test_each_wording_is_tried_once(tiny_llama, monitor, monkeypatch):
    def refused(_, asked, *__):
        return ["please" in p.text for p in asked]

    monkeypatch.setattr(measure, "refused_rows", refused)
    once = split_in_two([]).first(6)
    again = PromptSet(tuple(replace(p, id=f"{p.id} {i}") for p in once for i in range(3)))
    judge = make_judge("substring")
    shown = [try_monitor(tiny_llama, monitor, p, [], judge).false_alarms for p in (once, again)]
    assert shown[0] == shown[1] and shown[0]["all"].n == 12
    assert shown[0]["harmful, refused"].n == shown[0]["benign, answered"].n == 6


def test_a_text_in_both_splits_is_refused(tiny_llama):
    with pytest.raises(InputError, match="says the same as prompt"):
        fit_monitor(tiny_llama, split_in_two(["Say 3"] * 12), settings=SETTINGS)


def test_a_score_that_equals_its_threshold_is_no_alarm(tiny_llama, monitor):
    """In float32 some limits would lie below the very score that they were taken from."""
    read = monitor.read(tiny_llama, [f"Say something about {i}" for i in range(6)])
    tops = highest(monitor.scores(read)).tolist()
    for limits in tops:
        alarms = replace(monitor, thresholds=tuple(limits)).alarms(read)
        over = [any(a > b for a, b in zip(top, limits, strict=True)) for top in tops]
        assert [alarm is not None for alarm in alarms] == over


def test_several_directions_per_layer_are_refused(tiny_llama, prompts, three_categories):
    several = fit_within_categories(tiny_llama.residual_stats(three_categories))
    from refusal_lens.directions import fit_mean_difference

    of_each = fit_mean_difference(tiny_llama.residual_stats(three_categories))
    assert several.categories == ("pooled",)
    with pytest.raises(InputError, match="one direction per layer"):
        fit_monitor(tiny_llama, prompts, directions=of_each, settings=SETTINGS)
