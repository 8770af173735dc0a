"""The published selection of Arditi et al. 2024, written plainly on Hugging Face.

As their code does it: every candidate layer and position, three scores each (ablation on harmful
prompts, addition and KL on harmless ones), batches of 32 padded on the left, whole forward passes
with the logits of every position, hooks on blocks and on their parts.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import torch
from torch import Tensor

from benchmarks.baselines import Padded, padded
from benchmarks.setting import HuggingFace
from refusal_lens.directions import Direction
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet

BATCH: Final = 32


class Published:
    """The pipeline on one model; made with the unedited logits, which are not timed."""

    def __init__(
        self,
        hf: HuggingFace,
        refusal_tokens: Sequence[int],
        *,
        harmful: list[Padded],
        harmless: list[Padded],
    ) -> None:
        self._model = hf.model
        self._tokens = list(refusal_tokens)
        self._harmful, self._harmless = harmful, harmless
        self._plain = self._logits(harmless, [])

    def scores(self, directions: Sequence[Direction]) -> Tensor:
        """[candidate, (ablation, addition, KL)], means over prompts."""
        return torch.tensor([self._score(d) for d in directions])

    def _score(self, d: Direction) -> tuple[float, float, float]:
        ablated = self._logits(self._harmful, self._ablation(d.vector))
        kl = _divergence(self._plain, self._logits(self._harmless, self._ablation(d.vector)))
        added = self._logits(self._harmless, self._addition(d.site.layer, d.scale * d.vector))
        refusal = (self._refusal(ablated).mean(), self._refusal(added).mean(), kl.mean())
        return float(refusal[0]), float(refusal[1]), float(refusal[2])

    @torch.inference_mode()
    def _logits(self, batches: Sequence[Padded], hooks: Sequence[tuple[Any, bool, Any]]) -> Tensor:
        """Logits of the last position, with hooks (module, before or behind it, function)."""
        last: list[Tensor] = []
        for batch in batches:
            with ExitStack() as stack:
                for module, before, function in hooks:
                    register = (
                        module.register_forward_pre_hook if before else module.register_forward_hook
                    )
                    stack.callback(register(function).remove)
                logits = self._model(input_ids=batch.ids, attention_mask=batch.mask).logits
            last.append(logits[:, -1, :].clone())
        return torch.cat(last)

    def _refusal(self, logits: Tensor) -> Tensor:
        p = logits.double().softmax(-1)[:, self._tokens].sum(-1)
        return (p + 1e-8).log() - (1 - p + 1e-8).log()

    def _ablation(self, r: Tensor) -> list[tuple[Any, bool, Any]]:
        def without(x: Tensor) -> Tensor:
            return x - (x @ r)[..., None] * r

        def before(module: Any, args: Any) -> Any:
            del module
            return (without(args[0]), *args[1:])

        def behind(module: Any, args: Any, output: Any) -> Any:
            del module, args
            if isinstance(output, tuple):
                return (without(output[0]), *output[1:])
            return without(output)

        hooks: list[tuple[Any, bool, Any]] = []
        for block in self._model.model.layers:
            hooks += [(block, True, before), (block.self_attn, False, behind)]
            hooks.append((block.mlp, False, behind))
        return hooks

    def _addition(self, layer: int, vector: Tensor) -> list[tuple[Any, bool, Any]]:
        def before(module: Any, args: Any) -> Any:
            del module
            return (args[0] + vector, *args[1:])

        return [(self._model.model.layers[layer], True, before)]


def published(
    model: LensModel,
    hf: HuggingFace,
    refusal_tokens: Sequence[int],
    *,
    harmful: PromptSet,
    harmless: PromptSet,
) -> Published:
    """The pipeline on these prompts, with the tokens that `model` is fed."""
    sides = [padded(model, side, BATCH, side="left") for side in (harmful, harmless)]
    return Published(hf, refusal_tokens, harmful=sides[0], harmless=sides[1])


def _divergence(plain: Tensor, edited: Tensor) -> Tensor:
    p, q = plain.double().softmax(-1), edited.double().softmax(-1)
    return (p * ((p + 1e-6).log() - (q + 1e-6).log())).sum(-1)
