"""Ways of finding directions side by side: in a study's folder, resumed, added to, and read."""

from dataclasses import replace

import pytest
from support.synthetic.run import Page
from support.tiny_study import Watch, copied

from refusal_lens.errors import InputError
from refusal_lens.evaluation import evaluate
from refusal_lens.evaluation.effects import CONTROLS
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model import allow_transfer
from refusal_lens.plots.estimators import estimator_name
from refusal_lens.report.page import write_report
from refusal_lens.study import run_comparison
from refusal_lens.study.compared import compared_pairs
from refusal_lens.study.estimators import chosen, compared
from refusal_lens.study.estimators.entry import Compared, Fitted
from refusal_lens.study.question import Study
from refusal_lens.study.run import begin
from refusal_lens.study.stages.estimator_comparison import COMPARISON, GRID
from refusal_lens.study.stages.estimator_prompts import EstimatorSizes
from refusal_lens.study.stages.estimators import (
    ABLATED,
    ADDED,
    AGREEMENT,
    CALIBRATION,
    DAMAGE,
    FIT,
    POOLED_SET,
    PROBE,
    TRANSFER,
    WITHOUT,
    estimate,
    stage_of,
)

NAMES = ["mean_difference", "median_difference"]


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    folder = copied(finished[0], tmp_path_factory.mktemp("compared") / "run").folder
    watch = Watch()
    return run_comparison(folder, watch, estimators=NAMES), watch


def test_every_row_has_its_controls_beside_it(run):
    results, watch = run
    assert not watch.gaps
    comparison = results.get(COMPARISON)
    assert tuple(row.name for row in comparison.rows) == (*NAMES, *CONTROLS)
    assert watch.started_stages == ["estimator_prompts"] + [
        stage_of(one) for one in chosen(NAMES)
    ] + ["independence", "estimator_comparison"]
    plain, median = comparison.rows[:2]
    assert plain.naive == pytest.approx(1.0) and plain.cosine is None
    assert median.naive < 1 and median.cosine is not None and median.cosine.n > 0
    for row in comparison.rows[2:]:
        assert row.kind == "control" and row.reliability is None
        assert results.get(FIT.of(_stage(row.name))).draws == 8
    assert results.get(GRID).kinds == ("direction", "direction", *["control"] * 3)
    compared_rows = {(row.name, t.metric) for row in comparison.rows for t in row.tests}
    assert ("mean_difference", "removed") not in compared_rows
    assert ("median_difference", "removed") in compared_rows
    assert all(t.q is None or t.q >= t.p for row in comparison.rows for t in row.tests)
    grid, matched = results.get(GRID), comparison.matched
    assert (matched.model, matched.asked) == (grid.provenance.model, len(grid.pairs))
    assert matched.read == int(grid.generated.sum()) and matched.n_pairs <= matched.asked


def test_stages_count_what_their_plans_said_but_for_what_is_not_there(run):
    results, watch = run
    apart = {stage: watch.expected[stage] - ticks for stage, ticks in watch.ticks.items()}
    assert apart["estimator_prompts"] == apart["independence"] == 0
    grid = results.get(GRID)
    unmeasured = len(compared()) - len(grid.names)  # what the run did not ask for
    cells = 2 * len(grid.pairs) * (len(grid.strengths) - 1)
    assert apart["estimator_comparison"] == unmeasured * cells
    for name in (*NAMES, *CONTROLS):
        fit = results.get(FIT.of(_stage(name)))
        n = len(results.get(ABLATED.of(_stage(name))).ids)
        # No answers at a damage budget that is never reached; a control leaves no category out,
        # fits none, and has no halves.
        less = 0 if fit.draws_at_budget else 2 * n
        less += n + 3 + 1 if name in CONTROLS else 0
        assert apart[_stage(name)] == less, name


def test_rates_are_those_of_the_edits_by_themselves(run):
    results, _ = run
    bench = begin(Study.of(results.manifest["question"]), results.folder, _placement())
    sizes = bench.size(EstimatorSizes)
    pairs = compared_pairs(bench, min(sizes.estimator_pairs, sizes.estimator_held_out))
    decoding = sizes.decoding
    row = results.get(COMPARISON).row("median_difference")
    stage = _stage("median_difference")
    pooled = results.get(POOLED_SET.of(stage))
    direction = pooled.at("pooled", pooled.sites[0].layer)
    sides = [pairs.only(label=label) for label in ("refuse", "comply")]
    with bench.model.editing(Ablate(direction)):
        alone = evaluate(bench.model, sides[0], bench.judge, decoding=decoding)
    assert row.removed.value == alone.rate().value and row.removed.n == alone.rate().n
    if row.strength is not None:
        with bench.model.editing(Add(direction, strength=row.strength)), allow_transfer():
            steered = [evaluate(bench.model, s, bench.judge, decoding=decoding) for s in sides]
        assert row.damage_refusal.value == steered[0].rate().value
        assert row.damage_over_refusal.value == steered[1].rate().value
        assert results.get(CALIBRATION.of(stage)).strength == row.strength
    assert WITHOUT in results.get(ABLATED.of(stage)).conditions


@pytest.fixture(scope="module")
def direction(run):
    """The run's mean difference, and the bench that it was fitted at."""
    results, _ = run
    pooled = results.get(POOLED_SET.of(_stage("mean_difference")))
    bench = begin(Study.of(results.manifest["question"]), results.folder, _placement())
    return pooled.at("pooled", pooled.sites[0].layer), bench


