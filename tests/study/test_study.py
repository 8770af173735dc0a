"""The study on a tiny random model: stages, resume, digests, the same numbers twice, gaps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.refusing_model import write_refusing
from support.tiny_study import SIZES, Watch, kinds_of_things, paired_things, refuses_by_kind

from refusal_lens.directions import fit_mean_difference
from refusal_lens.embedded.adapter import scale_nearest_half
from refusal_lens.embedded.registry import NATIVE, PLANTED
from refusal_lens.errors import InputError
from refusal_lens.evaluation.agreement import screening_agrees
from refusal_lens.evaluation.effects import CONTROLS
from refusal_lens.folders import written_name
from refusal_lens.interventions import Add
from refusal_lens.model import Decoding, load_model
from refusal_lens.placement import Placement
from refusal_lens.resources import data_path
from refusal_lens.study import Results, Study, other_models, run_study
from refusal_lens.study.finished import direction_of
from refusal_lens.study.fitted import CATEGORIES_OF, POOLED_OF
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.one_writer import LOCK
from refusal_lens.study.other_models import control_model
from refusal_lens.study.prompts import study_prompts
from refusal_lens.study.run import begin
from refusal_lens.study.stages import (
    directions,
    manners,
    trade_off,
)
from refusal_lens.study.stages.agreement import OF_MANNERS, SCREENING
from refusal_lens.study.stages.answers import ANSWERS
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.contrasts import BEHAVIOUR_GEOMETRY, CONTRASTS, WITHIN
from refusal_lens.study.stages.control import CHANGE, COMPARISON, CONTROL_GEOMETRY
from refusal_lens.study.stages.costs import COSTS
from refusal_lens.study.stages.directions import DIRECTIONS
from refusal_lens.study.stages.effects import ABLATED, ADDED, EFFECTS
from refusal_lens.study.stages.geometry import INTENDED, OF_KEPT_PAIRS, REMOVED, WHITENED
from refusal_lens.study.stages.layers import CURVE
from refusal_lens.study.stages.manners import STEERED
from refusal_lens.study.stages.rules import COSMIC, SEPARATION
from refusal_lens.study.stages.selection import SELECTION
from refusal_lens.study.stages.structure import SEPARABILITY, SHARED_POOL, STRUCTURE
from refusal_lens.study.stages.tokens import TOKENS
from refusal_lens.study.stages.trade_off import COMPARED_TRUST, GRID, MATCHED, TRADE_OFF
from refusal_lens.training.planted.answers import load_refusals
from refusal_lens.training.planted.controls import donors

STAGES = [
    "behaviour",
    "directions",
    "geometry",
    "control",
    "contrasts",
    "score",
    "selection",
    "layers",
    "effects",
    "structure",
    "trade_off",
    "rules",
    "manners",
    "costs",
    "answers",
    "agreement",
    "tokens",
]


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """The same model trained from another seed, in the place of another adapter or scale."""
    folder = tmp_path_factory.mktemp("half")
    write_refusing(folder, paired_things(), lambda p: p.label == "refuse", seed=1)
    return load_model(str(folder), placement=Placement(dtype="float32", device="cpu"))


@pytest.fixture(scope="module")
def by_behaviour(tmp_path_factory):
    """A run of a model that refuses some prompts of either side, whatever was intended."""
    folder = tmp_path_factory.mktemp("by_behaviour")
    prompts = kinds_of_things()
    prompts.save(folder / "prompts.jsonl")
    question = Study(
        source=str(write_refusing(folder / "model", prompts, refuses_by_kind)),
        prompts=str(folder / "prompts.jsonl"),
        sizes=SIZES.changed(fit_pairs=28, contrast_pairs=28),
    )
    watch = Watch()
    return run_study(question, folder / "run", watch), watch, question


def test_a_model_that_refuses_by_itself_is_edited_along_what_it_did(by_behaviour):
    results, watch, question = by_behaviour
    assert set(watch.gaps) <= {"control", "selection", "layers"}
    read = results.get(BEHAVIOUR)
    resid = begin(question, results.folder).train_resid()
    chosen = results.get(CATEGORIES_OF["behaviour"])
    intended = results.get(DIRECTIONS)
    rows = {
        did: [
            i
            for i, (c, side, v) in enumerate(
                zip(read.categories, read.labels, read.verdicts(), strict=True)
            )
            if (c, side, v.outcome) == ("red", *did)
        ]
        for did in (("refuse", "refused"), ("comply", "complied"))
    }
    a, b = (resid.tensor[indices, 0, 2].double().mean(0) for indices in rows.values())
    assert torch.allclose(chosen.at("red", 2).vector.double(), (a - b) / (a - b).norm(), atol=1e-5)
    assert chosen.count[0] == tuple(map(len, rows.values()))
    assert not torch.allclose(chosen.at("red", 2).vector, intended.at("red", 2).vector, atol=1e-2)
    grid = results.get(GRID)
    at = chosen.at("red", grid.layer)
    assert grid.lengths[0] == pytest.approx(at.scale)
    pooled = results.get(POOLED_OF["behaviour"])
    assert grid.lengths[3] == pytest.approx(pooled.at("pooled", grid.layer).scale)
    assert direction_of(results, "red", 2).scale == pytest.approx(chosen.at("red", 2).scale)
    assert results.direction("red", 2).scale == pytest.approx(chosen.at("red", 2).scale)
    assert results.directions["red", 2].scale == pytest.approx(chosen.at("red", 2).scale)


def test_contrasts_of_what_a_model_did_are_there(by_behaviour):
    results, *_ = by_behaviour
    contrasts = results.get(CONTRASTS)
    assert len(contrasts.names) == 3
    read = results.get(BEHAVIOUR)
    assert sum(contrasts.groups.values()) == len(read.ids)
    geometry = results.get(BEHAVIOUR_GEOMETRY)
    assert geometry.names == ("red", "green", "blue")
    within = results.get(WITHIN)
    assert within.refused == tuple(
        sum(
            (c, side, v.outcome) == (name, "refuse", "refused")
            for c, side, v in zip(read.categories, read.labels, read.verdicts(), strict=True)
        )
        for name in within.categories
    )


def test_progress_of_effects_reaches_what_was_planned(by_behaviour):
    _, watch, _ = by_behaviour
    assert watch.ticks["effects"] == watch.expected["effects"] == 2 * 3 * 7


def test_effects_are_read_under_every_direction_and_control(by_behaviour, finished):
    for results, first in ((by_behaviour[0], "behaviour"), (finished[0], "intended")):
        effects = results.get(EFFECTS)
        assert effects.directions[0] == first
        assert set(CONTROLS) <= set(effects.directions)
        assert effects.rate("none", "none", "refuse").value == 1.0
        assert effects.rate("none", "none", "comply").value == 0.0
        for side, edit in (("refuse", "ablated"), ("comply", "added")):
            for name in effects.directions:
                rate = effects.rate(edit, name, side)
                assert rate.n + rate.missing == 3
        for edit in ("ablated", "added"):
            shown = results.get({"ablated": ABLATED, "added": ADDED}[edit])
            assert set(shown.conditions) == {"none", *effects.directions}
        assert shown.answers[0] != shown.answers[1]
    effects = finished[0].get(EFFECTS)
    assert effects.rate("added", "intended", "comply").value == 1.0
    assert effects.rate("added", "control: random", "comply").value == 0.0


def test_every_stage_is_there(finished):
    results, watch = finished
    assert watch.started_stages == STAGES
    assert not watch.gaps
    geometry = results.get(INTENDED)
    assert geometry.categories == ("red", "green", "blue")
    assert geometry.n == (8, 8, 8)
    assert not torch.isfinite(geometry.corrected[0]).any()
    assert torch.isfinite(geometry.naive[1:]).all()
    evaluation = results.get(BEHAVIOUR)
    assert evaluation.rate(label="refuse").value == 1.0
    assert evaluation.rate(label="comply").value == 0.0
    curves = results.get(TRADE_OFF).curves
    assert [c.name for c in curves][3:] == [
        "pooled",
        "control: random",
        "control: shuffled labels",
        "control: within-class",
    ]
    assert [c.length for c in curves[4:]] == pytest.approx([curves[3].length] * 3, rel=1e-5)
    assert curves[0].strengths == (-1.0, 0.0, 1.0)
    answers = results.get(ANSWERS)
    assert answers.conditions == ("none", "ablated", "steered")
    assert answers.answers[0] != answers.answers[1]
    assert len(results.get(CURVE).candidates) == 2


def test_the_control_is_compared_pair_by_pair(finished):
    results, _ = finished
    geometry = results.get(INTENDED)
    other = results.get(CONTROL_GEOMETRY)
    comparison = results.get(COMPARISON)
    assert other.pairs == geometry.pairs and other.provenance.model.endswith("(control)")
    assert other.provenance.template_digest == geometry.provenance.template_digest
    assert torch.allclose(comparison.share, geometry.share - other.share, equal_nan=True)
    assert (comparison.share_low <= comparison.share_high)[1:].all() and (
        comparison.q >= comparison.p
    ).all()
    change = results.get(CHANGE)
    assert change.frame.startswith("minus ") and not torch.allclose(
        change.corrected[1:], geometry.corrected[1:]
    )
    removed = results.get(REMOVED)
    assert removed.frame == "without the pooled direction"
    assert results.get(WHITENED).frame == "whitened"


def test_structure_and_contrasts_are_there(finished):
    results, _ = finished
    tests = results.get(SEPARABILITY)
    assert tests.z.shape == (3, len(tests.offsets), 3) and len(tests.offsets) > 1
    assert tests.z[:, :, 0].isnan().all()
    assert (tests.z[:, :, 1:] > 5).all() and (tests.p < 0.05).all()
    structure = results.get(STRUCTURE)
    assert structure.layer in (1, 2) and len(structure.clusters) == len(structure.mapped) == 3
    pool = results.get(SHARED_POOL)
    assert [s.layer for s in pool.sites] == [structure.layer]
    assert not results.has(CONTRASTS)  # nothing but what was intended happened


def test_edits_are_evaluated_on_common_prompts(finished):
    results, _ = finished
    grid = results.get(GRID)
    assert grid.refused.shape == (7, 3, 2, 3)
    rates = dict(zip(grid.names, grid.refused.double().mean(-1).tolist(), strict=True))
    assert rates["pooled"] == [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]  # by strength, refuse and comply
    assert rates["control: random"][1] == [1.0, 0.0] and rates["control: random"][2][1] == 0.0
    assert grid.kinds == ("direction",) * 3 + ("pooled",) + ("control",) * 3
    # Strength 0 is the unedited model under every direction.
    assert (grid.refused[:, 1] == grid.refused[0, 1]).all()
    matched = results.get(MATCHED)
    assert matched.compared == ("red", "green", "blue") and matched.n_pairs == 3
    assert len(matched.curves) == 7
    steered = results.get(STEERED)
    assert steered.directions == ("red", "green", "blue") and len(steered.answers.ids) == 8
    assert steered.answers.answers[0] != steered.answers.answers[1]
    for side in ("refuse", "comply"):
        matrix = results.get(manners.MANNERS[side])
        assert matrix.n_prompts == 4 and len(matrix.counts) == 3
        assert set(matrix.clusters) <= {1, 2, None} and matrix.planted == (None,) * 3
    costs = results.get(COSTS)
    assert [row.condition for row in costs.rows][:2] == ["pooled | ablated", "pooled | added"]
    assert len(costs.rows) == 10 and all(row.kl.value > 0 for row in costs.rows)
    moved = {row.condition: row.kl.value for row in costs.rows}
    for edit in ("ablated", "added"):
        assert moved[f"pooled | {edit}"] > 10 * moved[f"control: random | {edit}"]
    rules = results.get(COSMIC)
    (only,) = rules.candidates
    assert only.kl.value > 0.1 and rules.survivors == () and rules.chosen is None
    picked = results.get(SELECTION)
    assert (only.layer, only.offset) == (picked.choice.layer, picked.choice.offset)
    assert only.kl.value == pytest.approx(picked.choice.kl.value)
    assert only.comply.value > only.comply.control and only.refuse.value > only.refuse.control
    best = results.get(SEPARATION).best
    assert (best.layer, best.distance.n) == (only.layer, 8) and best.distance.value > 1
    read = results.get(OF_MANNERS)
    assert read.share.n + read.left_out == 4 * 8 and read.share.value == 1.0
    assert sum(sum(row.values()) for row in read.table.values()) == 4 * 8
    screened = results.get(SCREENING)
    assert screened.share.value > 0.8 and screened.table["complied"]["complied"] > 0


def test_comparisons_are_made_in_the_model_that_refuses_about_half(
    finished, study, half, monkeypatch
):
    """With the study's directions; scores and read answers of that model, never of two."""
    results, _ = finished
    bench = begin(study, results.folder)
    monkeypatch.setattr(trade_off, "half_refusing", lambda bench: half)
    monkeypatch.setattr(trade_off, "half_refusing_scale", lambda bench: 0.5)
    ticks = list[int]()
    records = trade_off.trade_off(bench, ticks.append)
    assert sum(ticks) == trade_off.STAGE.work(bench).ticks
    grid, read = records[trade_off.GRID], records[trade_off.READ]
    answers = read.answers
    name = written_name(half.name)
    assert grid.provenance.model == answers.provenance.model == name != half.name
    assert records[trade_off.MATCHED].model == records[trade_off.TRADE_OFF].model == name
    own_grid = results.get(GRID)
    assert grid.lengths == own_grid.lengths and not torch.equal(grid.refused, own_grid.refused)
    assert set(records[trade_off.COMPARED_TRUST].threshold.values()) != {0.0}
    assert list(answers.answers[0]) == half.generate(list(answers.texts), Decoding(4))
    assert read.strength == 1.0 and len(answers.ids) == 4
    agreed = screening_agrees(grid, read)
    assert agreed.share.n + agreed.left_out == 4 * 4 and agreed.share.value > 0.8
    with pytest.raises(InputError, match="from one model"):
        screening_agrees(grid, results.get(STEERED))


