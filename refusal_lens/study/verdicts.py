"""What the judge made of every set of read answers that a run holds."""

from collections.abc import Callable
from typing import Any

from refusal_lens.evaluation import Answers, Steered
from refusal_lens.judges import VerdictCounts
from refusal_lens.study.key import Key
from refusal_lens.study.order import all_verdicts


def verdict_counts(find: Callable[[Key[Any]], Any]) -> dict[str, VerdictCounts]:
    """Verdict counts by which answers they are about; `find` gives None for a missing record."""
    counts: dict[str, VerdictCounts] = {}
    for source in all_verdicts():
        record = find(source.key)
        if record is None:
            continue
        answers: Answers = record.answers if isinstance(record, Steered) else record
        if source.each:
            of_each = {name: answers.counts(name) for name in answers.conditions}
            counts |= {f"{source.answers}: {name}": n for name, n in of_each.items()}
        else:
            counts[f"{source.answers} ({answers.provenance.model})"] = answers.counts()
    return counts
