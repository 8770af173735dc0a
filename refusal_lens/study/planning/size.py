"""How large a model is, counted on torch's meta device from its configuration: no weight exists."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from refusal_lens.errors import InputError, reason_of

# What families call the number of experts, and of those that a token goes through.
_EXPERTS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_CHOSEN: Final = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk")
_NO_ATTENTION: Final = ("linear", "mamba", "conv", "recurrent", "moe", "mlp")


@final
@dataclass(frozen=True)
class ModelSize:
    """Sizes of a model, in numbers (not bytes), and what they come to in FLOPs.

    A multiplication with its addition counts as two FLOPs. `dense` and `experts` are entries of the
    matrices in the blocks that every token meets, and of all experts' together, of which a token
    goes through the share `chosen`. `unembedding` is multiplied only where logits are taken.
    `attention` is FLOPs per pair of a new and a seen token, `cached` keys and values per token, of
    all blocks together. `linears` are entries of linear layers, which may be kept twice. Of a
    `recurrent` model prompts are read from their first token on.
    """

    parameters: int
    active: int
    n_layers: int
    d_model: int
    vocabulary: int
    dense: int
    experts: int
    chosen: float
    unembedding: int
    attention: int
    cached: int
    linears: int
    recurrent: bool

    def flops(self, new: float | int, seen: float | int, logits: float | int = 1) -> float:
        """FLOPs of a pass over `new` tokens that attend to `seen`, themselves among these.

        Logits are taken at `logits` positions. The scores above the diagonal count: they are
        computed, and masked.
        """
        weights = self.dense + self.chosen * self.experts
        return 2 * weights * new + self.attention * new * seen + 2 * self.unembedding * logits

    def weights_read(self, tokens: float | int) -> float:
        """Entries of matrices that a pass over so many tokens reads, all of its rows together.

        Of experts those that some token was sent to, if each token's are drawn by themselves.
        """
        reached = 1 - (1 - self.chosen) ** tokens
        return self.dense + reached * self.experts + self.unembedding


def model_size(config: PreTrainedConfig) -> ModelSize:
    """Parameters exactly, and FLOPs by the matrices that a token is multiplied with.

    Attention counts for each block that has one, at the full length of what is seen: prompts here
    are shorter than any sliding window. The recurrence of a state space is left out.

    Raises:
        InputError: not the configuration of a causal language model.

    >>> size = model_size(model.backend.model.original_model.config)
    >>> size.parameters == sum(p.numel() for p in model.backend.model.original_model.parameters())
    True
    """
    model, text = _on_meta(config), config.get_text_config(decoder=True)
    unembedding: Any = getattr(model.get_output_embeddings(), "weight", None)
    weights, chosen = [*_weights(model)], _chosen(text)
    matrices = [w for w in weights if w.matrix and w.values is not unembedding]
    parameters = sum(weight.numel() for weight in model.parameters())
    attention, cached = _attention(text)
    return ModelSize(
        parameters=parameters,
        active=round(parameters - (1 - chosen) * _count(w for w in weights if w.expert)),
        n_layers=int(text.num_hidden_layers),
        d_model=int(text.hidden_size),
        vocabulary=int(text.vocab_size),
        dense=_count(w for w in matrices if not w.expert),
        experts=_count(w for w in matrices if w.expert),
        chosen=chosen,
        unembedding=0 if unembedding is None else unembedding.numel(),
        attention=attention,
        cached=cached,
        linears=sum(m.weight.numel() for m in model.modules() if type(m) is nn.Linear),
        recurrent=len(_attending(text)) < int(text.num_hidden_layers),
    )


@final
@dataclass(frozen=True, eq=False)
class _Weight:
    """A parameter of the decoder, and whether tokens look it up, or only some go through it."""

    values: Tensor
    embedding: bool
    expert: bool
    bias: bool

    @property
    def matrix(self) -> bool:
        """Whether tokens are multiplied with it."""
        return self.values.dim() > 1 and not (self.embedding or self.bias)


def _on_meta(config: PreTrainedConfig) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, ImportError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"no causal language model can be built from a configuration of type "
            f"{config.model_type!r} ({reason_of(error)}); give that of a decoder-only model"
        ) from None


def _weights(model: PreTrainedModel) -> Iterator[_Weight]:
    """The parameters that text goes through, each once; a tower for pictures has none of them."""
    seen = set[int]()
    for path, module in model.named_modules():
        parts = path.split(".")
        if any(word in path for word in ("vision", "visual", "audio", "image")):
            continue
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) in seen:
                continue
            seen.add(id(weight))
            stacked = weight.dim() == 3 and not isinstance(module, nn.Conv1d)
            yield _Weight(
                weight,
                embedding=isinstance(module, nn.Embedding),
                expert=stacked or "experts" in parts,
                bias=name.endswith("bias"),
            )


def _attention(config: Any) -> tuple[int, int]:
    """FLOPs per pair of tokens, and keys and values per token, over all blocks."""
    flops = cached = 0
    for block in _attending(config):
        n_heads = int(block.num_attention_heads)
        query = value = int(getattr(block, "head_dim", None) or block.hidden_size // n_heads)
        n_kept = int(getattr(block, "num_key_value_heads", None) or n_heads)
        if getattr(block, "kv_lora_rank", None):  # latent attention, kept spread out over the heads
            query = int(block.qk_nope_head_dim + block.qk_rope_head_dim)
            value, n_kept = int(block.v_head_dim), n_heads
        flops += 2 * n_heads * (query + value)
        cached += n_kept * (query + value)
    return flops, cached


def _attending(config: Any) -> list[Any]:
    """The configuration of each block that has attention; where it is silent, all blocks have."""
    n_layers = int(config.num_hidden_layers)
    blocks = list(getattr(config, "per_layer_config", ())) or [config] * n_layers
    kinds = getattr(config, "layer_types", None) or ["attention"] * n_layers
    return [
        block
        for kind, block in zip(kinds, blocks, strict=True)
        if not any(word in kind for word in _NO_ATTENTION)
        and getattr(block, "num_attention_heads", None)
    ]


def _chosen(config: Any) -> float:
    """The share of the experts that a token goes through; 1 without experts, or where unsaid."""
    n_experts, per_token = _first(config, _EXPERTS), _first(config, _CHOSEN)
    return min(1.0, per_token / n_experts) if n_experts and per_token else 1.0


def _count(weights: Iterable[_Weight]) -> int:
    return sum(weight.values.numel() for weight in weights)


def _first(config: Any, names: tuple[str, ...]) -> float:
    return next((float(n) for name in names if (n := getattr(config, name, None))), 0.0)
