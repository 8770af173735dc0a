"""One way to call TransformerLens' two model classes: TransformerBridge and HookedTransformer."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy, deepcopy
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from refusal_lens.model.starting import Start, Starts, lengthen
from refusal_lens.model.writers import HookFunction, find_written, scale_of

Hooks = Sequence[tuple[str, HookFunction]]

# Caches whose tensors are replaced, never written into: a copy may share them.
_REPLACING: Final = {DynamicLayer, DynamicSlidingWindowLayer}


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

    def select_cache(self, cache: Any, rows: Sequence[int]) -> Any:
        """A cache that holds the given rows of another, independent of it."""
        ...

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The norm that stands before the unembedding."""
        ...

    def hook_count(self) -> int:
        """Number of functions on all hook points now."""
        ...

    def hook_names(self) -> frozenset[str]:
        """Names of all hook points, aliases included."""
        ...


@final
class BridgeBackend:
    """`TransformerBridge` (TransformerLens 3.9 and 4.x): Hugging Face's own forward, with hooks.

    >>> model.backend.name.split()[0]
    'TransformerBridge'
    """

    def __init__(self, bridge: Any) -> None:
        self.model = bridge
        config: Any = bridge.original_model.config.get_text_config()
        self.name = f"TransformerBridge {metadata.version('transformer_lens')}"
        self.n_layers = int(bridge.cfg.n_layers)
        self.d_model = int(bridge.cfg.d_model)
        self.n_ctx = _context(config, int(bridge.cfg.n_ctx))
        parameter = next(iter(bridge.original_model.parameters()))
        self.device = parameter.device
        self.dtype = parameter.dtype
        self.recurrent = _recurrent(bridge.original_model, config)
        self.window = 0 if self.recurrent else _window(config)
        self.scales = tuple(scale_of(block) for block in bridge.blocks)
        self._written = find_written(list(bridge.blocks), config, frozenset(bridge.hook_dict))
        self.joint = frozenset(name for name, written in self._written.items() if written.joint)
        self._starts = Starts(bridge, self._written)

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
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        kept = torch.tensor([k % ids.shape[1] for k in keep], device=ids.device)
        past = {} if cache is None else {"past_key_values": cache}
        with nullcontext() if start is None else self._starts.begin(start):
            logits, new_cache = self.model.forward(
                ids,
                return_type="logits_and_cache",
                attention_mask=mask,
                position_ids=positions,
                logits_to_keep=kept,
                use_cache=use_cache or cache is not None,
                **past,
            )
        if start is not None and use_cache:
            lengthen(new_cache, start.layer)
        return Step(logits, new_cache)

    def first_hooked(self) -> int:
        """See `Backend.first_hooked`."""
        return self._starts.first()

    @torch.inference_mode()
    def try_starts(self) -> None:
        """See `Backend.try_starts`."""
        self._starts.try_out(self.forward, torch.arange(1, 9, device=self.device)[None])

    def hooks(self, fwd_hooks: Hooks) -> AbstractContextManager[Any]:
        """See `Backend.hooks`."""
        return self._hooks(fwd_hooks)

    @contextmanager
    def _hooks(self, fwd_hooks: Hooks) -> Generator[None]:
        theirs = [(name, f) for name, f in fwd_hooks if name not in self._written]
        earlier = {name: list(written.functions) for name, written in self._written.items()}
        with self.model.hooks(fwd_hooks=theirs):
            try:
                for name, function in fwd_hooks:
                    if name in self._written:
                        self._written[name].functions.append(function)
                yield
            finally:
                for name, functions in earlier.items():
                    self._written[name].functions = functions

    def select_cache(self, cache: Any, rows: Sequence[int]) -> Any:
        """See `Backend.select_cache`."""
        layers = getattr(cache, "layers", [])
        if {*map(type, layers)} <= _REPLACING:
            chosen = copy(cache)
            chosen.layers = [copy(layer) for layer in layers]
        else:
            chosen = deepcopy(cache)
        chosen.batch_select_indices(torch.tensor(rows, device=self.device))
        return chosen

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """See `Backend.final_norm`."""
        return self.model.ln_final(resid)

    def hook_count(self) -> int:
        """See `Backend.hook_count`."""
        n_written = sum(len(written.functions) for written in self._written.values())
        return n_written + sum(len(point.fwd_hooks) for point in self.model.hook_dict.values())

    def hook_names(self) -> frozenset[str]:
        """See `Backend.hook_names`."""
        return frozenset(self.model.hook_dict) | frozenset(self._written)


