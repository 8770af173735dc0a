"""What may read answers that are not in English, and the halves on which a score is tried."""

from refusal_lens.errors import InputError
from refusal_lens.judges import JUDGES, Judge, reads_any_language
from refusal_lens.prompts import PromptSet


def check_any_language(judge: Judge) -> None:
    """Reject a judge that reads English words: elsewhere it would call refusals answers.

    >>> check_any_language(rl.make_judge("opening"))
    >>> check_any_language(rl.make_judge("refusal"))
    Traceback (most recent call last):
    refusal_lens.errors.InputError: the judge '...' reads English words and means nothing off ...

    Raises:
        InputError: it is one of those.
    """
    if not reads_any_language(judge):
        others = sorted(name for name, choice in JUDGES.items() if choice.any_language)
        raise InputError(
            f"the judge {judge.name!r} reads English words and means nothing off English; "
            f"use one of {others}"
        )


def halves(prompts: PromptSet) -> tuple[PromptSet, PromptSet]:
    """The pairs of odd and of even place, the same ones in every language.

    >>> whole = rl.languages.by_language(rl.load_languages(languages=("en", "hi"), n_pairs=5))
    >>> [len(half) for half in rl.languages.halves(whole)]
    [12, 8]
    """
    names = list(dict.fromkeys(p.pair for p in prompts))
    parts = (set(names[::2]), set(names[1::2]))
    first, second = (PromptSet(tuple(p for p in prompts if p.pair in part)) for part in parts)
    return first, second
