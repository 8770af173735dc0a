"""TransformerLens 3.9's HookedTransformer, for those who still work with it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib import metadata
from typing import Any, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.model.backend import Hooks, Step
from refusal_lens.model.starting import Start
from refusal_lens.model.unembedding import read_out


@final
class HookedTransformerBackend:
    """`HookedTransformer` (TransformerLens 3.9), loaded without weight processing."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name = f"HookedTransformer {metadata.version('transformer_lens')}"
        self.n_layers = int(model.cfg.n_layers)
        self.d_model = int(model.cfg.d_model)
        self.n_ctx = int(model.cfg.n_ctx)
        self.n_vocab = int(model.cfg.d_vocab)
        parameter = next(iter(model.parameters()))
        self.device = parameter.device
        self.dtype = parameter.dtype
        self.window = int(model.cfg.window_size) if model.cfg.use_local_attn else None
        self.scales = (1.0,) * self.n_layers
        self.recurrent = False
        self.joint = frozenset()

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
        """See `Backend.forward`."""
        assert start is None, "no pass of a HookedTransformer begins at a block"
        if cache is None and use_cache:
            cache = self._cache_class().init_cache(self.model.cfg, self.device, len(ids))
        resid = self.model.forward(
            ids,
            return_type="logits",
            attention_mask=mask[:, -ids.shape[1] :],
            past_kv_cache=cache,
            stop_at_layer=self.n_layers,
        )
        # Only the kept positions need the unembedding, half the work of a short prompt.
        kept = resid[:, [k % ids.shape[1] for k in keep]]
        return Step(read_out(self.model, kept), cache)

    def first_hooked(self) -> int:
        """See `Backend.first_hooked`."""
        return 0

    def try_starts(self) -> None:
        """See `Backend.try_starts`."""

    def hooks(self, fwd_hooks: Hooks) -> AbstractContextManager[Any]:
        """See `Backend.hooks`."""
        return self.model.hooks(fwd_hooks=list(fwd_hooks))

    def select_cache(self, cache: Any, rows: Sequence[int], *, start: int = 0) -> Any:
        """See `Backend.select_cache`."""
        assert start == 0, "no padding stands before the rows of caches that are not joined"
        chosen = torch.tensor(rows, device=self.device)
        copy = self._cache_class().init_cache(self.model.cfg, self.device, len(rows))
        for new, old in zip(copy.entries, cache.entries, strict=True):
            new.past_keys = old.past_keys[chosen]
            new.past_values = old.past_values[chosen]
        copy.previous_attention_mask = cache.previous_attention_mask[chosen]
        return copy

    def joins(self, cache: Any) -> bool:
        """See `Backend.joins`."""
        del cache
        return False

    def join_caches(self, first: Any, second: Any) -> Any:
        """See `Backend.join_caches`."""
        raise NotImplementedError

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """See `Backend.final_norm`."""
        return self.model.ln_final(resid)

    def read_out(self, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
        """See `Backend.read_out`."""
        return read_out(self.model, resid[None])[0]

    def hook_count(self) -> int:
        """See `Backend.hook_count`."""
        return sum(len(point.fwd_hooks) for point in self.model.hook_dict.values())

    def hook_names(self) -> frozenset[str]:
        """See `Backend.hook_names`."""
        return frozenset(self.model.hook_dict)

    @staticmethod
    def _cache_class() -> Any:
        from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

        return TransformerLensKeyValueCache
