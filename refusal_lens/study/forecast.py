"""How long a plan will still take, corrected by what its stages really took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

_PRIOR: Final = 20.0  # seconds of estimate that the first guess weighs as much as


@final
@dataclass(frozen=True)
class Forecast:
    """Estimated seconds of each stage of a plan, by name, and what some of them took.

    Every estimate counts passes and multiplies them by one timed pass, so that a busy machine, or a
    count that is wrong everywhere, shows as one factor between the two.
    """

    estimates: Mapping[str, float]
    took: Mapping[str, float]

    @property
    def factor(self) -> float:
        """Seconds taken over seconds estimated, 1 where nothing is known.

        The first guess weighs like twenty seconds, so that a short stage does not decide.
        """
        known = [name for name in self.took if name in self.estimates]
        estimated = sum(self.estimates[name] for name in known)
        taken = sum(self.took[name] for name in known)
        return (taken + _PRIOR) / (estimated + _PRIOR)

    def left(self, open_stages: Sequence[str]) -> float:
        """Seconds that the stages named should still take; what is finished costs nothing."""
        return self.factor * sum(
            self.estimates[name] for name in open_stages if name not in self.took
        )

    def with_stage(self, name: str, seconds: float) -> "Forecast":
        """The forecast after a stage has taken so many seconds."""
        return Forecast(self.estimates, {**self.took, name: seconds})
