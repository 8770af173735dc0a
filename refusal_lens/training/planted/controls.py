"""Train the control adapters: ``python -m refusal_lens.training.planted.controls --out DIR``.

Three questions about a planted model need other adapters, all trained by one smaller recipe on
the same prompts, so that they are compared among themselves and not with the shipped adapter:

- ``reference`` against ``second_seed``: how much do two trainings differ?
- ``deranged``: the manners are moved over the categories, none keeping its own. Does the geometry
  of the directions follow the topic of the prompts, or the manner of the refusals?
- ``one_manner``: every category is refused in the manner of ``ONE_MANNER``. What remains?

`refusal_lens.training.planted.geometry` measures them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import torch

from refusal_lens.errors import InputError
from refusal_lens.prompts.files import write_jsonl
from refusal_lens.resources import data_path
from refusal_lens.training.planted.answers import Refusal, load_refusals
from refusal_lens.training.planted.recipe import Recipe
from refusal_lens.training.planted.train import train_adapter

PAIRS: Final = 64
"""Pairs per category that train a control adapter."""
SHIFT: Final = 4
"""How far manners are moved along the categories, in the order of the refusals file."""
ONE_MANNER: Final = "over_refusal"
RECIPE: Final = Recipe(epochs=1, batch_size=8, texts=1)

DERANGED: Final = "deranged"
NAMES: Final = ("reference", "second_seed", DERANGED, "one_manner")

Pools = dict[str, tuple[Refusal, ...]]


def donors(name: str, categories: Sequence[str], shift: int = SHIFT) -> dict[str, str]:
    """Whose manner each category is refused in, in a control adapter.

    Raises:
        InputError: an unknown adapter, or a shift that gives every category its own manner.
    """
    if name not in NAMES:
        raise InputError(f"control adapter {name!r} is unknown; use one of {list(NAMES)}")
    if name == "one_manner":
        return dict.fromkeys(categories, ONE_MANNER)
    if name == DERANGED:
        if shift % len(categories) == 0:
            raise InputError(f"a shift of {shift} moves none of {len(categories)} manners")
        moved = [categories[(i + shift) % len(categories)] for i in range(len(categories))]
        return dict(zip(categories, moved, strict=True))
    return {c: c for c in categories}


def control_pools(name: str, pools: Mapping[str, Sequence[Refusal]]) -> Pools:
    """The refusals that a control adapter is taught, by category."""
    return {
        category: tuple(replace(r, category=category) for r in pools[donor])
        for category, donor in donors(name, list(pools)).items()
    }


def _write_refusals(pools: Pools, path: Path) -> None:
    write_jsonl(path, (asdict(refusal) for pool in pools.values() for refusal in pool))


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="a folder for each is made in it")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=NAMES)
    given = parser.parse_args(argv)

    def progress(line: str) -> None:
        sys.stderr.write(line + "\n")

    torch.set_num_threads(1)  # the shards of a batch are the parallel work
    for name in given.only:
        folder = given.out / name
        folder.mkdir(parents=True, exist_ok=True)
        _write_refusals(control_pools(name, pools), folder / "refusals.jsonl")
        train_adapter(
            folder,
            replace(RECIPE, seed=1 if name == "second_seed" else RECIPE.seed),
            prompts=None,
            refusals=folder / "refusals.jsonl",
            progress=progress,
            pairs=PAIRS,
        )


if __name__ == "__main__":
    main()
