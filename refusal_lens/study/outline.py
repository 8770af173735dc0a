"""What the work of a study is counted from before its model is loaded."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, final

from refusal_lens.model import LensModel
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.study.fitted import FitSizes
from refusal_lens.study.question import Study
from refusal_lens.study.sizes import S, StageSizes

_BYTES_PER_VALUE: Final = 4
_MOST_KEPT: Final = 1 << 30  # bytes


@final
@dataclass(frozen=True)
class Shape:
    """Blocks, width and post-instruction tokens of a chat model.

    >>> Shape(n_layers=24, d_model=896, n_post=2).offsets
    (-2, -1)
    """

    n_layers: int
    d_model: int
    n_post: int

    @classmethod
    def of(cls, model: LensModel) -> "Shape":
        """That of a loaded model."""
        return cls(model.n_layers, model.d_model, model.chat.n_post)

    @property
    def offsets(self) -> tuple[int, ...]:
        """Read-out offsets of the post-instruction tokens: (-n_post, ..., -1)."""
        return tuple(range(-self.n_post, 0))


@dataclass(eq=False)
class Outline:
    """A study with the shape of its model: enough to count what its stages have to do."""

    study: Study
    prompts: PromptSet
    shape: Shape
    _uses: tuple[type[StageSizes], ...] | None = field(default=None, init=False)

    def size(self, kind: type[S]) -> S:
        """The sizes of one kind, as the question has them.

        Raises:
            ValueError: the stage that runs does not say that it `uses` them, so that it would not
                be made again when they change.
        """
        if self._uses is not None and kind not in self._uses:
            raise ValueError(f"add {kind.__name__} to what the stage `uses`: its digest needs it")
        return self.study.sizes.of(kind)

    @contextmanager
    def using(self, kinds: tuple[type[StageSizes], ...]) -> Generator[None]:
        """While a stage runs: no other sizes than these may be read."""
        before, self._uses = self._uses, kinds
        try:
            yield
        finally:
            self._uses = before

    def split(self, name: str, pairs: int) -> PromptSet:
        """The first pairs of each category in a split."""
        return self.prompts.only(split=name).first(pairs)

    @property
    def train(self) -> PromptSet:
        """The pairs that directions are fitted on."""
        self.size(FitSizes)
        return self._train

    @cached_property
    def _train(self) -> PromptSet:
        return self.split("train", self.size(FitSizes).fit_pairs)

    @property
    def post_bytes(self) -> int:
        """Bytes of the fitting prompts' residuals at every block's input and template offset."""
        values = len(self.train) * self.shape.n_post * self.shape.n_layers * self.shape.d_model
        return _BYTES_PER_VALUE * values

    @property
    def keeps_post(self) -> bool:
        """Whether those residuals are few enough to be kept from stage to stage."""
        return self.post_bytes <= _MOST_KEPT

    def spread(self, prompts: PromptSet, label: Label, n: int) -> PromptSet:
        """`n` prompts of one side, taken in turn from each category."""
        rows = {
            c: [p for p in prompts if p.category == c and p.label == label]
            for c in prompts.categories
        }
        turns = [p for i in range(n) for group in rows.values() for p in group[i : i + 1]]
        return PromptSet(tuple(turns[:n]))