def test_only_a_planted_model_has_a_scale_to_compare_at(finished, study, half, monkeypatch):
    results, _ = finished
    bench, asked = begin(study, results.folder), []

    def load(source, **options):
        asked.append((source, options["adapter_scale"]))
        return half

    monkeypatch.setattr(half, "answer_store", None)  # as it was, when the test ends
    monkeypatch.setattr(other_models, "load_model", load)
    scale = scale_nearest_half(PLANTED)
    assert other_models.half_refusing(bench) is bench.model
    for source, at in ((PLANTED.key, 0.0), (PLANTED.key, scale), (NATIVE.key, 1.0)):
        bench.study = replace(study, source=source, adapter_scale=at)
        assert other_models.half_refusing(bench) is bench.model
    assert not asked
    for source in (PLANTED.key, *PLANTED.aliases):
        bench.study = replace(study, source=source, adapter_scale=1.0)
        assert other_models.half_refusing(bench) is half
    assert half.answer_store is bench.model.answer_store is not None
    assert asked == [(PLANTED.key, scale)] * 2


def test_the_deranged_control_is_steered_with_its_own_directions(
    finished, study, half, monkeypatch
):
    results, _ = finished
    bench = begin(study, results.folder)
    assert not manners.is_planted(bench)
    usual, moved = manners._usual(), manners._donors()
    assert set(usual) == set(moved) and all(usual[c] != usual[d] for c, d in moved.items())
    assert moved == donors("deranged", list(load_refusals(data_path("adapter", "refusals.jsonl"))))
    monkeypatch.setattr(manners, "is_planted", lambda bench: True)
    monkeypatch.setattr(manners, "_deranged", lambda bench: half)
    monkeypatch.setattr(manners, "_usual", lambda: {"red": "law", "green": "harm", "blue": "plain"})
    turned = {"red": "green", "green": "blue", "blue": "red"}
    monkeypatch.setattr(manners, "_donors", lambda: turned)
    ticks = list[int]()
    records = manners.manners(bench, ticks.append)
    assert sum(ticks) == manners.STAGE.work(bench).ticks == 2 * 4 * 8
    read = records[manners.CONTROL_STEERED].answers
    assert read.texts == records[manners.STEERED].answers.texts
    assert read.provenance.model == written_name(half.name)
    own_directions = fit_mean_difference(half.residual_stats(bench.train))
    with half.editing(Add(own_directions.at("red", chosen_layer(bench.results)), strength=1.0)):
        answers = half.generate(list(read.texts), Decoding(4))
    assert list(read.answers[read.conditions.index("red")]) == answers
    assert records[manners.MANNERS["refuse"]].taught == ("law", "harm", "plain")
    assert records[manners.CONTROL_MANNERS["refuse"]].taught == ("harm", "plain", "law")
    assert records[manners.CONTROL_MANNERS["comply"]].model == written_name(half.name)


