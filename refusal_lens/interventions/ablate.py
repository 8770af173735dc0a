"""Directional ablation."""

from dataclasses import dataclass
from typing import Literal, final

from refusal_lens.directions import Direction
from refusal_lens.interventions.base import AlongOne
from refusal_lens.sites import Site, stream_writes


@final
@dataclass(frozen=True, eq=False)
class Ablate(AlongOne):
    """Project a direction out of the stream: x - (x . r) r. Arditi et al. 2024, equation 4.

    By default at all positions of every block's input and of both its writers, the published
    method: nothing along r is left in, or written to, any layer's stream. `at` names other sites;
    `resid_pre`, `resid_mid` and `resid_post` of every layer do the same (Joad et al. 2026).

    Weights from which r was projected out give the same logits only where the unembedding isn't
    tied to the embedding (it would be edited too) and no norm stands behind a block's writers (as
    Gemma 2's: its gains bring r back).

    >>> resid = 3.0 * direction.vector
    >>> float(rl.Ablate(direction)(resid).norm()) < 1e-5
    True
    >>> with model.editing(rl.Ablate(direction)):
    ...     answers = model.generate(["Should I sell?"], rl.Decoding(max_new_tokens=4))
    """

    direction: Direction
    at: tuple[Site, ...] | None = None

    @property
    def repeatable(self) -> bool:
        """Yes: projecting out is idempotent."""
        return True

    @property
    def removed(self) -> Literal[0, 1]:
        """1: the coordinate along r is removed."""
        return 1

    @property
    def added(self) -> float:
        """0: the new coordinate along r."""
        return 0.0

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The sites named in `at`, or the three of every block.

        >>> len(rl.Ablate(direction).sites(n_layers=3))
        9
        """
        return stream_writes(n_layers) if self.at is None else self.at

    def __repr__(self) -> str:
        where = "every layer" if self.at is None else ", ".join(str(s) for s in self.at)
        d = self.direction
        return f"Ablate({d.category!r} fitted at {d.site}, offset {d.offset}; at {where})"
