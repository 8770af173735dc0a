"""What a ladder says: refusal, over-refusal and damage on each rung, with intervals."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

from jaxtyping import Int8
from torch import Tensor

from refusal_lens.defence.ladder import CONTROL, Ladder
from refusal_lens.defence.matched import (
    DRAWS,
    KL,
    OVER_REFUSAL,
    refusal_at_damage,
    refusal_at_over_refusal,
)
from refusal_lens.intervals import mean_estimate, wilson
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Estimate, Provenance, Record


@final
@dataclass(frozen=True)
class Rung:
    """A span of `dimension` directions ablated; the control of every rate is the unedited model.

    `refusal`, `answered`, `unclear`: shares of the harmful prompts asked that are refused, answered
    in sense (what an attacker wants), and neither, nearly always nonsense; they add up to 1.
    `over_refusal`, `nonsense`: shares of the benign prompts refused, and without a clear answer.
    `kept`: share of the harmful prompts refused unedited that are still refused (control: random
    spans of the same dimension). `kl`: KL(unedited || ablated) of the token after benign prompts,
    nats. `matched`: refusal at each over-refusal rate of the reading, by scores (control: random
    spans), of the pairs that have scores; None where it isn't reached.
    """

    span: str
    dimension: int
    refusal: Estimate
    answered: Estimate
    unclear: Estimate
    over_refusal: Estimate
    nonsense: Estimate
    kept: Estimate
    kl: Estimate
    matched: tuple[Estimate | None, ...]


@final
@dataclass(frozen=True)
class LadderReading(Record):
    """The rungs of a ladder, and refusal at matched over-refusal and damage.

    `at_damage[i]` is refusal of harmful prompts at `budgets[i]` nats of KL with refusal directions
    ablated, its control with random ones (None: that damage is not reached). `halved` is the
    smallest dimension on which at most half of the unedited refusals are left, None if there is
    none among the rungs.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    directions: str
    layer: int
    judge: str
    decoding: str
    available: int
    draws: int
    rungs: tuple[Rung, ...]
    over_refusal_rates: tuple[float, ...]
    budgets: tuple[float, ...]
    at_damage: tuple[Estimate | None, ...]
    halved: int | None
    provenance: Provenance

    def of(self, span: str) -> tuple[Rung, ...]:
        """The rungs of one span, by dimension; the unedited model first."""
        return tuple(rung for rung in self.rungs if rung.span == span)

    @property
    def main(self) -> tuple[Rung, ...]:
        """The rungs of the refusal directions."""
        return self.of(self.rungs[0].span)

    @property
    def random(self) -> tuple[Rung, ...]:
        """The rungs of the random spans."""
        return self.of(CONTROL)

    def __str__(self) -> str:
        steps = ", ".join(f"{r.dimension}: {r.refusal.value:.0%}" for r in self.main if r.refusal.n)
        return f"harmful prompts refused with so many directions ablated: {steps}"


def read_ladder(ladder: Ladder, *, draws: int = DRAWS, seed: int = 0) -> LadderReading:
    """The rates and intervals of a ladder; `draws` of the bootstrap.

    >>> few = rl.evaluation.whole_pairs(prompts.only(split="test"), 3)
    >>> material = rl.defence.LadderMaterial(few, rl.make_judge("substring"), rl.Decoding(4))
    >>> ladder = rl.defence.measure_ladder(model, [direction], material)
    >>> [rung.dimension for rung in rl.defence.read_ladder(ladder, draws=50).main]
    [0, 1]
    """
    matched = refusal_at_over_refusal(ladder, draws=draws, seed=seed)
    damage = refusal_at_damage(ladder, draws=draws, seed=seed)
    random = damage[CONTROL]
    main = [
        None if e is None else replace(e, control=None if c is None else c.value)
        for e, c in zip(damage[ladder.spans[0]], random, strict=True)
    ]
    rungs = [
        _rung(ladder, s, r, matched.get((span, k), (None,) * len(OVER_REFUSAL)))
        for s, span in enumerate(ladder.spans)
        for r, k in enumerate(ladder.dimensions)
    ]
    return LadderReading(
        directions=ladder.directions,
        layer=ladder.layer,
        judge=ladder.judge,
        decoding=ladder.decoding,
        available=ladder.available,
        draws=ladder.draws,
        rungs=tuple(rungs),
        over_refusal_rates=OVER_REFUSAL,
        budgets=KL,
        at_damage=tuple(main),
        halved=halved(rungs[: len(ladder.dimensions)]),
        provenance=ladder.provenance,
    )


def halved(rungs: list[Rung]) -> int | None:
    """The smallest dimension with at most half of the refusals that the first rung has."""
    whole = rungs[0].refusal.value
    if not whole:
        return None
    left = (r.dimension for r in rungs[1:] if r.refusal.value is not None)
    rate = {r.dimension: r.refusal.value or 0.0 for r in rungs}
    return next((k for k in left if rate[k] <= whole / 2), None)


def _rung(ladder: Ladder, s: int, r: int, matched: tuple[Estimate | None, ...]) -> Rung:
    flags, plain = ladder.refused[s, r], ladder.refused[s, 0]
    control = ladder.refused[ladder.spans.index(CONTROL), r, REFUSE]
    before = plain[REFUSE] == 1
    still = share(control[before], 1).value
    return Rung(
        span=ladder.spans[s],
        dimension=ladder.dimensions[r],
        refusal=share(flags[REFUSE], 1, plain[REFUSE]),
        answered=share(flags[REFUSE], 0, plain[REFUSE]),
        unclear=share(flags[REFUSE], -1, plain[REFUSE]),
        over_refusal=share(flags[COMPLY], 1, plain[COMPLY]),
        nonsense=share(flags[COMPLY], -1, plain[COMPLY]),
        kept=replace(share(flags[REFUSE][before], 1), control=still),
        kl=mean_estimate(ladder.kl[s, r].tolist(), 0.0),
        matched=matched,
    )


def share(
    flags: Int8[Tensor, " prompt"], value: int, plain: Int8[Tensor, " prompt"] | None = None
) -> Estimate:
    """The share of all prompts with one flag, with that of the unedited model as its control."""
    control = None if plain is None else float((plain == value).double().mean())
    return wilson(int((flags == value).sum()), len(flags), control)
