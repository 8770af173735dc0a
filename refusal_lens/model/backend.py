"""One way to call TransformerLens' two model classes: TransformerBridge and HookedTransformer."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.model.starting import Start
from refusal_lens.model.writers import HookFunction

Hooks = Sequence[tuple[str, HookFunction]]


@final
@dataclass(frozen=True, eq=False)
class Step:
    """What one forward pass gives: logits at the kept positions, and the key-value cache.

    >>> import torch
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> with torch.no_grad():
    ...     step = model.backend.forward(ids, torch.ones_like(ids), keep=(-2, -1))
    >>> step.logits.shape
    torch.Size([1, 2, 300])
    """

    logits: Float[Tensor, "batch kept d_vocab"]
    cache: Any


@runtime_checkable
class Backend(Protocol):
    """A TransformerLens model: its sizes, its hooks, and a forward pass on token ids.

    `n_vocab` is the number of embeddings: token ids are below it.
    `scales` are the numbers by which each block multiplies the whole stream at its end: 1 but for
    Gemma 4. A `recurrent` model carries a state from token to token, which padding would enter.
    `joint` are hook points at which several modules' writes are shown as one.

    >>> isinstance(model.backend, Backend), model.backend.n_layers
    (True, 3)
    """

    name: str
    n_layers: int
    d_model: int
    n_ctx: int
    n_vocab: int
    device: torch.device
    dtype: torch.dtype
    window: int | None
    scales: tuple[float, ...]
    recurrent: bool
    joint: frozenset[str]

    def forward(
        self,
        ids: Int64[Tensor, "batch new"],
        mask: Int64[Tensor, "batch seen"],
        *,
        keep: Sequence[int] = (-1,),
        cache: Any = None,
        use_cache: bool = False,
        start: Start | None = None,
    ) -> Step:
        """Run `ids`, which follow what `cache` holds; `mask` spans both, 0 where padded.

        Positions count the real tokens before each one, so that padding, wherever it stands,
        changes nothing. Logits come back only at the positions `keep` of the new tokens. With
        `start` the blocks below it are not run; a cache that comes of it is only good for passes
        that begin there as well.
        """
        ...

    def first_hooked(self) -> int:
        """The lowest block with a function on one of its hook points: a pass may begin there.

        `n_layers` without any; 0 also where passes can't begin at a block, or that was not tried.
        """
        ...

    def try_starts(self) -> None:
        """See, once, whether passes that begin at a block give the same logits as whole ones."""
        ...

    def hooks(self, fwd_hooks: Hooks) -> AbstractContextManager[Any]:
        """Put functions onto hook points until the context ends, also by an exception."""
        ...

    def select_cache(self, cache: Any, rows: Sequence[int], *, start: int = 0) -> Any:
        """A cache that holds the given rows of another, independent of it.

        The first `start` places are left out; they must be padding in all of these rows.
        """
        ...

    def joins(self, cache: Any) -> bool:
        """Whether `join_caches` takes caches of this kind."""
        ...

    def join_caches(self, first: Any, second: Any) -> Any:
        """A cache of the rows of both; what the shorter one holds stands at its end."""
        ...

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The norm that stands before the unembedding."""
        ...

    def read_out(self, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
        """Logits of stream vectors, taken as what the last block leaves: norm and unembedding."""
        ...

    def hook_count(self) -> int:
        """Number of functions on all hook points now."""
        ...

    def hook_names(self) -> frozenset[str]:
        """Names of all hook points, aliases included."""
        ...
