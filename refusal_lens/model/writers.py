"""Hook points for what a block writes, where TransformerLens shows it under no name or in parts.

A block adds twice to the stream: `attn_out`, what its mixer of tokens writes, and `mlp_out`. In a
hybrid the mixer is softmax attention in some blocks and a convolution, a state space or linear
attention in others; in some families two modules write together (attention beside a state space,
experts beside a shared MLP), or Hugging Face's block scales their sum. A `Written` shows that sum
as it enters the stream. Whether it is what enters is not taken on trust: see `check_stream`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast, final

from torch import Tensor, nn

from refusal_lens.sites import ActivationName, Site

HookFunction = Callable[..., Tensor | None]

# Modules of Hugging Face's blocks, in the order in which they are called.
_MIXERS: Final = (
    "linear_attn",
    "mamba",
    "mixer",
    "conv",
    "temporal_block",
    "mamba_decoder.mamba",
    "attention",
)
_MLPS: Final = ("block_sparse_moe", "shared_mlp", "mlp_block", "feed_forward")


@final
class Written:
    """What one or two modules write into the stream together, as a hook point.

    `writers` are modules in the order of their calls, each with the factor on its output. A
    function that returns another tensor changes the last one's output, so that their sum is that.
    """

    def __init__(self, writers: Sequence[tuple[nn.Module, float]]) -> None:
        self.functions: list[HookFunction] = []
        *others, (last, factor) = writers
        self.joint = bool(others)
        self._before: dict[int, Tensor] = {}
        for i, (module, scale) in enumerate(others):
            module.register_forward_hook(self._keeper(i, scale))
        last.register_forward_hook(self._writer(factor))

    def _keeper(self, i: int, factor: float) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            del module, args
            if self.functions:
                self._before[i] = _tensor(output) * factor

        return keep

    def _writer(self, factor: float) -> Any:
        def write(module: nn.Module, args: Any, output: Any) -> Any:
            del module, args
            if not self.functions:
                return None
            before, self._before = list(self._before.values()), {}
            part = _tensor(output)
            whole = part if factor == 1.0 else part * factor
            for other in before:
                whole = whole + other
            new: Tensor | None = None
            for function in list(self.functions):
                edited = function(whole if new is None else new, hook=None)
                new = new if edited is None else edited
            if new is None:
                return None
            for other in before:
                new = new - other
            new = new if factor == 1.0 else new / factor
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return write


def find_written(blocks: Sequence[Any], config: Any, known: frozenset[str]) -> dict[str, Written]:
    """The hook points that TransformerLens lacks, or shows in part, by the name of their site.

    >>> bridge = model.backend.model
    >>> config = bridge.original_model.config
    >>> find_written(list(bridge.blocks), config, model.backend.hook_names())  # a Llama lacks none
    {}
    """
    written: dict[str, Written] = {}
    for layer, block in enumerate(blocks):
        original: Any = block.original_component
        for point, writers in _writers(original, config).items():
            name = Site(layer, point).hook_name
            if writers and (name not in known or point in _in_part(original, config)):
                written[name] = Written([(original.get_submodule(path), f) for path, f in writers])
    return written


def scale_of(block: Any) -> float:
    """The number by which a block multiplies the whole stream at its end (Gemma 4), or 1.

    >>> scale_of(model.backend.model.blocks[0])
    1.0
    """
    scalar: Any = getattr(block.original_component, "layer_scalar", None)
    return 1.0 if scalar is None else float(scalar)


def _writers(block: Any, config: Any) -> dict[ActivationName, list[tuple[str, float]]]:
    factor = float(getattr(config, "residual_multiplier", 1.0))
    if config.model_type == "falcon_h1":  # both read one input and are added
        factors = [
            ("mamba", float(config.ssm_out_multiplier)),
            ("self_attn", float(config.attention_out_multiplier)),
        ]
        return {"attn_out": factors, "mlp_out": []}
    if _per_layer_input(block):
        names = ("post_feedforward_layernorm", "post_per_layer_input_norm")
        return {"attn_out": [], "mlp_out": [(name, 1.0) for name in names]}
    return {
        "attn_out": [(path, factor) for path in _MIXERS if _has(block, path)],
        "mlp_out": [(path, factor) for path in _MLPS if _has(block, path)],
    }


def _in_part(block: Any, config: Any) -> tuple[ActivationName, ...]:
    """Points under whose name TransformerLens shows one of two modules that write together."""
    if config.model_type == "falcon_h1":
        return ("attn_out",)
    return ("mlp_out",) if _per_layer_input(block) else ()


def _per_layer_input(block: Any) -> bool:
    """Whether a block adds a part for each token's own per-layer embedding behind its MLP."""
    return _has(block, "post_per_layer_input_norm")


def _has(block: nn.Module, path: str) -> bool:
    module: Any = block
    for name in path.split("."):
        module = getattr(module, name, None)
    return isinstance(module, nn.Module)


def _tensor(output: Any) -> Tensor:
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)
