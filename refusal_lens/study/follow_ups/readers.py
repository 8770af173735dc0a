"""Who reads a run's answers where a call names no judge."""

from pathlib import Path

from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers
from refusal_lens.judges import Judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.study.key import Key
from refusal_lens.study.results import Results


def reader_by_default(judge: Judge, name: str, folder: Path | str, key: Key[Answers]) -> Judge:
    """The judge of that name, unless another one has read what the run holds.

    A call that only goes on names no judge; what another one has read, perhaps at a price, would
    be dropped by it.

    Raises:
        InputError: another one has.
    """
    results = Results.open(folder)
    try:
        shown = results.find(key)
        reader = None if shown is None else shown.judge_name
    except InputError:  # damaged, or not read: nothing is lost
        return judge
    if reader not in (None, sense_checked(judge).name):
        raise InputError(
            f"{str(folder)!r} was read by {reader!r}; give --judge again, with its settings, to go "
            f"on, or --judge {name} to read it anew"
        )
    return judge
