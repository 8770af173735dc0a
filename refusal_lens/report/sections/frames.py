"""Cosines without what all directions share, and whitened."""

from typing import Final

from refusal_lens.report.frame_figure import frame_figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.study.stages.geometry import REMOVED, WHITENED


def _parts(run: Run) -> Parts:
    few = (
        "whitening needs more prompts than the stream has dimensions "
        f"({run.results.manifest.get('d_model', 'd_model')}); give more pairs (--full)"
    )
    return {
        "removed": frame_figure(run, REMOVED, "this run has no such matrix"),
        "whitened": frame_figure(run, WHITENED, few),
    }


SECTION: Final = Section(
    id="frames",
    title="Cosines without the pooled direction, and whitened",
    group="directions",
    place=70,
    parts=_parts,
)
