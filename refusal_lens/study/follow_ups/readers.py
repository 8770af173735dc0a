"""Who has read a run's answers, and who reads them where a call names no judge."""

from pathlib import Path

from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers
from refusal_lens.judges import Judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.study.key import Key
from refusal_lens.study.results import Results


def reader_of(results: Results, key: Key[Answers]) -> str | None:
    """The name of the judge that has read these answers of a run.

    None where they are not there, empty where they are damaged or no judge has read them.
    """
    try:
        shown = results.find(key)
        return None if shown is None else shown.judge_name
    except InputError:
        return ""


def reader_by_default(judge: Judge, name: str, folder: Path | str, key: Key[Answers]) -> Judge:
    """The judge of that name, unless another one has read what the run holds.

    A call that only goes on names no judge; what another one has read, perhaps at a price, would
    be dropped by it.

    Raises:
        InputError: another one has.
    """
    reader = reader_of(Results.open(folder), key)
    if reader and reader != sense_checked(judge).name:
        raise InputError(
            f"{str(folder)!r} was read by {reader!r}; give --judge again, with its settings, to go "
            f"on, or --judge {name} to read it anew"
        )
    return judge
