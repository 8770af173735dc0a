"""What the judges made of every set of judged answers that a run holds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final

from refusal_lens.evaluation import Answers, Steered
from refusal_lens.judges import VerdictCounts


@final
@dataclass(frozen=True)
class _Held:
    """Where answers are held, and whether each condition is counted by itself."""

    where: str
    stage: str
    name: str
    each: bool = False
    steered: bool = False


_HELD: Final = (
    _Held("fitting prompts", "behaviour", "train"),
    _Held("held-out prompts", "score", "val"),
    _Held("contrasts", "contrasts", "behaviour"),
    _Held("effects, ablated", "effects", "ablated", each=True),
    _Held("effects, added", "effects", "added", each=True),
    _Held("trade-off, to check its scores", "trade_off", "read", steered=True),
    _Held("manners, under each direction", "manners", "steered", steered=True),
    _Held("manners, the control", "manners", "control_steered", steered=True),
    _Held("before and after", "answers", "answers", each=True),
)


def held_verdicts(get: Callable[[str, str, type[Any]], Any]) -> dict[str, VerdictCounts]:
    """Verdict counts by which answers they are about; `get` gives a record, None where it lacks."""
    counts: dict[str, VerdictCounts] = {}
    for held in _HELD:
        record = get(held.stage, held.name, Steered if held.steered else Answers)
        if record is None:
            continue
        answers: Answers = record.answers if held.steered else record
        if held.each:
            of_each = {name: answers.counts(name) for name in answers.conditions}
            counts |= {f"{held.where}: {name}": n for name, n in of_each.items()}
        else:
            counts[f"{held.where} ({answers.provenance.model})"] = answers.counts()
    return counts
