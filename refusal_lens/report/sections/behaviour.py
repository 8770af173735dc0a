"""What the model did: its answers to the fitting prompts."""

from typing import Final

from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots import tables
from refusal_lens.plots.behaviour import cells_table
from refusal_lens.report.methods import n_of
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section


def _parts(run: Run) -> Parts:
    read = run.behaviour
    if read is None:
        return dict.fromkeys(("behaviour", "cells"), run.why("behaviour"))
    return {
        "behaviour": tables.behaviour_table(read, run.titles, run.kept),
        "cells": cells_table(read, run.titles, LEAST_PAIRS),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "What the model did",
            "train",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "Wilson",
            "the benign side",
        ),
    )


SECTION: Final = Section(
    id="behaviour",
    title="What the model did",
    group="model",
    place=20,
    parts=_parts,
    methods=_methods,
)
