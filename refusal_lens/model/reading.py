"""Reading any hook point at chosen positions of each row, in a forward pass."""

from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.model.backend import HookFunction, Hooks
from refusal_lens.sites import Site


class EnoughRead(Exception):
    """Ends a forward pass in which everything asked for has been read."""


@final
class HookReader:
    """Reads hook points at given positions of each row.

    `positions` count within the tokens of the pass. After the pass `values[name]` is
    [batch, offset, ...], float32 on the CPU; a hook point that the pass did not reach is not
    there. With `live` the values stay what the pass computed, at all positions, [batch, pos, ...]
    and in the graph, so that gradients reach them.

    >>> import torch
    >>> reader = HookReader(["blocks.0.hook_resid_pre"], torch.tensor([[-1]]))
    >>> ids = torch.tensor([model.chat.ids("Why?")])
    >>> with torch.no_grad(), model.backend.hooks(reader.hooks()):
    ...     step = model.backend.forward(ids, torch.ones_like(ids))
    >>> reader.values["blocks.0.hook_resid_pre"].shape == (1, 1, model.d_model)
    True
    """

    def __init__(
        self, names: Sequence[str], positions: Int64[Tensor, "batch offset"], *, live: bool = False
    ) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.positions = positions
        self.live = live
        self.values: dict[str, Tensor] = {}

    def hooks(self) -> Hooks:
        """One hook function per hook point."""
        return [(name, self._function(name)) for name in self.names]

    def hooks_until_read(self) -> Hooks:
        """The same, ending the pass by `EnoughRead` as soon as everything has been read."""
        left = set(self.names)

        def stop_behind(name: str) -> HookFunction:
            def function(x: Tensor, hook: Any) -> None:
                del x, hook
                left.discard(name)
                if not left:
                    raise EnoughRead

            return function

        return [*self.hooks(), *((name, stop_behind(name)) for name in self.names)]

    def at_positions(self, x: Tensor) -> Tensor:
        """The chosen positions of a [batch, pos, ...] tensor, float32 on the CPU."""
        rows = torch.arange(len(self.positions), device=x.device)[:, None]
        return x.detach()[rows, self.positions.to(x.device)].float().cpu()

    def residuals(
        self, sites: Sequence[Site], d_model: int
    ) -> Float[Tensor, "batch offset site d_model"]:
        """What was read at these sites, side by side; NaN at a site that was not reached."""
        missing = torch.full((*self.positions.shape, d_model), torch.nan)
        return torch.stack([self.values.get(s.hook_name, missing) for s in sites], dim=2)

    def _function(self, name: str) -> HookFunction:
        def function(x: Tensor, hook: Any) -> Tensor | None:
            del hook
            self.values[name] = x if self.live else self.at_positions(x)
            # The bridge shows some hook points (hook_z) as a reshaped copy beside the path that
            # the pass takes; only a tensor that is returned takes its place on that path.
            return x if self.live else None

        return function
