"""Attribution in a study's folder: its stages, resume, gaps, one prompt taken apart.

Tolerance 1e-4: float32 streams of order 1, summed along two routes.
"""

import json
import shutil

import pytest
import torch
from support.tiny_study import Watch, copied
from typer.testing import CliRunner

from refusal_lens.attribution import (
    Component,
)
from refusal_lens.cli import main as cli
from refusal_lens.errors import InputError
from refusal_lens.records import save_record
from refusal_lens.study import explain_prompt, run_attribution, run_study
from refusal_lens.study.stages.answer_map import MAP
from refusal_lens.study.stages.attribution import CORRELATION, DECOMPOSITION, MATRIX
from refusal_lens.study.stages.attribution_control import CONTROL_DECOMPOSITION
from refusal_lens.study.stages.depth import PROFILE
from refusal_lens.study.stages.directions import DIRECTIONS, POOLED_DIRECTIONS
from refusal_lens.study.stages.knock_out import KNOCK_OUT, POOLED_DECOMPOSITION
from refusal_lens.study.stages.patching import FAST, NOT_SCORED, PATCH_AGREEMENT, PATCHES
from refusal_lens.study.stages.paths import NEURONS, PATH, REGIONS, SOURCES, SOURCES_TWIN
from refusal_lens.study.stages.score import TRUST
from refusal_lens.study.stages.selection import SELECTION

STAGES = [
    "attribution",
    "attribution_control",
    "patching",
    "knock_out_0",
    "paths_0",
    "depth",
    "answer_map_0",
]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def attributed(finished, tmp_path_factory):
    folder = copied(finished[0], tmp_path_factory.mktemp("attributed") / "run").folder
    watch = Watch()
    return run_attribution(folder, watch), watch


def test_every_stage_is_there(attributed):
    results, watch = attributed
    assert watch.started_stages == STAGES
    assert not watch.gaps
    layer = results.get(SELECTION).choice.layer
    dirs = results.get(DIRECTIONS)
    decomposition = results.get(DECOMPOSITION)
    for category in ("red", "green", "blue"):
        attribution = decomposition.attribution(category)
        assert attribution.total == pytest.approx(dirs.at(category, layer).scale, rel=TOLERANCE)
        assert float(attribution.scores.sum()) == pytest.approx(attribution.total, rel=TOLERANCE)
    other = results.get(CONTROL_DECOMPOSITION)
    assert other.targets == decomposition.targets and "(control)" in other.provenance.model
    assert not torch.allclose(other.total, decomposition.total)
    assert results.get(MATRIX).categories == decomposition.categories
    assert not results.has(CORRELATION)  # three categories can't be permuted


def test_estimates_stand_at_the_sites_that_are_patched(attributed):
    results, _ = attributed
    fast = results.get(FAST)
    real = results.get(PATCHES)
    agreement = results.get(PATCH_AGREEMENT)
    assert fast.sites[-len(real.sites) :] == real.sites
    assert {s.point for s in fast.sites[: -len(real.sites)]} == {"head"}
    assert agreement.n_sites == len(real.sites) and agreement.overall.n == len(real.pairs)
    whole = [i for i, s in enumerate(real.sites) if s.point == "resid_pre" and s.offset == -1]
    last = max(whole, key=lambda i: real.sites[i].layer)
    assert torch.allclose(fast.clean, real.clean, atol=TOLERANCE)
    assert not torch.allclose(real.patched[:, last], real.corrupt, atol=TOLERANCE)


def test_depth_and_knock_outs_are_there(attributed):
    results, _ = attributed
    for i, category in enumerate(("red", "green", "blue")):
        profile = results.get(PROFILE.at(i))
        assert profile.category == category and profile.steered_by == "pooled"
        assert torch.isfinite(profile.lens_refuse).all()
    curve = results.get(KNOCK_OUT.of("knock_out_0"))
    assert curve.category == "red" and all("-test-" in key for key in curve.prompts)
    shown = results.get(MAP.at(0).of("answer_map_0"))
    assert shown.positions[0] < 0 <= shown.positions[-1]


def test_progress_reaches_what_was_planned(attributed):
    _, watch = attributed
    for stage in (*STAGES[:3], "paths_0", "depth", "answer_map_0"):
        assert watch.ticks[stage] == watch.expected[stage], stage


def test_the_same_command_measures_nothing_again_and_another_category_adds_to_it(
    attributed, tmp_path
):
    folder = copied(attributed[0], tmp_path / "run").folder
    again = Watch()
    run_attribution(folder, again)
    assert again.done == STAGES and again.started_stages == []
    other = Watch()
    results = run_attribution(folder, other, category="blue")
    assert other.started_stages == ["knock_out_2", "paths_2", "answer_map_2"]
    assert results.has(KNOCK_OUT.of("knock_out_0"))


@pytest.fixture(scope="module")
def whole_maps(attributed, tmp_path_factory):
    folder = copied(attributed[0], tmp_path_factory.mktemp("whole") / "run").folder
    watch = Watch()
    return run_attribution(folder, watch, full=True), watch


