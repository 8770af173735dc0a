"""Ways of finding directions category by category: reliability, cosine, and separation held out."""

from collections.abc import Mapping, Sequence

from refusal_lens.geometry.split_halves import Agreement
from refusal_lens.geometry.transfer import Transfer
from refusal_lens.plots.estimators import estimator_name
from refusal_lens.plots.text import number, value_interval, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.estimators import JUMPS, without_interval
from refusal_lens.tables.table import Cell, Table


def estimator_categories_table(
    fits: Mapping[str, tuple[Agreement | None, Transfer]], titles: Mapping[str, str]
) -> Table:
    """A row for each way that fits categories, a column for each category.

    In a cell the reliability of the category's direction, its corrected cosine to the mean
    difference, and its AUROC on held-out prompts of the same category; "–" where there is no
    direction, too few prompts, or the direction is the mean difference itself.
    """
    fitted = {name: fit for name, fit in fits.items() if len(fit[1].rows) > 1}
    columns = tuple(dict.fromkeys(c for _, transfer in fitted.values() for c in transfer.columns))
    rows = tuple(
        (
            Cell(estimator_name(name)),
            *(
                Cell(f"{_reliability(agreement, c)}; {_cosine(agreement, c)}; {_area(transfer, c)}")
                for c in columns
            ),
        )
        for name, (agreement, transfer) in fitted.items()
    )
    bare = [
        name for name, (a, _) in fitted.items() if a and any(map(without_interval, a.reliability))
    ]
    but = f" (but for {', '.join(map(estimator_name, bare))}: {JUMPS})" if bare else ""
    return Table(
        "Each category's own direction: reliability, then the cosine to the category's mean "
        "difference, corrected for both reliabilities (control: 0), each with its 95% interval"
        f"{but}; then the AUROC on held-out prompts of that category (chance: .5).",
        ("estimator", *(visible(titles.get(c, c)) for c in columns)),
        rows,
    )


def _reliability(agreement: Agreement | None, category: str) -> str:
    return "–" if agreement is None else _of(agreement, agreement.reliability, category)


def _cosine(agreement: Agreement | None, category: str) -> str:
    if agreement is None or agreement.estimator == agreement.reference:
        return "–"
    return _of(agreement, agreement.cosine, category)


def _of(agreement: Agreement, each: Sequence[Estimate], category: str) -> str:
    if category not in agreement.names:
        return "–"
    e = each[agreement.names.index(category)]
    return "–" if e.value is None else value_interval(e)


def _area(transfer: Transfer, category: str) -> str:
    if category not in transfer.rows or category not in transfer.columns:
        return "–"
    value = float(transfer.area[transfer.rows.index(category), transfer.columns.index(category)])
    return "–" if value != value else number(value)
