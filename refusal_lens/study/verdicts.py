"""What the judge made of every set of read answers that a run holds."""

from collections.abc import Callable
from typing import Any

from refusal_lens.evaluation import SideBySide
from refusal_lens.judges import VerdictCounts
from refusal_lens.study.key import Key
from refusal_lens.study.order import all_verdicts


def verdict_counts(find: Callable[[Key[Any]], Any]) -> dict[str, VerdictCounts]:
    """Verdict counts by which answers they are about; `find` gives None for a missing record."""
    counts: dict[str, VerdictCounts] = {}
    for source in all_verdicts():
        record = find(source.key)
        if isinstance(record, SideBySide):
            counts |= {f"{source.answers}: {e.condition}": e.counts() for e in record.conditions}
        elif record is not None:
            counts[f"{source.answers} ({record.provenance.model})"] = record.counts()
    return counts
