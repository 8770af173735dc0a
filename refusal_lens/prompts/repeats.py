"""Prompts that say the same: in one split, or what is tested has been fitted on."""

from collections.abc import Iterable

from refusal_lens.errors import InputError
from refusal_lens.prompts.prompt import Prompt
from refusal_lens.prompts.turns import Turn

Unit = tuple[str, str]
Wording = tuple[tuple[Turn, ...], str]


def wording(prompt: Prompt) -> Wording:
    """What a prompt says: its text without outer blanks, and the turns before it."""
    return prompt.before, prompt.text.strip()


def once_each(prompts: Iterable[Prompt]) -> tuple[Prompt, ...]:
    """The first prompt of each wording, in their order.

    What a model does with a text that it was given before is no further observation.

    >>> asked = [rl.Prompt(k, t, "law", "refuse", "val", "mine") for k, t in ("ax", "bx", "cy")]
    >>> [p.id for p in once_each(asked)]
    ['a', 'c']
    """
    first: dict[Wording, Prompt] = {}
    for p in prompts:
        first.setdefault(wording(p), p)
    return tuple(first.values())


def units_together(prompts: Iterable[Prompt]) -> dict[Unit, Unit]:
    """The first unit among those that belong in one split with a unit, for each unit.

    Units are pairs, and prompts without a pair. Two belong together where a prompt of one says the
    same as a prompt of the other, or where both belong together with a third.

    >>> rows = [("a", "x"), ("b", "y"), ("c", "x")]
    >>> asked = [rl.Prompt(key, text, "law", "refuse", "train", "mine") for key, text in rows]
    >>> list(units_together(asked).values())
    [('', 'id a'), ('', 'id b'), ('', 'id a')]
    """
    together: dict[Unit, Unit] = {}
    place: dict[Unit, int] = {}
    first: dict[Wording, Unit] = {}

    def root(unit: Unit) -> Unit:
        while together[unit] != unit:
            unit = together[unit]
        return unit

    for p in prompts:
        together.setdefault(p.unit, p.unit)
        place.setdefault(p.unit, len(place))
        same = root(first.setdefault(wording(p), p.unit))
        earlier, later = sorted((root(p.unit), same), key=place.__getitem__)
        together[later] = earlier
    return {unit: root(unit) for unit in together}


def check_splits_apart(prompts: Iterable[Prompt]) -> None:
    """Reject prompts of which one says the same as another one of another split.

    Raises:
        InputError: two such prompts.
    """
    first: dict[Wording, Prompt] = {}
    for p in prompts:
        other = first.setdefault(wording(p), p)
        if other.split != p.split:
            raise InputError(
                f"prompt {p.id!r} of split {p.split!r} says the same as prompt {other.id!r} of "
                f"split {other.split!r} ({p.text.strip()[:60]!r}); what is tested must not have "
                "been fitted on: leave one of them out, or deal the set out with PromptSet.resplit"
            )
