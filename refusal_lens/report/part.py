"""What stands in the report under a name: a figure, a table, or a note in place of it."""

import base64
import zlib
from dataclasses import dataclass
from typing import final

import plotly.graph_objects as go

from refusal_lens.tables.table import Table


@final
@dataclass(frozen=True)
class Figure:
    """A figure with the words that stand for it where it can't be seen."""

    figure: go.Figure
    label: str

    @property
    def packed(self) -> str:
        """The figure's JSON, deflated, as base64: a tenth of its size, and no text of others."""
        return base64.b64encode(zlib.compress((self.figure.to_json() or "").encode(), 9)).decode()

    @property
    def interactive(self) -> bool:
        """Whether it has a slider."""
        return bool(self.figure["layout"]["sliders"])


SectionPart = Figure | Table | str  # text is a note in place of what is missing
