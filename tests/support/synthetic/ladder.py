"""Ladders with invented numbers."""

import torch

from refusal_lens.defence import BeforeAfter, Ladder, LadderReading, compare_ladders, read_ladder
from refusal_lens.defence.ladder import CONTROL
from support.paired_residuals import PROVENANCE

N = 24


def raw_ladder(
    refused: tuple[float, ...] = (0.75, 0.5, 0.25),
    kl: tuple[float, ...] = (0.0, 0.5, 2.0),
    *,
    directions: str = "deflation",
    name: str = "tiny",
) -> Ladder:
    """Of so many harmful prompts refused on each rung; random spans change nothing."""
    rungs = len(refused)
    flags = torch.zeros(2, rungs, 2, N, dtype=torch.int8)
    flags[:, :, 1, :3] = 1
    generator = torch.Generator().manual_seed(0)
    score = torch.randn(2, rungs, 2, N, generator=generator)
    damage = torch.zeros(2, rungs, N)
    for rung, share in enumerate(refused):
        flags[0, rung, 0, : round(share * N)] = 1
        flags[1, rung, 0, : round(refused[0] * N)] = 1
        score[0, rung, 0] += 6 * share
        score[1, rung, 0] += 6 * refused[0]
        damage[0, rung], damage[1, rung] = kl[rung], kl[rung] / 10
    flags[0, -1, :, -2:] = -1
    return Ladder(
        directions=directions,
        layer=3,
        offset=-1,
        judge="refusal",
        decoding="greedy",
        spans=("refusal directions", CONTROL),
        dimensions=tuple(range(rungs)),
        available=rungs - 1,
        draws=4,
        pairs=tuple(f"{'ab'[i % 2]}/{i}" for i in range(N)),
        refused=flags,
        score=score,
        kl=damage,
        provenance=PROVENANCE,
    )


def ladder() -> LadderReading:
    return read_ladder(raw_ladder(), draws=50)


def before_after() -> BeforeAfter:
    after = raw_ladder((0.75, 0.7, 0.6))
    return compare_ladders({"planted": raw_ladder(), "defended": after}, draws=50)
