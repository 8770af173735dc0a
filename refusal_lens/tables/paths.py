"""From which part of a prompt heads carry what they write."""

from collections.abc import Mapping, Sequence
from typing import Final

from refusal_lens.attribution import HeadPath, SourceRegions
from refusal_lens.plots.text import (
    estimate_text,
    number,
    value_interval,
    visible,
)
from refusal_lens.tables.table import Cell, Table

_LISTED: Final = 3


_REST: Final = "template before"


def regions_table(regions: Sequence[SourceRegions], *, titles: Mapping[str, str]) -> Table:
    """From which part of the prompt each head carries what it writes, beside the benign twins."""
    rows = tuple(
        (
            Cell(f"{visible(titles.get(s.category, s.category))}: {head.name}"),
            *(Cell(estimate_text(s.estimate(head, region))) for region in s.regions),
        )
        for s in regions
        for head in s.heads[:_LISTED]
    )
    return Table(
        "What the strongest heads write along the direction at its token, by the part of the "
        "prompt that they carry it from: mean over refuse-side prompts with its 95% interval; "
        f"control: their benign twins. “{_REST}” holds a system prompt, too.",
        ("head", *regions[0].regions),
        rows,
    )


def seen_in(paths: Sequence[HeadPath], regions: SourceRegions | None) -> str:
    """One or two sentences: what the strongest head changes, by which way, from which words."""
    first = paths[0]
    routes = first.routes()
    text = (
        f"{first.head.name} moves the projection by {value_interval(routes['total'])} "
        f"(placebo {number(routes['total'].control)}, n = {routes['total'].n} pairs), of which "
        f"{value_interval(routes['direct'])} directly, "
        f"{value_interval(routes['through later heads'])} through later heads and "
        f"{value_interval(routes['through later MLPs'])} through MLPs."
    )
    if regions is None or first.head not in regions.heads:
        return text
    request = regions.estimate(first.head, "request")
    return (
        f"{text} From the request's own words it carries {value_interval(request)} on "
        f"refuse-side prompts and {number(request.control)} on their twins (n = {request.n})."
    )
