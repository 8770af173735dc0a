"""The report: the records of a run in, one self-contained HTML file out.

The page holds plotly.js and every number once, works offline and asks for nothing from outside.
Text is escaped by the template, text inside figures by `refusal_lens.plots.text`; a content
security policy lets nothing run but the two scripts written here. A record that is missing leaves
a note that says why.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.tables import Table
from refusal_lens.plots.text import visible
from refusal_lens.records import write_atomic
from refusal_lens.report.contents import parts
from refusal_lens.report.front import panels
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.summary import facts
from refusal_lens.study.results import Results

_TEMPLATE: Final = "page.html"


def write_report(results: Results, path: Path | None = None) -> Path:
    """Write the report of a run, by default as `report.html` in its folder, and return its path.

    Needs no model. Records that are missing leave a note in their place.

    >>> rl.write_report(results).name
    'report.html'
    """
    path = path or results.folder / "report.html"
    write_atomic(path, _page(Run(results)).encode())
    return path


def _page(run: Run) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    environment.filters["digest"] = _script_digest
    environment.tests["figure"] = _is_figure
    environment.tests["table"] = _is_table
    return environment.get_template(_TEMPLATE).render(
        manifest=run.results.manifest,
        planted=run.planted,
        names=run.names,
        layer=run.layer,
        selection=run.selection,
        front=panels(run),
        facts=facts(run),
        parts=parts(run),
        plotly=get_plotlyjs().replace("\r\n", "\n"),
        least_pairs=LEAST_PAIRS,
        shown_on_map="" if run.structure is None else f"{100 * run.structure.place_shown:.0f}%",
    )


def _is_figure(value: Any) -> bool:
    return isinstance(value, Figure)


def _is_table(value: Any) -> bool:
    return isinstance(value, Table)


def _script_digest(script: str) -> str:
    """What a content security policy names a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
