"""How the judges agree with published labels, source by source, as a table in Markdown.

``python -m refusal_lens.training.judge_sources`` prints it from the figures that
`refusal_lens.training.long_answers` wrote; `docs/judges.md` holds it.
"""

import json
import sys
from typing import Any, Final

from refusal_lens.intervals import kappa
from refusal_lens.resources import data_path

JUDGES: Final = ("refusal", "phrase", "substring", "xstest")


def sources_table(figures: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A row per source: n, kappa and its 95% interval by judge, and the refusal judge's errors.

    Args:
        figures: Source -> judge -> its figures.
    """
    head = ["source left out", "n", *JUDGES, "answers called refusals", "refusals missed"]
    head += ["unclear", "three ways"]
    rows: list[list[str]] = []
    for source, by_judge in figures.items():
        ours = by_judge["refusal"]
        kappas = [_kappa(by_judge[name]) for name in JUDGES]
        errors = [ours["answers_called_refusals"], ours["refusals_missed"], ours["unclear"]]
        three = ours["kappa_three_ways"]
        rows.append(
            [source, str(ours["n"]), *kappas, *("—" if e is None else f"{e:.1%}" for e in errors)]
            + ["—" if three is None else f"{three:.2f}"]
        )
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _kappa(figures: dict[str, Any]) -> str:
    """Cohen's kappa with its interval, by bootstrap of the answers that its rates stand for."""
    refusals, answers = figures["refusals"], figures["n"] - figures["refusals"]
    missed = round((figures["refusals_missed"] or 0) * refusals)
    called = round((figures["answers_called_refusals"] or 0) * answers)
    read = kappa(
        [("refused", "refused")] * (refusals - missed)
        + [("refused", "answered")] * missed
        + [("answered", "refused")] * called
        + [("answered", "answered")] * (answers - called)
    )
    return f"{figures['kappa']:.2f} [{read.low:.2f}, {read.high:.2f}]"


def shipped_figures() -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of the shipped model."""
    text = data_path("verdicts", "long_answers.sources.json").read_text(encoding="utf-8")
    return json.loads(text)


if __name__ == "__main__":
    sys.stdout.write(sources_table(shipped_figures()) + "\n")
