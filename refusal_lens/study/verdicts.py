"""What the judges made of every set of read answers that a run holds."""

from collections.abc import Callable
from typing import Any, Final

from refusal_lens.evaluation import Evaluation, SideBySide, Steered
from refusal_lens.judges import VerdictCounts

_HELD: Final[tuple[tuple[str, str, str, type[Any]], ...]] = (
    ("fitting prompts", "behaviour", "train", Evaluation),
    ("held-out prompts", "score", "val", Evaluation),
    ("contrasts", "contrasts", "behaviour", Evaluation),
    ("effects, ablated", "effects", "ablated", SideBySide),
    ("effects, added", "effects", "added", SideBySide),
    ("trade-off, to check its scores", "trade_off", "read", Steered),
    ("manners, under each direction", "manners", "steered", Steered),
    ("manners, the control", "manners", "control_steered", Steered),
    ("before and after", "answers", "answers", SideBySide),
)


def held_verdicts(get: Callable[[str, str, type[Any]], Any]) -> dict[str, VerdictCounts]:
    """Verdict counts by which answers they are about; `get` gives a record, None where it lacks."""
    found: dict[str, VerdictCounts] = {}
    for where, stage, name, kind in _HELD:
        record = get(stage, name, kind)
        if isinstance(record, SideBySide):
            found |= {f"{where}: {e.condition}": e.counts() for e in record.conditions}
        elif record is not None:
            found[f"{where} ({record.provenance.model})"] = record.counts()
    return found
