"""Attribution in a study's folder: its stages, resume, gaps, one prompt taken apart.

Tolerance 1e-4: float32 streams of order 1, summed along two routes.
"""

import json
import shutil

import pytest
import torch
from test_study import Watch
from test_study import finished as finished
from test_study import prompts_file as prompts_file
from test_study import study as study

from refusal_lens.attribution import (
    Agreement,
    AttributionPatch,
    Component,
    ComponentMatrix,
    Decomposition,
    DepthProfile,
    KnockOut,
    PatchMap,
    TokenMap,
)
from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.judges import ScoreTrust
from refusal_lens.records import save_record
from refusal_lens.selection import Selection
from refusal_lens.study import Results, explain_prompt, run_attribution, run_study

STAGES = ["attribution", "attribution_control", "patching", "knock_out_0", "depth", "answer_map_0"]
TOLERANCE = 1e-4


def copied(results: Results, folder):
    shutil.copytree(results.folder, folder)
    return folder


@pytest.fixture(scope="module")
def attributed(finished, tmp_path_factory):
    folder = copied(finished[0], tmp_path_factory.mktemp("attributed") / "run")
    watch = Watch()
    return run_attribution(folder, watch), watch


def test_every_stage_is_there(attributed):
    results, watch = attributed
    assert watch.started_stages == STAGES
    assert not watch.gaps
    layer = results.get("selection", "selection", Selection).choice.layer
    dirs = results.get("directions", "directions", DirectionSet)
    found = results.get("attribution", "decomposition", Decomposition)
    for category in ("red", "green", "blue"):
        own = found.attribution(category)
        assert own.whole == pytest.approx(dirs.at(category, layer).scale, rel=TOLERANCE)
        assert float(own.scores.sum()) == pytest.approx(own.whole, rel=TOLERANCE)
    other = results.get("attribution_control", "decomposition", Decomposition)
    assert other.targets == found.targets and "(control)" in other.provenance.model
    assert not torch.allclose(other.whole, found.whole)
    assert results.get("attribution", "matrix", ComponentMatrix).categories == found.categories
    assert not results.has("attribution", "correlation")  # three categories can't be permuted


def test_estimates_stand_at_the_sites_that_are_patched(attributed):
    results, _ = attributed
    fast = results.get("patching", "fast", AttributionPatch)
    real = results.get("patching", "patches", PatchMap)
    told = results.get("patching", "agreement", Agreement)
    assert fast.sites[-len(real.sites) :] == real.sites
    assert {s.point for s in fast.sites[: -len(real.sites)]} == {"head"}
    assert told.n_sites == len(real.sites) and told.overall.n == len(real.pairs)
    whole = [i for i, s in enumerate(real.sites) if s.point == "resid_pre" and s.offset == -1]
    last = max(whole, key=lambda i: real.sites[i].layer)
    assert torch.allclose(fast.clean, real.clean, atol=TOLERANCE)
    assert not torch.allclose(real.patched[:, last], real.corrupt, atol=TOLERANCE)


def test_depth_and_knock_outs_are_there(attributed):
    results, _ = attributed
    for i, category in enumerate(("red", "green", "blue")):
        profile = results.get("depth", f"profile_{i}", DepthProfile)
        assert profile.category == category and profile.steered_by == "pooled"
        assert torch.isfinite(profile.lens_refuse).all()
    curve = results.get("knock_out_0", "curve", KnockOut)
    assert curve.category == "red" and all("-test-" in key for key in curve.prompts)
    shown = results.get("answer_map_0", "map_0", TokenMap)
    assert shown.positions[0] < 0 <= shown.positions[-1]


def test_progress_reaches_what_was_planned(attributed):
    _, watch = attributed
    for stage in ("attribution", "attribution_control", "patching", "depth", "answer_map_0"):
        assert watch.ticks[stage] == watch.expected[stage], stage


def test_the_same_command_measures_nothing_again_and_another_category_adds_to_it(
    attributed, tmp_path
):
    folder = copied(attributed[0], tmp_path / "run")
    again = Watch()
    run_attribution(folder, again)
    assert again.done == STAGES and again.started_stages == []
    other = Watch()
    results = run_attribution(folder, other, category="blue")
    assert other.started_stages == ["knock_out_2", "answer_map_2"]
    assert results.has("knock_out_0", "curve")


def test_the_whole_maps_stand_beside_the_others(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run")
    watch = Watch()
    results = run_attribution(folder, watch, full=True)
    assert watch.started_stages == ["patching_full", "knock_out_1", "knock_out_2", "depth_full"]
    whole = results.get("patching_full", "patches", PatchMap)
    assert "head" in {s.point for s in whole.sites}
    assert len(whole.offsets) > len(results.get("patching", "patches", PatchMap).offsets)


def test_a_study_that_is_not_finished_is_refused(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run")
    shutil.rmtree(folder / "stages" / "score")
    with pytest.raises(InputError, match="'score'.*not finished"):
        run_attribution(folder, Watch())
    with pytest.raises(InputError, match="mauve"):
        run_attribution(folder, Watch(), category="mauve")


def test_a_study_keeps_attribution_that_holds_and_drops_what_does_not(attributed, study, tmp_path):
    folder = copied(attributed[0], tmp_path / "run")
    path = folder / "stages/depth/stage.json"
    path.write_text(json.dumps({"digest": "0" * 64, "records": []}))
    run_study(study, folder, Watch())
    assert not path.exists()  # a report made now does not show it
    assert (folder / "stages/patching/stage.json").exists()


def test_categories_without_a_first_token_score_leave_gaps_that_say_why(attributed, tmp_path):
    folder = copied(attributed[0], tmp_path / "run")
    trust = attributed[0].get("score", "trust", ScoreTrust)
    for name in ("patching", "depth", "knock_out_0"):
        shutil.rmtree(folder / "stages" / name)
    trust.mode.update(dict.fromkeys(trust.mode, "opening"))
    save_record(trust, folder / "stages/score/trust")
    watch = Watch()
    run_attribution(folder, watch)
    assert "in no category does the first token" in watch.gaps["patching"]
    assert "only 0" in watch.gaps["depth"]
    assert "['red']" in watch.gaps["knock_out_0"]


def test_a_prompt_is_taken_apart_to_the_last_part(attributed, tiny_llama):
    results, _ = attributed
    told = explain_prompt(results.folder, "red thing 3 please", category="red")
    layer = results.get("selection", "selection", Selection).choice.layer
    d = results.get("directions", "directions", DirectionSet).at("red", layer)
    resid = tiny_llama.residuals(["red thing 3 please"], sites=[d.site])[0, 0, 0]
    assert float(told.attribution.scores.sum()) == pytest.approx(
        float(resid @ d.vector), abs=TOLERANCE
    )
    head = told.sources.heads[0]
    assert float(told.sources.scores[0].sum()) == pytest.approx(
        told.attribution.score_of(Component(head.layer, "head", head.head)), abs=TOLERANCE
    )
    pooled = explain_prompt(results.folder, "red thing 3 please")
    assert pooled.attribution.target.category == "pooled"