def test_residuals_that_take_too_much_memory_are_read_again_with_the_same_numbers(
    finished, study, monkeypatch, tmp_path
):
    results, _ = finished
    monkeypatch.setattr("refusal_lens.study.outline._MOST_KEPT", 0)
    watch = Watch(die_in="score")
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "again", watch)
    assert watch.ticks["geometry"] == watch.expected["geometry"] == 3 * 2 * 8
    again = Results.open(tmp_path / "again")
    for key in (directions.DIRECTIONS, directions.POOLED_DIRECTIONS):
        a, b = (r.get(key) for r in (results, again))
        assert torch.allclose(a.vectors, b.vectors, atol=1e-6, equal_nan=True)
    a, b = (r.get(INTENDED) for r in (results, again))
    assert torch.allclose(a.corrected, b.corrected, atol=1e-5, equal_nan=True)


def test_prompts_that_trained_an_adapter_are_left_out_where_it_is_on(study):
    """To another model they are further prompts to fit on, behind those of `train`."""
    planted = study_prompts(replace(study, source=PLANTED.key))
    assert not [key for key in planted.ids if "-adapt-" in key] and "adapt" not in planted.splits
    other = study_prompts(study).only(split="train")
    assert len([key for key in other.ids if "-adapt-" in key]) == 3 * 2 * 2
    assert all("-train-" in key for key in other.first(8).ids)


