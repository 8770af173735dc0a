"""Attribution on the screen: the parts of one projection, and what top heads read."""

from rich.markup import escape
from rich.table import Table

from refusal_lens.attribution import Attribution, Decomposition, PatchAgreement
from refusal_lens.plots.attribution.patches import told_pairs
from refusal_lens.plots.text import interval, number, visible
from refusal_lens.study.follow_up import Explained
from refusal_lens.study.results import Results

_ROWS = 20
_HEADS = 6
_TOKENS = 4


def parts_table(found: Attribution, most: int = _ROWS) -> Table:
    """The largest contributions to a projection, the sum of the rest, residual and total."""
    title = (
        f"{found.of}: projection on the direction of {found.target.category} at "
        f"{found.target.site}, offset {found.target.offset} (residual-stream units)"
    )
    table = Table("part", "score", "of the total", title=escape(visible(title)))
    order: list[int] = found.scores.abs().argsort(descending=True).tolist()
    for i in order[:most]:
        score = float(found.scores[i])
        ends = interval(score, float(found.low[i]), float(found.high[i]))
        table.add_row(found.components[i].name, ends, f"{number(100 * score / found.total, 1)}%")
    rest = float(found.scores[order[most:]].sum())
    table.add_row(
        f"{len(order[most:])} others", number(rest), f"{number(100 * rest / found.total, 1)}%"
    )
    table.add_row("residual (rounding)", f"{found.residual:.1e}", "")
    table.add_row("total", number(found.total), f"n = {found.n}")
    return table


def sources_table(told: Explained) -> Table:
    """The tokens from which the strongest heads carry what they write."""
    sources = told.sources
    table = Table("head", "writes", "of it from", title="what the strongest heads read")
    order: list[int] = sources.scores.sum(1).abs().argsort(descending=True).tolist()
    for i in order[:_HEADS]:
        row = sources.scores[i]
        top: list[int] = row.abs().argsort(descending=True)[:_TOKENS].tolist()
        words = [
            f"“{visible(sources.tokens[p])}” ({sources.positions[p]}) {number(float(row[p]))}"
            for p in top
        ]
        head = sources.heads[i].name
        table.add_row(head, number(float(row.sum())), escape(", ".join(words)))
    return table


def found_in(results: Results, category: str | None) -> list[Table | str]:
    """One category's strongest writers, and how far estimated patches can be trusted."""
    found: list[Table | str] = []
    if category is not None and results.has("attribution", "decomposition"):
        whole = results.get("attribution", "decomposition", Decomposition)
        if category in {t.category for t in whole.targets}:
            found.append(parts_table(whole.attribution(category)))
    for stage in ("patching", "patching_full"):
        if results.has(stage, "agreement"):
            agreement = results.get(stage, "agreement", PatchAgreement)
            found.append(
                f"{stage}: estimated and real patches at {agreement.n_sites} sites correlate, mean "
                f"of one correlation a pair, interval over pairs: {told_pairs(agreement.overall)}"
            )
    return found
