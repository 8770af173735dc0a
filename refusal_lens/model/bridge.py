"""TransformerLens' bridge: Hugging Face's own forward pass, with hooks."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy, deepcopy
from importlib import metadata
from typing import Any, Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from refusal_lens.model.backend import Backend, Hooks, Step
from refusal_lens.model.starting import Start, Starts, lengthen
from refusal_lens.model.unembedding import read_out
from refusal_lens.model.writers import find_written, scale_of

# Caches whose tensors are replaced, never written into: a copy may share them.
_REPLACING: Final = {DynamicLayer, DynamicSlidingWindowLayer}


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
        self.n_vocab = int(bridge.original_model.get_input_embeddings().weight.shape[0])
        parameter = next(iter(bridge.original_model.parameters()))
        self.device = parameter.device
        self.dtype = parameter.dtype
        self.recurrent = _recurrent(bridge.original_model, config)
        self.window = 0 if self.recurrent else _window(config)
        self.scales = tuple(scale_of(block) for block in bridge.blocks)
        self._written = find_written(list(bridge.blocks), config, frozenset(bridge.hook_dict))
        self.joint = frozenset(name for name, written in self._written.items() if written.joint)
        self._starts = Starts(bridge, self._written)
        self._points = tuple(bridge.hook_dict.values())  # which it would collect at every look

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

    def select_cache(self, cache: Any, rows: Sequence[int], *, start: int = 0) -> Any:
        """See `Backend.select_cache`."""
        if {*map(type, getattr(cache, "layers", []))} <= _REPLACING:
            chosen = _shallow(cache)
        else:
            chosen = deepcopy(cache)
        if start:
            for layer in chosen.layers:
                _set(layer, layer.keys[:, :, start:], layer.values[:, :, start:])
        chosen.batch_select_indices(torch.tensor(rows, device=self.device))
        return chosen

    def joins(self, cache: Any) -> bool:
        """See `Backend.joins`."""
        layers = getattr(cache, "layers", [])
        return bool(layers) and all(
            type(layer) in _REPLACING and layer.keys is not None for layer in layers
        )

    def join_caches(self, first: Any, second: Any) -> Any:
        """See `Backend.join_caches`."""
        joined = _shallow(first)
        for layer, other in zip(joined.layers, second.layers, strict=True):
            keys, values = (layer.keys, other.keys), (layer.values, other.values)
            _set(layer, _ending_together(*keys), _ending_together(*values))
        return joined

    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """See `Backend.final_norm`."""
        return self.model.ln_final(resid)

    def read_out(self, resid: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_vocab"]:
        """See `Backend.read_out`."""
        return read_out(self.model, resid[None])[0]

    def hook_count(self) -> int:
        """See `Backend.hook_count`."""
        n_written = sum(len(written.functions) for written in self._written.values())
        return n_written + sum(len(point.fwd_hooks) for point in self._points)

    def hook_names(self) -> frozenset[str]:
        """See `Backend.hook_names`."""
        return frozenset(self.model.hook_dict) | frozenset(self._written)


def hugging_face_of(backend: Backend) -> PreTrainedModel | None:
    """The Hugging Face model under a bridge; None for a HookedTransformer.

    >>> type(hugging_face_of(model.backend)).__name__
    'LlamaForCausalLM'
    """
    return backend.model.original_model if isinstance(backend, BridgeBackend) else None


def _shallow(cache: Any) -> Any:
    """A cache with layers of its own that hold the tensors of another."""
    same = copy(cache)
    same.layers = [copy(layer) for layer in cache.layers]
    return same


def _set(layer: Any, keys: Tensor, values: Tensor) -> None:
    """Let a layer of a cache hold these, as many as have been seen."""
    layer.keys, layer.values = keys, values
    if isinstance(layer, DynamicSlidingWindowLayer):
        layer.cumulative_length = keys.shape[-2]


def _ending_together(
    first: Float[Tensor, "a head seen d_head"], second: Float[Tensor, "b head others d_head"]
) -> Float[Tensor, "rows head longer d_head"]:
    """The rows of both, zeros before those of the shorter one."""
    width = max(first.shape[2], second.shape[2])
    return torch.cat([pad(x, (0, 0, width - x.shape[2], 0)) for x in (first, second)])


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
