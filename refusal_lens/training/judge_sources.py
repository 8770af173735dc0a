"""How the judges agree with published labels, source by source, as a table in Markdown.

``python -m refusal_lens.training.judge_sources`` prints it from the figures that
`refusal_lens.training.long_answers` wrote; `docs/judges.md` holds it.
"""

import json
import sys
from typing import Any, Final

from refusal_lens.resources import data_path

JUDGES: Final = ("refusal", "phrase", "substring", "xstest")


def sources_table(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A row a source: n, kappa of each judge, and the refusal judge's errors.

    Args:
        figures: Source -> judge -> its figures.
    """
    head = ["source left out", "n", *JUDGES, "answers called refusals", "refusals missed"]
    head += ["unclear", "three ways"]
    rows: list[list[str]] = []
    for source, by_judge in figures.items():
        ours = by_judge["refusal"]
        kappas = [f"{by_judge[name]['kappa']:.2f}" for name in JUDGES]
        errors = [ours["answers_called_refusals"], ours["refusals_missed"], ours["unclear"]]
        three = ours["kappa_three_ways"]
        rows.append(
            [source, str(ours["n"]), *kappas, *("—" if e is None else f"{e:.1%}" for e in errors)]
            + ["—" if three is None else f"{three:.2f}"]
        )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shipped_figures() -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of the shipped model."""
    text = data_path("verdicts", "long_answers.sources.json").read_text(encoding="utf-8")
    return json.loads(text)


if __name__ == "__main__":
    sys.stdout.write(sources_table(shipped_figures()) + "\n")