def test_a_category_that_was_not_fitted_on_is_ablated_by_the_pooled_direction(direction):
    """As of estimators that are fitted on some categories only: no prompt goes without an edit."""
    pooled, bench = direction
    others = {c: replace(pooled.random_like(7), category=c) for c in ("red", "green")}
    fitted = Fitted((pooled,), without=others, method="partial")
    test = bench.prompts.only(split="test")  # three pairs a category, as areas need
    place = {"sites": (pooled.site,), "offsets": (pooled.offset,)}
    bench.once("held-out residuals", lambda: bench.model.residuals(test, **place))
    records = estimate(bench, lambda n: None, one=_given(fitted, "estimator"))
    read = records[ABLATED]
    edits = read.edits[read.conditions.index(WITHOUT)]
    assert edits.count("Ablate(") == 3 and "none" not in edits.split(" | ")
    assert repr(Ablate(pooled)) in edits
    transfer = records[TRANSFER]
    column = transfer.columns.index("blue")
    assert transfer.left_out_area[column] == transfer.area[0, column]
    red = transfer.columns.index("red")
    assert transfer.left_out_area[red] != transfer.area[0, red]


def test_each_draw_is_added_at_its_own_strength_and_one_without_takes_no_turn(direction):
    pooled, bench = direction
    scales = {"own": pooled.scale, "none": 1e-9, "long": 2 * pooled.scale}
    own_direction, none, long = (replace(pooled, category=c, scale=s) for c, s in scales.items())
    fitted = Fitted((own_direction, none, long), method="three draws")
    records = estimate(bench, lambda n: None, one=_given(fitted, "control"))
    strength = records[CALIBRATION].strength
    assert (records[FIT].draws, records[FIT].draws_at_budget) == (3, 2)
    read = records[ADDED]
    first, second = read.edits[read.conditions.index(DAMAGE)].split(" | ")
    assert first == repr(Add(own_direction, strength=strength))
    sizes = bench.size(EstimatorSizes)
    benign = bench.spread(bench.train, "comply", sizes.damage_prompts)
    other = long.calibrate(bench.model, benign, kl=sizes.damage_kl)
    assert second == repr(Add(long, strength=other.strength)) and other.strength < strength


@pytest.mark.slow
def test_every_way_gives_a_row_or_says_why_not(run, tmp_path):
    results = copied(run[0], tmp_path / "run")
    watch = Watch()
    names = [one.name for one in compared() if one.kind == "estimator" and not one.slow]
    whole = run_comparison(results.folder, watch, estimators=names)
    rows = {row.name for row in whole.get(COMPARISON).rows}
    gaps = {one.name for one in compared() if whole.gap(stage_of(one))}
    assert rows.isdisjoint(gaps) and rows | gaps == {*names, *CONTROLS}
    assert {"linear_discriminant", "som", "erm", "ib_irm"} <= rows
    weighted = next(r for r in whole.get(COMPARISON).rows if r.name.startswith("weighted_ridge"))
    assert weighted.reliability is not None and weighted.cosine is not None
    intended = _stage("mean_difference_intended")
    assert "intended" in watch.gaps[intended]
    probe = whole.get(PROBE.of(_stage("irm")))
    assert [m.method for m in probe.methods] == ["ERM", "IRM", "IB-ERM", "IB-IRM"]
    page = Page(write_report(whole).read_text(encoding="utf-8"))
    note = page.words("note-estimators_gaps")
    assert f"{estimator_name('mean_difference_intended')} ({watch.gaps[intended]})" in note
    assert f"unmeasured:{intended}" in page.gap("note-estimators_gaps").split()
    assert {"table-estimators_invariant", "table-estimators_environments"} <= {
        table["id"] for table in page.of("table")
    }


def test_what_is_there_stays_and_what_is_asked_for_joins_it(run, tmp_path):
    results = copied(run[0], tmp_path / "run")
    results.drop(stage_of(_one("median_difference")))
    results.drop("estimator_comparison")
    first = Watch()
    less = run_comparison(results.folder, first, estimators=["mean_difference"])
    assert first.started_stages == ["estimator_comparison"]
    assert "median_difference" not in {row.name for row in less.get(COMPARISON).rows}
    second = Watch()
    more = run_comparison(results.folder, second, estimators=["median_difference"])
    assert second.started_stages == [
        stage_of(_one("median_difference")),
        "estimator_comparison",
    ]
    assert more.get(COMPARISON).rows[1].removed == run[0].get(COMPARISON).rows[1].removed
    third = Watch()
    run_comparison(results.folder, third, estimators=["mean_difference"])
    assert third.started_stages == []


def test_the_report_shows_it_where_it_was_measured(run, finished, tmp_path):
    page = write_report(run[0]).read_text(encoding="utf-8")
    assert 'id="plot-estimators"' in page and "median difference" in page
    assert 'id="plot-transfer"' in page and 'id="plot-independence"' in page
    other = write_report(copied(finished[0], tmp_path / "run")).read_text(encoding="utf-8")
    assert 'id="plot-estimators"' not in other


def test_an_unknown_estimator_ends_before_the_model_is_loaded(run):
    with pytest.raises(InputError, match=r"estimator 'mode' is unknown; use some of \['mean_diff"):
        run_comparison(run[0].folder, Watch(), estimators=["mode"])


def test_agreement_is_of_the_same_halves(run):
    results, _ = run
    plain = results.get(AGREEMENT.of(_stage("mean_difference")))
    median = results.get(AGREEMENT.of(_stage("median_difference")))
    assert plain.names == median.names and plain.names[0] == "pooled"
    assert [e.n for e in plain.reliability] == [e.n for e in median.reliability]


def _given(fitted, kind):
    """A way of finding directions that gives these."""
    return Compared("given", kind, lambda bench, data, tick: fitted)


def _one(name):
    return next(one for one in compared() if one.name == name)


def _stage(name):
    return stage_of(_one(name))


def _placement():
    from refusal_lens.placement import Placement

    return Placement(dtype="float32", device="cpu")
