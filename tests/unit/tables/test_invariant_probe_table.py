"""The 2 x 2 of invariant probes as a table: whole, whatever the result."""

from dataclasses import replace

import pytest
from support.environments import SITE, confounded
from support.words import says

from refusal_lens.directions import InvarianceRecipe, environments_by, fit_invariant_probe
from refusal_lens.directions.invariance.recipe import METHODS
from refusal_lens.tables.invariant_probe import invariant_environments_table, invariant_probe_table

LIGHT = InvarianceRecipe(
    components=4,
    penalties=(0.0, 1.0),
    bottlenecks=(0.0, 0.1),
    decays=(1e-3,),
    seeds=(0, 1),
    steps=30,
    warm_up=10,
    learning_rate=0.05,
)


@pytest.fixture(scope="module")
def residuals():
    return confounded(n=20, n_environments=3)


def fitted(residuals, recipe=LIGHT):
    environments = environments_by(residuals.labelled, "category")
    return fit_invariant_probe(residuals, environments, SITE, recipe=recipe)


def test_all_four_methods_are_rows_with_their_numbers(residuals):
    probe = fitted(residuals)
    table = invariant_probe_table(probe)
    rows = [[cell.text for cell in row] for row in table.rows]
    assert tuple(row[0] for row in rows) == METHODS
    assert {len(row) for row in rows} == {len(table.head)} and rows[0][2] == "reference"
    for row, m in zip(rows, probe.methods, strict=True):
        assert row[1].startswith(f"{m.mean.value:.2f} [") and f"{m.config.decay:g}" in row[5]
        least = min(range(3), key=lambda i, m=m: m.auroc[i].value)
        assert row[3] == f"{probe.outer[least]}: {m.auroc[least].value:.2f}"
    assert rows[0][7] == "1.00" and says(table.caption, 3, "resid_pre[1]", 3)
    assert len(probe.notes) > 1 and any("20 + 20" in note for note in probe.notes)
    for note in probe.notes:
        assert note[1:] in table.caption  # as a sentence, so that the first letter is another


def test_each_environment_has_a_row_with_all_four(residuals):
    probe = fitted(residuals)
    table = invariant_environments_table(probe)
    assert table.head[2:] == METHODS and len(table.rows) == 3
    for i, row in enumerate(table.rows):
        assert [c.text for c in row[:2]] == [f"e{i}", "20 + 20"]
        assert row[2].text.startswith(f"{probe.of('ERM').auroc[i].value:.2f}")


def test_one_outer_environment_shows_its_own_interval(residuals):
    probe = fitted(residuals, replace(LIGHT, outer="e1"))
    (row, *_) = invariant_probe_table(probe).rows
    e = probe.of("ERM").auroc[0]
    assert row[1].text == f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"
    (only,) = invariant_environments_table(probe).rows
    assert only[0].text == "e1"
