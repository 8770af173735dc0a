"""The report: the records of a run in, one self-contained HTML file out.

The page holds plotly.js and every number once, works offline and asks for nothing from outside.
Text is escaped by the templates, text inside figures by `refusal_lens.plots.text`; a content
security policy lets nothing run but the two scripts written here. A record that is missing leaves
a note that says why. Sections are found in `report/sections`; the page goes through them.
"""

import base64
import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from refusal_lens.files import write_atomic
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.text import shown, visible
from refusal_lens.processes import this_process
from refusal_lens.report.front import Panel
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import GROUPS, Section, every_section
from refusal_lens.report.summary import facts
from refusal_lens.study.results import Results
from refusal_lens.tables.table import Table

_HERE: Final = Path(__file__).parent
_MACROS: Final = '{% from "show.html" import show, fold with context %}\n'
_BY_MEAN_DIFFERENCE: Final = '{% include "by_mean_difference.html" %}\n'


@final
@dataclass(frozen=True)
class WrittenSection:
    """A section as it is written: its id, its heading, and what stands under it."""

    id: str
    title: str
    html: str


@final
@dataclass(frozen=True)
class Group:
    """A fold of the page with its sections."""

    id: str
    title: str
    sections: tuple[WrittenSection, ...]


def write_report(results: Results, path: Path | None = None) -> Path:
    """Write the report of a run, by default as `report.html` in its folder, and return its path.

    Needs no model. Records that are missing leave a note in their place.

    >>> rl.write_report(results).name
    'report.html'
    """
    path = path or results.folder / "report.html"
    if this_process().is_main:
        write_atomic(path, _page(Run(results)).encode())
    return path


def panels(run: Run) -> tuple[Panel, ...]:
    """What the page opens with: the questions that sections answer in front, in their order."""
    asked = [(s.front, s.id) for _, s in every_section() if s.front is not None]
    return tuple(
        Panel(front.name, front.question, *front.answer(run), more)
        for front, more in sorted(asked, key=lambda a: a[0].place)
    )


def _page(run: Run) -> str:
    environment = templates()
    return environment.get_template("page.html").render(
        model=run.model,
        planted=run.planted,
        selection=run.selection,
        explorer=f"refusal-lens explore {shlex.quote(run.results.folder.name)}",
        front=panels(run),
        groups=_groups(run, environment),
        plotly=get_plotlyjs().replace("\r\n", "\n"),
    )


def _groups(run: Run, environment: Environment) -> list[Group]:
    asked = [(name, s) for name, s in every_section() if s.shown(run)]
    seen: set[str] = set()
    written = {s.id: _write(run, environment, name, s, seen) for name, s in asked}
    return [
        Group(group, title, tuple(written[s.id] for _, s in asked if s.group == group))
        for group, title in GROUPS.items()
        if any(s.group == group for _, s in asked)
    ]


def _write(
    run: Run, environment: Environment, name: str, section: Section, seen: set[str]
) -> WrittenSection:
    """A section from its template; `seen` are the names of parts so far.

    Raises:
        ValueError: it names a part as another section does, so that ids of the page would clash.
    """
    parts = section.parts(run)
    if twice := seen & parts.keys():
        raise ValueError(f"section {section.id!r} names parts of another one: {sorted(twice)}")
    seen |= parts.keys()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, f"{name}.html")
    note = _BY_MEAN_DIFFERENCE if section.by_mean_difference else ""
    template = environment.from_string(_MACROS + note + source)
    html = template.render(parts=parts, run=run, facts=facts(run), least_pairs=LEAST_PAIRS)
    return WrittenSection(section.id, section.title, html)


def templates() -> Environment:
    """The templates with what they may use: escaping filters, tests for figures and tables."""
    folders = (_HERE / "sections", _HERE / "templates")
    environment = Environment(
        loader=ChoiceLoader([FileSystemLoader(folder) for folder in folders]),
        autoescape=True,
        finalize=shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["digest"] = _script_digest
    environment.filters["gap"] = _gap_attribute
    environment.tests["figure"] = _is_figure
    environment.tests["table"] = _is_table
    return environment


def _is_figure(value: Any) -> bool:
    return isinstance(value, Figure)


def _is_table(value: Any) -> bool:
    return isinstance(value, Table)


def _gap_attribute(value: Any) -> dict[str, str]:
    """What an element says in code of why its text stands in place of something."""
    return {"data-gap": value.key} if isinstance(value, Missing) else {}


def _script_digest(script: str) -> str:
    """What a content security policy names a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