@final
class HookedTransformerBackend:
    """`HookedTransformer` (TransformerLens 3.9), loaded without weight processing."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name = f"HookedTransformer {metadata.version('transformer_lens')}"
        self.n_layers = int(model.cfg.n_layers)
        self.d_model = int(model.cfg.d_model)
        self.n_ctx = int(model.cfg.n_ctx)
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
        return Step(self._unembed(kept), cache)

    def first_hooked(self) -> int:
        """See `Backend.first_hooked`."""
        return 0

    def try_starts(self) -> None:
        """See `Backend.try_starts`."""

    def hooks(self, fwd_hooks: Hooks) -> AbstractContextManager[Any]:
        """See `Backend.hooks`."""
        return self.model.hooks(fwd_hooks=list(fwd_hooks))

    def select_cache(self, cache: Any, rows: Sequence[int]) -> Any:
        """See `Backend.select_cache`."""
        chosen = torch.tensor(rows, device=self.device)
        copy = self._cache_class().init_cache(self.model.cfg, self.device, len(rows))
        for new, old in zip(copy.entries, cache.entries, strict=True):
            new.past_keys = old.past_keys[chosen]
            new.past_values = old.past_values[chosen]
        copy.previous_attention_mask = cache.previous_attention_mask[chosen]
        return copy

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """See `Backend.final_norm`."""
        return self.model.ln_final(resid)

    def hook_count(self) -> int:
        """See `Backend.hook_count`."""
        return sum(len(point.fwd_hooks) for point in self.model.hook_dict.values())

    def hook_names(self) -> frozenset[str]:
        """See `Backend.hook_names`."""
        return frozenset(self.model.hook_dict)

    def _unembed(self, resid: Tensor) -> Tensor:
        logits = self.model.unembed(self.model.ln_final(resid))
        cap = getattr(self.model.cfg, "output_logits_soft_cap", 0.0)
        return cap * torch.tanh(logits / cap) if cap and cap > 0 else logits

    @staticmethod
    def _cache_class() -> Any:
        from transformer_lens.cache.key_value_cache import TransformerLensKeyValueCache

        return TransformerLensKeyValueCache


def hugging_face_of(backend: Backend) -> PreTrainedModel | None:
    """The Hugging Face model under a bridge; None for a HookedTransformer.

    >>> type(hugging_face_of(model.backend)).__name__
    'LlamaForCausalLM'
    """
    return backend.model.original_model if isinstance(backend, BridgeBackend) else None


def _context(config: Any, default: int) -> int:
    """How many tokens may be read so that no row's numbers depend on its companions' length.

    Long rope ("longrope", Phi-3) takes other frequencies for a whole batch once one row, or a
    prompt with its answer, passes the length of pretraining: the context ends there.
    """
    most = int(getattr(config, "max_position_embeddings", None) or default)
    ropes = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for rope in (ropes, *(v for v in ropes.values() if isinstance(v, dict))):
        if (rope.get("rope_type") or rope.get("type")) in {"longrope", "su"}:
            first = rope.get("original_max_position_embeddings")
            first = first or getattr(config, "original_max_position_embeddings", None)
            most = min(most, int(first or most))
    return most


def _recurrent(model: PreTrainedModel, config: Any) -> bool:
    """Whether a convolution, a state space or linear attention mixes tokens in some block."""
    kinds = set(getattr(config, "layer_types", None) or ())
    attention = {"full_attention", "sliding_attention", "chunked_attention"}
    return bool(getattr(model, "_is_stateful", False)) or not kinds <= attention


def _window(config: Any) -> int | None:
    """From how many tokens on a gap of padding within a row would count; None where it never does.

    Sliding windows and attention in chunks count places, the gap's among them; linear biases
    (ALiBi) are distances between places, at any length.
    """
    if getattr(config, "alibi", False) or config.model_type == "bloom":
        return 0
    attention: Any = getattr(config, "attn_config", None)
    if getattr(attention, "alibi", False):
        return 0
    window = getattr(config, "sliding_window", None)
    used = getattr(config, "use_sliding_window", True)
    chunk = getattr(config, "attention_chunk_size", None)
    sizes = [int(size) for size in (window if used else None, chunk) if size]
    return min(sizes, default=None)
