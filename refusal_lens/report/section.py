"""What a section of the report is: a file of `report/sections` with its template beside it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Final, Literal, cast, final

from refusal_lens.discovery import modules_of
from refusal_lens.report.front import Front
from refusal_lens.report.part import SectionPart
from refusal_lens.report.run import Run

SECTIONS: Final = "refusal_lens.report.sections"
GroupId = Literal["model", "directions", "edits", "parts", "method"]
GROUPS: Final[dict[GroupId, str]] = {
    "model": "The model and what it refuses",
    "directions": "Directions and their geometry",
    "edits": "What edits do",
    "parts": "Which components write it",
    "method": "Methods and provenance",
}
Parts = dict[str, SectionPart]
Method = tuple[str, str, str, str, str]
"""A row on how something was measured: figure, split, n, interval, control."""


@final
@dataclass(frozen=True)
class Finding:
    """A claim with what a run says about it: a row of `refusal-lens findings`, by `place`.

    `short` claims are those of the papers, which stay when only they are asked for.
    """

    place: int
    question: str
    cell: Callable[[Run], str]
    short: bool = False


def _no_methods(run: Run) -> tuple[Method, ...]:
    del run
    return ()


def _always(run: Run) -> bool:
    del run
    return True


@final
@dataclass(frozen=True)
class Section:
    """A heading of the page with what stands under it.

    The words are in the template of the file's name, `report/sections/<name>.html`, which shows
    what `parts` gives by name: figures, tables, or notes that say why one is missing. `methods`
    are its rows in the table of methods, `front` is its answer on top of the page, `findings` are
    its claims. It is left out of a run for which `shown` is false. Within a group sections are in
    the order of `place`. What is `by_mean_difference` is so whatever the study's estimator: where
    that is another, a note and the rows on methods say it.
    """

    id: str
    title: str
    group: GroupId
    place: int
    parts: Callable[[Run], Parts]
    methods: Callable[[Run], tuple[Method, ...]] = _no_methods
    shown: Callable[[Run], bool] = _always
    front: Front | None = None
    findings: tuple[Finding, ...] = ()
    by_mean_difference: bool = False


@cache
def every_section() -> tuple[tuple[str, Section], ...]:
    """All sections with the names of their files, group by group, in the order of the page.

    Raises:
        ValueError: two sections have one id.
    """
    sections = [(_name(m), cast(Section, m.SECTION)) for m in modules_of(SECTIONS)]
    ids = [section.id for _, section in sections]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(f"sections with one id: {twice}")
    order = list(GROUPS)
    return tuple(sorted(sections, key=lambda f: (order.index(f[1].group), f[1].place, f[0])))


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]
