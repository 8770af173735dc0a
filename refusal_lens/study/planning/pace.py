"""What one prompt's forward pass and one generated token cost in FLOPs and seconds."""

from dataclasses import dataclass
from typing import final

from refusal_lens.study.planning.basis import Basis


@final
@dataclass(frozen=True)
class PlannedCost:
    """FLOPs and seconds of one thing, its share of a full batch."""

    flops: float
    seconds: float


@final
@dataclass(frozen=True)
class Pace:
    """The cost of a forward pass over one prompt, and of one generated token."""

    prompt: PlannedCost
    token: PlannedCost


def pace_of(basis: Basis) -> Pace:
    """What a pass and a token cost where a full batch of prompts runs together.

    A pass reads a prompt behind what all prompts share, and takes logits at its last token.
    """
    size, length, hardware = basis.size, basis.length, basis.hardware
    prompt = size.flops(length.new, length.tokens), length.new, hardware.read
    token = size.flops(1.0, length.tokens), 1.0, hardware.decode
    costs = [PlannedCost(f, _seconds(basis, f, new, share)) for f, new, share in (prompt, token)]
    return Pace(costs[0], costs[1])


def _seconds(basis: Basis, flops: float, new: float, share: float) -> float:
    """A row's part of the longer of computing and of moving weights, keys and values, and of the
    fixed time that blocks take."""
    size, hardware, rows = basis.size, basis.hardware, basis.rows
    computing = rows * flops / (share * hardware.rate(basis.dtype))
    numbers = size.weights_read(rows * new) + rows * basis.length.tokens * size.cached
    moving = numbers * basis.bytes_each / (hardware.stream * hardware.bandwidth)
    return (max(computing, moving) + size.n_layers * hardware.block) / rows
