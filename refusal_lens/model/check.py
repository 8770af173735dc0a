"""What is asserted when a model is loaded: that its hooks show the stream that they claim to."""

from importlib import metadata
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from refusal_lens.errors import InputError, reason_of
from refusal_lens.model.backend import Backend
from refusal_lens.model.bridge import hugging_face_of
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.sites import ActivationName, Site

# Rounding of a sum in the model's own dtype, relative to the largest value in the stream.
_TOLERANCE: Final = {torch.float32: 1e-5, torch.float64: 1e-12}
_HALF_TOLERANCE: Final = 2e-2
_CACHE_TOLERANCE: Final = 0.1  # half precision rounds logits to .02; a lost cache is of order 1
# Attention rebuilt step by step multiplies in another order: at most 1e-5 of the logits' length in
# float32 over 83 configurations. In half precision rounding may send a token to another expert. A
# wrong rotary embedding makes .6 to 1.
_SAME_LOGITS: Final = {torch.float32: 1e-4, torch.float64: 1e-10}
_HALF_SAME_LOGITS: Final = 3e-1
_POINTS: Final[tuple[ActivationName, ...]] = (
    "resid_pre",
    "attn_out",
    "resid_mid",
    "mlp_out",
    "resid_post",
)


Logits = Float[Tensor, "pos d_vocab"]
_PROMPT: Final = "How are you?"


@torch.inference_mode()
def logits_before(model: PreTrainedModel, chat: ChatTemplate) -> Logits:
    """Logits of Hugging Face's own model for one prompt, before TransformerLens takes it over.

    Raises:
        InputError: it can't read the prompt.

    >>> from transformers import AutoModelForCausalLM
    >>> logits_before(AutoModelForCausalLM.from_pretrained(model.name), model.chat).shape[1]
    300
    """
    ids = torch.tensor([chat.ids(_PROMPT)], device=model.device)
    try:
        return model(ids).logits[0]
    except Exception as error:  # for example a tokenizer with more tokens than the embedding
        raise InputError(
            f"{type(model).__name__} can't read a prompt ({reason_of(error)}); see whether "
            "weights, configuration and tokenizer belong together"
        ) from None


@torch.inference_mode()
def check_stream(backend: Backend, chat: ChatTemplate, expected: Logits | None = None) -> None:
    """Assert resid_pre + attn_out == resid_mid and resid_mid + mlp_out == resid_post.

    Where a block has no `resid_mid` (parallel attention), the sum of all parts is asserted; where
    it has one writer (a state space without MLP), that this is what it adds; where it multiplies
    the stream at its end, the product. Each block must begin with what the one before left, and
    with `expected` logits of Hugging Face's own model, those under hooks must be the same. Bridges
    of some architectures have shown other tensors under these names.

    Raises:
        InputError: a model that can't be run under hooks, or a block whose parts don't add up, so
            that no attribution or edit there would mean what it says.
    """
    seen: dict[str, Tensor] = {}
    ids = torch.tensor([chat.ids(_PROMPT)], device=backend.device)
    with backend.hooks(_recorders(backend, seen)):
        try:
            step = backend.forward(ids, torch.ones_like(ids), keep=range(ids.shape[1]))
        except Exception as error:  # a bridge that was built need not run
            half = backend.dtype not in _TOLERANCE
            raise InputError(
                f"{_family(backend)} can't be run under hooks in {backend.name} "
                f"({reason_of(error)}); "
                f"{'load it in float32, or ' if half else ''}use a model of another family"
            ) from None
    for layer in range(backend.n_layers):
        _check_block(backend, layer, seen)
    if expected is not None:
        gap = float((step.logits[0] - expected).float().norm() / expected.float().norm())
        if not gap <= _SAME_LOGITS.get(backend.dtype, _HALF_SAME_LOGITS):
            raise InputError(
                f"the logits of {_family(backend)} under hooks in {backend.name} are not its own "
                f"(relative gap {gap:.2g}): another model would be read than is used; use a model "
                "of another family"
            )


def _check_block(backend: Backend, layer: int, seen: dict[str, Tensor]) -> None:
    def at(point: ActivationName, layer: int = layer) -> Tensor | None:
        return seen.get(Site(layer, point).hook_name)

    pre, attn, mid, mlp, post = map(at, _POINTS)
    if pre is None or attn is None or post is None or (mlp is None and mid is not None):
        missing = next(p for p in _POINTS if at(p) is None and p != "resid_mid")
        raise InputError(
            f"block {layer} of {_family(backend)} has no hook on {missing} in {backend.name}: its "
            "residual stream can't be read; use a model of another family"
        )
    total = pre + attn if mid is None else mid
    total = total if mlp is None else total + mlp
    sums = [("resid_post", total * backend.scales[layer], post)]
    if mid is not None:
        sums.append(("resid_mid", pre + attn, mid))
    if layer:
        before = at("resid_post", layer - 1)
        assert before is not None
        sums.append(("resid_pre", before, pre))
    for name, total, whole in sums:
        if total.shape != whole.shape:
            gap = float("inf")
        else:
            gap = float((total - whole).abs().max() / whole.abs().max())
        if not gap <= _TOLERANCE.get(backend.dtype, _HALF_TOLERANCE):
            raise InputError(
                f"{name}[{layer}] of {_family(backend)} is not the sum of its parts in "
                f"{backend.name} (relative gap {gap:.2g}): its hook points don't show the residual "
                "stream, and no number of it would be right; use a model of another family"
            )


@torch.inference_mode()
def check_cache(backend: Backend, chat: ChatTemplate) -> None:
    """Assert that a pass behind cached tokens gives the logits of the whole pass.

    Every prompt continues a cached prefix, and answers continue their prompts. Versions of
    TransformerLens and transformers that don't fit each other have lost the cache without a word.

    Raises:
        InputError: they differ by more than rounding.
    """
    ids = torch.tensor([chat.ids(_PROMPT)], device=backend.device)
    if backend.recurrent:  # nothing continues a cached prefix there
        return
    mask, half = torch.ones_like(ids), ids.shape[1] // 2
    try:
        whole = backend.forward(ids, mask).logits[0, -1].float()
        cache = backend.forward(ids[:, :half], mask[:, :half], use_cache=True).cache
        behind = backend.forward(ids[:, half:], mask, cache=cache).logits[0, -1].float()
    except Exception as error:  # a cache may be kept in another precision than the model's
        in_half = "load it in float32, or " if backend.dtype not in _TOLERANCE else ""
        raise InputError(
            f"{_family(backend)} can't go on behind cached tokens in {backend.name} "
            f"({reason_of(error)}); {in_half}use a model of another family"
        ) from None
    gap = float((whole - behind).abs().max() / whole.abs().max())
    if not gap <= _CACHE_TOLERANCE:
        raise InputError(
            f"{_family(backend)} behind cached tokens gives other logits "
            f"than in one pass (relative gap {gap:.2g}) in {backend.name} with transformers "
            f"{metadata.version('transformers')}: answers would be wrong; install another version "
            "of one of them (TransformerLens 4.3.0 goes with transformers 5.23.0)"
        )


def _family(backend: Backend) -> str:
    return type(hugging_face_of(backend)).__name__


def _recorders(backend: Backend, seen: dict[str, Tensor]) -> list[tuple[str, Any]]:
    def recorder(name: str) -> Any:
        def function(resid: Tensor, hook: Any) -> None:
            del hook
            seen[name] = resid.detach().clone()

        return function

    names = [Site(k, p).hook_name for k in range(backend.n_layers) for p in _POINTS]
    known = backend.hook_names()
    return [(name, recorder(name)) for name in names if name in known]
