"""Attribution of one category or prompt: contributions to a projection, and what heads read."""

from typing import Final

from refusal_lens.attribution import Attribution, HeadSources
from refusal_lens.plots.text import interval, number, visible
from refusal_lens.study.results import Results
from refusal_lens.study.stages.attribution import DECOMPOSITION
from refusal_lens.study.stages.patching import PATCH_AGREEMENT
from refusal_lens.tables.patches import pairs_text
from refusal_lens.tables.table import Cell, Table

_ROWS: Final = 20
_HEADS: Final = 6
_TOKENS: Final = 4


def parts_table(attribution: Attribution, most: int = _ROWS) -> Table:
    """The largest contributions to a projection, the sum of the rest, residual and total."""
    a = attribution
    order: list[int] = a.scores.abs().argsort(descending=True).tolist()
    texts: list[tuple[str, str, str]] = []
    for i in order[:most]:
        score = float(a.scores[i])
        ends = interval(score, float(a.low[i]), float(a.high[i]))
        texts.append((a.components[i].name, ends, _share(score, a)))
    rest = float(a.scores[order[most:]].sum())
    texts += [
        (f"{len(order[most:])} others", number(rest), _share(rest, a)),
        ("residual (rounding)", f"{a.residual:.1e}", ""),
        ("total", number(a.total), f"n = {a.n}"),
    ]
    caption = (
        f"{a.of}: projection on the direction of {a.target.category} at "
        f"{a.target.site}, offset {a.target.offset} (residual-stream units)"
    )
    rows = tuple(tuple(map(Cell, row)) for row in texts)
    return Table(visible(caption), ("part", "score", "of the total"), rows)


def sources_table(sources: HeadSources) -> Table:
    """The tokens from which the strongest heads carry what they write."""
    rows: list[tuple[Cell, ...]] = []
    order: list[int] = sources.scores.sum(1).abs().argsort(descending=True).tolist()
    for i in order[:_HEADS]:
        row = sources.scores[i]
        top: list[int] = row.abs().argsort(descending=True)[:_TOKENS].tolist()
        words = [
            f"“{visible(sources.tokens[p])}” ({sources.positions[p]}) {number(float(row[p]))}"
            for p in top
        ]
        texts = (sources.heads[i].name, number(float(row.sum())), ", ".join(words))
        rows.append(tuple(map(Cell, texts)))
    head = ("head", "writes", "of it from")
    return Table("what the strongest heads read", head, tuple(rows))


def attribution_of_run(results: Results, category: str | None) -> list[Table | str]:
    """One category's strongest writers, and how far estimated patches can be trusted."""
    parts: list[Table | str] = []
    whole = results.find(DECOMPOSITION)
    targets = set() if whole is None else {t.category for t in whole.targets}
    if whole is not None and category is not None and category in targets:
        parts.append(parts_table(whole.attribution(category)))
    for stage in ("patching", "patching_full"):
        if (agreement := results.find(PATCH_AGREEMENT.of(stage))) is not None:
            parts.append(
                f"{stage}: estimated and real patches at {agreement.n_sites} sites correlate, mean "
                f"of one correlation per pair, interval over pairs: {pairs_text(agreement.overall)}"
            )
    return parts


def _share(score: float, a: Attribution) -> str:
    return f"{number(100 * score / a.total, 1)}%"
