"""What is asserted when a model is loaded: that its hooks show the stream that they claim to."""

from importlib import metadata
from typing import Any, Final

import torch
from torch import Tensor

from refusal_lens.errors import InputError, reason_of
from refusal_lens.model.backend import Backend, hugging_face_of
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.sites import Point, Site

# Rounding of a sum in the model's own dtype, relative to the largest value in the stream.
_TOLERANCE: Final = {torch.float32: 1e-5, torch.float64: 1e-12}
_HALF_TOLERANCE: Final = 2e-2
_CACHE_TOLERANCE: Final = 0.1  # half precision rounds logits to .02; a lost cache is of order 1


@torch.inference_mode()
def check_stream(backend: Backend, chat: ChatTemplate) -> None:
    """Assert resid_pre + attn_out == resid_mid and resid_mid + mlp_out == resid_post.

    Where a block has no `resid_mid` (parallel attention), the sum of all parts is asserted.
    Bridges of some architectures have shown other tensors under these names.

    Raises:
        InputError: a model that can't be run under hooks, or a block whose parts don't add up, so
            that no attribution or edit there would mean what it says.
    """
    family = type(hugging_face_of(backend)).__name__
    seen: dict[str, Tensor] = {}
    ids = torch.tensor([chat.ids("How are you?")], device=backend.device)
    points: tuple[Point, ...] = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
    with backend.hooks(_recorders(backend, points, seen)):
        try:
            backend.forward(ids, torch.ones_like(ids))
        except Exception as error:  # a bridge that was built need not run
            raise InputError(
                f"{family} can't be run under hooks in {backend.name} ({reason_of(error)}); use a "
                "model of another family"
            ) from None
    for layer in range(backend.n_layers):
        pre, attn, mid, mlp, post = (seen.get(Site(layer, p).hook_name) for p in points)
        if pre is None or attn is None or mlp is None or post is None:
            missing = [
                p for p in points if p != "resid_mid" and Site(layer, p).hook_name not in seen
            ]
            raise InputError(
                f"block {layer} of {family} has no hook on {missing[0]} in {backend.name}: its "
                "residual stream can't be read; use a model of another family"
            )
        sums = [("resid_post", (pre + attn if mid is None else mid) + mlp, post)]
        if mid is not None:
            sums.append(("resid_mid", pre + attn, mid))
        for name, total, whole in sums:
            gap = float((total - whole).abs().max() / whole.abs().max())
            if not gap <= _TOLERANCE.get(backend.dtype, _HALF_TOLERANCE):
                raise InputError(
                    f"{name}[{layer}] of {family} is not the sum of its parts in {backend.name} "
                    f"(relative gap {gap:.2g}): its hook points don't show the residual stream, "
                    "and no number of it would be right; use a model of another family"
                )


@torch.inference_mode()
def check_cache(backend: Backend, chat: ChatTemplate) -> None:
    """Assert that a pass behind cached tokens gives the logits of the whole pass.

    Every prompt continues a cached prefix, and answers continue their prompts. Versions of
    TransformerLens and transformers that don't fit each other have lost the cache without a word.

    Raises:
        InputError: they differ by more than rounding.
    """
    ids = torch.tensor([chat.ids("How are you?")], device=backend.device)
    mask, half = torch.ones_like(ids), ids.shape[1] // 2
    whole = backend.forward(ids, mask).logits[0, -1].float()
    cache = backend.forward(ids[:, :half], mask[:, :half], use_cache=True).cache
    behind = backend.forward(ids[:, half:], mask, cache=cache).logits[0, -1].float()
    gap = float((whole - behind).abs().max() / whole.abs().max())
    if not gap <= _CACHE_TOLERANCE:
        raise InputError(
            f"{type(hugging_face_of(backend)).__name__} behind cached tokens gives other logits "
            f"than in one pass (relative gap {gap:.2g}) in {backend.name} with transformers "
            f"{metadata.version('transformers')}: answers would be wrong; install another version "
            "of one of them (TransformerLens 4.3.0 goes with transformers 5.23.0)"
        )


def _recorders(
    backend: Backend, points: tuple[Point, ...], seen: dict[str, Tensor]
) -> list[tuple[str, Any]]:
    def recorder(name: str) -> Any:
        def function(resid: Tensor, hook: Any) -> None:
            del hook
            seen[name] = resid.detach().clone()

        return function

    names = [Site(k, p).hook_name for k in range(backend.n_layers) for p in points]
    known = backend.hook_names()
    return [(name, recorder(name)) for name in names if name in known]
