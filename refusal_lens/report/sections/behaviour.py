"""What the model did: its answers to the fitting prompts."""

from typing import Final

from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.text import percent
from refusal_lens.prompts import LABELS
from refusal_lens.report.methods import n_of
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.tables.behaviour import behaviour_table, cells_table


def _parts(run: Run) -> Parts:
    read = run.behaviour
    if read is None:
        return dict.fromkeys(("behaviour", "cells"), run.why("behaviour"))
    return {
        "behaviour": behaviour_table(read, run.titles, run.kept),
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


def _refuses(run: Run) -> str:
    if (read := run.behaviour) is None:
        return run.why("behaviour")
    harmful, benign = (percent(read.rate(label=label)) for label in LABELS)
    return f"harmful {harmful}, benign {benign}"


SECTION: Final = Section(
    id="behaviour",
    title="What the model did",
    group="model",
    place=20,
    parts=_parts,
    methods=_methods,
    findings=(Finding(20, "Refusal of the fitting prompts", _refuses, short=True),),
)