def test_the_same_command_measures_nothing_again(run_copy, study):
    watch = Watch()
    run_study(study, run_copy.folder, watch)
    assert watch.done == STAGES
    assert watch.started_stages == []


def test_stopped_runs_go_on_and_end_with_the_same_numbers(finished, study, tmp_path):
    whole, _ = finished
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "b", Watch(die_in="score"))
    (tmp_path / "b/stages/.score.tmp").mkdir()
    watch = Watch()
    again = run_study(study, tmp_path / "b", watch)
    assert watch.done == [*STAGES[:3], "control", "contrasts"]
    assert watch.started_stages == STAGES[5:]
    assert not list((tmp_path / "b/stages").glob(".*"))
    for path in sorted((whole.folder / "stages").rglob("*")):
        if path.is_file():
            other = again.folder / path.relative_to(whole.folder)
            assert other.read_bytes() == path.read_bytes(), path.name


def test_a_damaged_digest_runs_that_stage_and_those_after_it(run_copy, study):
    folder = run_copy.folder
    path = folder / "stages/selection/stage.json"
    path.write_text(json.dumps({"digest": "0" * 64, "records": ["selection"]}))
    with pytest.raises(KeyboardInterrupt):
        run_study(study, folder, Watch(die_in="selection"))
    assert not path.exists()  # a report made now does not show it
    watch = Watch()
    run_study(study, folder, watch)
    assert watch.started_stages == ["selection"]


