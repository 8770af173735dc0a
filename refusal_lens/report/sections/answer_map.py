"""A prompt and its answer, token by layer."""

from typing import Final

from refusal_lens import plots
from refusal_lens.plots.text import visible
from refusal_lens.report.attributed import gap_of, numbered, series, was_attributed
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.study.stages.answer_map import MAP


def _parts(run: Run) -> Parts:
    """A figure for each prompt that was read, under its stage's name, with the prompt."""
    parts: Parts = {}
    for stage in numbered(run, "answer_map"):
        if maps := series(run, MAP.of(stage)):
            label = f"Tokens of one prompt and its answer by layer, along {len(maps)} directions"
            parts[stage] = Figure(plots.plot_answer_maps(maps, titles=run.titles), label)
            parts[f"asked_{stage}"] = visible(maps[0].prompt)
    return parts or {"answer_map_0": run.why(gap_of(run, "answer_map"))}


SECTION: Final = Section(
    id="answer-maps",
    title="A prompt and its answer, token by layer",
    group="parts",
    place=60,
    parts=_parts,
    shown=was_attributed,
)
