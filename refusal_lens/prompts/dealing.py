"""Prompts dealt out over splits: pairs whole, and what says the same in one split."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from refusal_lens.errors import InputError
from refusal_lens.prompts.prompt import Prompt
from refusal_lens.prompts.repeats import Unit, Wording, units_together, wording

Stratum = tuple[str, str]


def splits_dealt(
    prompts: Sequence[Prompt], shares: Mapping[str, float], seed: int
) -> dict[Unit, str]:
    """The split of each unit (a pair, or a prompt without one); categories and sides alike.

    Units that are joined, since they share a text, count as many; the largest are dealt first.

    >>> dealt = splits_dealt(prompts.prompts, {"train": 0.5, "test": 0.5}, 0)
    >>> sorted(set(dealt.values()))
    ['test', 'train']

    Raises:
        InputError: joining leaves nothing for a split that would have had something.
    """
    together, rng = units_together(prompts), random.Random(seed)
    size = Counter(together.values())
    apart: dict[Stratum, dict[Unit, None]] = {}
    for p in prompts:
        apart.setdefault((p.category, "pair" if p.pair else p.label), {}).setdefault(p.unit)
    dealt: dict[Unit, str] = {}
    for group in apart.values():
        units = [unit for unit in group if together[unit] == unit]
        rng.shuffle(units)
        dealt |= _dealt(units, size, shares)
    ones = Counter(together.keys())
    could = {name for group in apart.values() for name in _dealt([*group], ones, shares).values()}
    if lost := [name for name in shares if name in could - {*dealt.values()}]:
        raise _joined(prompts, together, lost[0])
    return {unit: dealt[first] for unit, first in together.items()}


def _dealt(
    units: Sequence[Unit], size: Mapping[Unit, int], shares: Mapping[str, float]
) -> dict[Unit, str]:
    """Joined units to the split that lacks most, the largest first; then the others, in order."""
    lacking = {name: share * sum(size[u] for u in units) for name, share in shares.items()}
    joined = sorted((u for u in units if size[u] > 1), key=lambda u: -size[u])
    dealt: dict[Unit, str] = {}
    for unit in joined:
        dealt[unit] = max(lacking, key=lacking.__getitem__)
        lacking[dealt[unit]] -= size[unit]
    single = [u for u in units if size[u] == 1]
    lacking = {name: max(0.0, count) for name, count in lacking.items()}
    scale = len(single) / sum(lacking.values()) if joined and single else 1.0
    start, end = 0, 0.0
    for name, count in lacking.items():
        end += count * scale
        dealt |= dict.fromkeys(single[start : round(end)], name)
        start = round(end)
    return dealt


def _joined(prompts: Sequence[Prompt], together: Mapping[Unit, Unit], split: str) -> InputError:
    users: dict[Wording, set[Unit]] = {}
    for p in prompts:
        users.setdefault(wording(p), set()).add(p.unit)
    (_, text), most = max(users.items(), key=lambda item: len(item[1]))
    return InputError(
        f"no prompts are left for the split {split!r}: {len(most)} of {len(together)} pairs or "
        f"unpaired prompts share the text {text[:60]!r}, and what says the same is dealt into one "
        "split; give each pair a twin of its own, or leave `pair` out"
    )