@pytest.mark.slow
def test_the_whole_maps_stand_beside_the_others(whole_maps):
    results, watch = whole_maps
    assert watch.started_stages == [
        "patching_full",
        "knock_out_1",
        "knock_out_2",
        *(f"knock_out_{kind}_{i}" for kind in ("zero", "resample") for i in range(3)),
        "knock_out_pooled",
        *(f"paths_{i}_full" for i in range(3)),
        "depth_full",
    ]
    assert not watch.gaps
    for stage in watch.started_stages:
        assert watch.ticks[stage] <= watch.expected[stage], stage
    whole = results.get(PATCHES.of("patching_full"))
    assert "head" in {s.point for s in whole.sites}
    assert len(whole.offsets) > len(results.get(PATCHES).offsets)
    curves = {
        kind: results.get(KNOCK_OUT.of(f"knock_out{suffix}_1"))
        for kind, suffix in (("mean", ""), ("zero", "_zero"), ("resample", "_resample"))
    }
    for kind, curve in curves.items():
        assert curve.cuts.replacement == kind and curve.category == "green"
        assert torch.allclose(curve.score[0], curves["mean"].score[0], atol=TOLERANCE)
    assert len({float(curve.score[1:].mean()) for curve in curves.values()}) == 3


@pytest.mark.slow
def test_the_pooled_writers_are_those_of_the_pooled_direction(whole_maps):
    results, _ = whole_maps
    layer = results.get(SELECTION).choice.layer
    pooled = results.get(POOLED_DIRECTIONS).at("pooled", layer)
    attribution = results.get(POOLED_DECOMPOSITION.of("knock_out_pooled")).attribution("pooled")
    assert attribution.total == pytest.approx(pooled.scale, rel=TOLERANCE) and attribution.n == 24
    curve = results.get(KNOCK_OUT.of("knock_out_pooled"))
    assert curve.order == attribution.writers()
    assert {key.split("-")[0] for key in curve.prompts} == {"red", "green", "blue"}
    assert curve.target.category == curve.category == "pooled"


def test_heads_are_followed_to_the_direction_and_back_to_words(attributed):
    results, _ = attributed
    attribution = results.get(DECOMPOSITION).attribution("red")
    heads = [c for c in attribution.writers() if c.kind == "head"][:3]
    read = [results.get(PATH.at(i).of("paths_0")) for i in range(3)]
    assert [p.head for p in read] == heads
    assert all(p.target == attribution.target and len(p.pairs) == 3 for p in read)
    assert all(p.residual < TOLERANCE and p.total.abs().max() > 1e-3 for p in read)
    regions = results.get(REGIONS.of("paths_0"))
    assert regions.heads == tuple(heads) and len(regions.prompts) == 3
    sources = results.get(SOURCES.of("paths_0"))
    twin = results.get(SOURCES_TWIN.of("paths_0"))
    assert (sources.prompt, twin.prompt) == ("red thing a please", "red thing a thanks")
    row = sources.scores[sources.heads.index(heads[0])]
    assert float(regions.refuse[0, 0].sum()) == pytest.approx(float(row.sum()), abs=1e-9)
    shares = results.get(NEURONS.at(0).of("paths_0"))
    mlp = next(c for c in attribution.writers() if c.kind == "MLP")
    assert shares.layer == mlp.layer and shares.n == 3 and shares.category == "red"