def test_another_question_is_refused(finished, study):
    results, _ = finished
    with pytest.raises(InputError, match="another question"):
        run_study(replace(study, seed=5), results.folder, Watch())


def test_a_run_goes_on_in_its_own_precision_with_any_batches(run_copy, study):
    dtype = run_copy.manifest["dtype"]
    other = Placement(dtype="bfloat16")
    with pytest.raises(InputError, match=f"holds a run in {dtype}, and bfloat16 was asked for"):
        run_study(study, run_copy.folder, Watch(), other)
    watch = Watch()
    run_study(study, run_copy.folder, watch, Placement(dtype=dtype, device="cpu", batch_size=5))
    assert watch.started_stages == []


def test_a_new_run_takes_the_precision_that_is_asked_for(study, tmp_path):
    bench = begin(study, tmp_path / "half", Placement(dtype="bfloat16", batch_size=5))
    assert str(bench.model.backend.dtype) == "torch.bfloat16"
    assert bench.model.placement.batch_size == 5
    assert control_model(bench).placement == bench.model.placement


def test_a_model_that_never_refuses_leaves_gaps_that_say_why(study, tiny_folders, tmp_path):
    watch = Watch()
    random = replace(study, source=str(tiny_folders["llama"]), control=None)
    results = run_study(random, tmp_path / "d", watch)
    assert "--control" in watch.gaps["control"]
    assert not results.has(CONTRASTS)
    assert not results.has(CATEGORIES_OF["behaviour"])
    assert "was refused" in watch.gaps["score"]
    assert watch.gaps["selection"].startswith("score: ")
    assert results.has(INTENDED)
    assert results.has(TOKENS)
    # No score can be trusted: answers are generated and read.
    assert bool(results.get(GRID).generated.all())
    assert not results.has(COMPARED_TRUST) and not results.has(SCREENING)
    assert not results.has(OF_KEPT_PAIRS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"categories": ("mauve",)}, "mauve"),
        ({"layers": (7,)}, "layers are 0 to 2"),
        ({"source": "nowhere/at-all"}, "nowhere/at-all"),
        ({"adapter_scale": 0.5}, "adapter scale"),
    ],
)
def test_wrong_questions_are_one_clear_line(study, tmp_path, change, words):
    with pytest.raises(InputError, match=words) as error:
        run_study(replace(study, **change), tmp_path / "e", Watch())
    assert "\n" not in str(error.value)


def _no_constant(name: str) -> None:
    pytest.fail(f"{name} is not strict JSON")


def test_records_are_neither_pickled_nor_nan(finished):
    results, _ = finished
    files = [p for p in Path(results.folder).rglob("*") if p.is_file() and p.name != LOCK]
    kinds = {p.suffix for p in files}
    assert kinds == {".json", ".jsonl", ".safetensors"}
    for path in Path(results.folder).rglob("*.json"):
        json.loads(path.read_text(), parse_constant=_no_constant)


def test_directions_of_the_run_can_be_used(finished, refusing):
    results, _ = finished
    direction_set = results.get(DIRECTIONS)
    chosen = results.get(SELECTION).choice
    d = direction_set.at("red", chosen.layer)
    assert d.vector.shape == (refusing.d_model,)
    with pytest.raises(InputError, match="not a run folder"):
        Results.open(Path(results.folder).parent)
