"""What stages count while they run is what their plans said."""

import shutil

import pytest
from support.tiny_study import Watch, copied

from refusal_lens.study import run_study
from refusal_lens.study.stages.effects import ABLATED


def test_every_stage_counts_as_many_tasks_as_its_plan_said(finished):
    """All is known beforehand, but which sources of labels there will be directions of."""
    results, watch = finished
    measured = [name for name in watch.started_stages if name not in watch.gaps]
    assert {"contrasts", "geometry", "structure", "trade_off", "costs", "manners"} <= {*measured}
    conditions = results.get(ABLATED).conditions
    missing = {"behaviour", "within", "intended"} - {*conditions}
    assert missing == {"within"}  # no refuse-side prompt was answered
    less = {"effects": len(missing) * 2 * len(results.get(ABLATED).ids)}
    for stage in measured:
        assert watch.ticks[stage] == watch.expected[stage] - less.get(stage, 0), stage


@pytest.mark.parametrize("stage", ["geometry", "control", "contrasts", "structure"])
def test_a_run_that_goes_on_counts_no_more_than_its_plan_said(stage, finished, study, tmp_path):
    """What earlier stages kept in memory is read again, whichever stage comes first."""
    folder = copied(finished[0], tmp_path / "run").folder
    shutil.rmtree(folder / "stages" / stage)
    watch = Watch()
    run_study(study, folder, watch)
    assert watch.started_stages == [stage]
    assert watch.ticks[stage] == watch.expected[stage]