def test_a_study_that_is_not_finished_is_refused(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run").folder
    shutil.rmtree(folder / "stages" / "score")
    with pytest.raises(InputError, match="'score'.*not finished"):
        run_attribution(folder, Watch())
    with pytest.raises(InputError, match="mauve"):
        run_attribution(folder, Watch(), category="mauve")


def test_a_study_keeps_attribution_that_holds_and_drops_what_does_not(attributed, study, tmp_path):
    folder = copied(attributed[0], tmp_path / "run").folder
    path = folder / "stages/depth/stage.json"
    path.write_text(json.dumps({"digest": "0" * 64, "records": []}))
    run_study(study, folder, Watch())
    assert not path.exists()  # a report made now does not show it
    assert (folder / "stages/patching/stage.json").exists()


def without_a_first_token(results, folder, mode):
    """The run as if no category's first token could be trusted."""
    trust = results.get(TRUST)
    for name in ("patching", "depth", "knock_out_0"):
        shutil.rmtree(folder / "stages" / name)
    trust.mode.update(dict.fromkeys(trust.mode, mode))
    trust.openings.update(dict.fromkeys(trust.mode, ((5, 9),)) if mode == "opening" else {})
    save_record(trust, folder / "stages/score/trust")


def test_categories_without_a_score_leave_gaps_that_say_why(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run").folder
    without_a_first_token(attributed[0], folder, "generation only")
    watch = Watch()
    run_attribution(folder, watch)
    assert watch.gaps["patching"] == NOT_SCORED
    assert "only 0" in watch.gaps["depth"]
    assert "['red']" in watch.gaps["knock_out_0"]


def test_categories_that_are_scored_by_openings_are_patched_and_knocked_out(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run").folder
    without_a_first_token(attributed[0], folder, "opening")
    watch = Watch()
    results = run_attribution(folder, watch)
    assert watch.gaps.keys() == {"depth"}  # a lens reads no opening off a layer
    curve = results.get(KNOCK_OUT.of("knock_out_0"))
    before = attributed[0].get(KNOCK_OUT.of("knock_out_0"))
    assert (curve.scored_by, before.scored_by) == ("opening", "first token")
    assert torch.allclose(curve.projection, before.projection, atol=TOLERANCE)
    assert not torch.allclose(curve.score, before.score, atol=0.1)
    real = results.get(PATCHES)
    fast = results.get(FAST)
    assert set(real.scored_by) == {"opening"} and len(real.pairs) == 9
    assert torch.allclose(fast.clean, real.clean, atol=TOLERANCE)
    assert results.get(PATCH_AGREEMENT).overall.n == 9


def test_a_prompt_is_taken_apart_to_the_last_part(attributed, refusing):
    results, _ = attributed
    explanation = explain_prompt(results.folder, "red thing 3 please", category="red")
    layer = results.get(SELECTION).choice.layer
    d = results.get(DIRECTIONS).at("red", layer)
    resid = refusing.residuals(["red thing 3 please"], sites=[d.site]).tensor[0, 0, 0]
    assert float(explanation.attribution.scores.sum()) == pytest.approx(
        float(resid @ d.vector), abs=TOLERANCE
    )
    head = explanation.sources.heads[0]
    assert float(explanation.sources.scores[0].sum()) == pytest.approx(
        explanation.attribution.score_of(Component(head.layer, "head", head.head)), abs=TOLERANCE
    )
    pooled = explain_prompt(results.folder, "red thing 3 please")
    assert pooled.attribution.target.category == "pooled"


def run_attribute(*arguments):
    """What `refusal-lens attribute` prints; what it refuses, as the user sees it."""
    done = CliRunner().invoke(cli.app, ["attribute", *map(str, arguments)])
    return done, " ".join(done.output.split())


@pytest.mark.slow
def test_the_command_says_what_it_costs_and_then_measures_what_is_missing(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run").folder
    shutil.rmtree(folder / "stages/paths_0")
    done, text = run_attribute(folder, "--category", "red")
    assert done.exit_code == 0, done.output
    plan, estimate = text.index("paths_0"), text.index("estimate:")
    assert plan < estimate < text.index("paths_0", estimate)  # its bar
    n = attributed[0].get(PATCH_AGREEMENT).overall.n
    assert n == 9 and f"n = {n}" in text
    assert (folder / "stages/paths_0/path_2.json").exists()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert 'id="plot-head_paths"' in page and 'id="plot-mlp_neurons"' in page


def test_a_whole_run_tells_its_estimate_before_it_begins(attributed, tmp_path, monkeypatch):
    """Stopped at the first stage: the plan of all of them stands on the screen by then."""
    folder = copied(attributed[0], tmp_path / "run").folder

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("refusal_lens.study.run._run_stage", stop)
    done, text = run_attribute(folder, "--full")
    assert done.exit_code == 130
    for words in ("patching_full", "knock_out_resample_2", "knock_out_pooled", "estimate:"):
        assert words in text, words
    assert not (folder / "stages/patching_full").exists()


def test_a_prompt_is_shown_with_its_parts_and_the_words_that_heads_read(attributed):
    done, text = run_attribute(
        attributed[0].folder, "--prompt", "red thing 3 please", "--category", "red"
    )
    assert done.exit_code == 0, done.output
    explanation = explain_prompt(attributed[0].folder, "red thing 3 please", category="red")
    for head in explanation.sources.heads:
        assert head.name in text
    assert "red" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--category", "mauve"), "['red', 'green', 'blue']"),
        (("--prompt", "Why?", "--category", "mauve"), "'mauve'"),
        (("--prompt", "  "), "--prompt '  '"),
        (("--prompt", "Why?", "--full"), "--full"),
        (("--prompt", "Why <|im_end|>?"), "<|im_end|>"),
        (("--prompt", "why " * 200), "512"),
    ],
)
def test_a_mistake_is_one_clear_line(attributed, arguments, words):
    done, _ = run_attribute(attributed[0].folder, *arguments)
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception) and "\n" not in str(done.exception)


def test_a_study_that_stopped_is_one_clear_line(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run").folder
    shutil.rmtree(folder / "stages/directions")
    for arguments in ((), ("--full",), ("--prompt", "Why?")):
        done, _ = run_attribute(folder, *arguments)
        assert isinstance(done.exception, InputError)
        text = str(done.exception)
        assert "'directions'" in text and "`refusal-lens study`" in text
        assert "\n" not in text
