"""Plain ways to the same numbers: Hugging Face, and TransformerLens as its documentation does it.

Both take the same tokens in the given order, in batches padded to their longest. TransformerLens'
documentation reads with `run_with_cache(tokens, names_filter=...)` and edits with
`run_with_hooks(tokens, fwd_hooks=[(name, function)])`, under its names of hook points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor

from benchmarks.setting import HuggingFace
from refusal_lens.directions import Direction
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import index_axes

Hook = tuple[str, Callable[..., Tensor]]

HF: Final = "Hugging Face, padded"
HF_LEAN: Final = "Hugging Face, padded, no unembedding, no key-value cache"
CACHE: Final = "TransformerLens `run_with_cache`"
HOOKS: Final = "TransformerLens `run_with_hooks`"


@final
@dataclass(frozen=True)
class Padded:
    """A batch of token ids, padded to its longest, and the rows it holds."""

    rows: list[int]
    ids: Tensor
    mask: Tensor

    def ends(self) -> Tensor:
        """Where each row's last token is."""
        places = torch.arange(self.ids.shape[1])
        return (self.mask * places).argmax(1)


def padded(model: LensModel, prompts: PromptSet, size: int, side: str = "right") -> list[Padded]:
    """The templated prompts in the given order, batch by batch."""
    return padded_ids(model.ids(prompts), size, side)


def padded_ids(ids: Sequence[Sequence[int]], size: int, side: str = "right") -> list[Padded]:
    """Rows of token ids in the given order, batch by batch."""
    batches: list[Padded] = []
    for first in range(0, len(ids), size):
        rows = list(range(first, min(first + size, len(ids))))
        width = max(len(ids[row]) for row in rows)
        batch = torch.zeros(len(rows), width, dtype=torch.int64)
        mask = torch.zeros_like(batch)
        for i, row in enumerate(rows):
            n = len(ids[row])
            at = slice(0, n) if side == "right" else slice(width - n, width)
            batch[i, at] = torch.tensor(ids[row])
            mask[i, at] = 1
        batches.append(Padded(rows, batch, mask))
    return batches


# --- means of the residual stream by category and label ------------------------------------------


class Means:
    """Sums of residuals at the last `n_post` tokens of each row, by category and label."""

    def __init__(self, prompts: PromptSet, n_post: int) -> None:
        category, label = index_axes(prompts)
        self._group = category * 2 + label
        self._n_groups, self._n_post = 2 * len(prompts.categories), n_post
        self._total: Tensor | None = None

    def add(self, streams: Sequence[Tensor], batch: Padded) -> None:
        """One batch; `streams` holds [row, position, d_model] per site."""
        rows = torch.arange(len(batch.rows))[:, None]
        at = batch.ends()[:, None] + torch.arange(1 - self._n_post, 1)[None]
        taken = torch.stack([stream[rows, at] for stream in streams], dim=2).double()
        if self._total is None:
            self._total = torch.zeros(self._n_groups, *taken.shape[1:], dtype=torch.float64)
        self._total.index_add_(0, self._group[batch.rows], taken)

    def finish(self) -> Tensor:
        """Means [category, label, offset, site, d_model]."""
        assert self._total is not None, "no batch was added"
        n = self._group.bincount(minlength=self._n_groups)
        return (self._total / n[:, None, None, None]).unflatten(0, (-1, 2))


@torch.inference_mode()
def means_with_hidden_states(
    hf: HuggingFace, batches: Sequence[Padded], means: Means, *, lean: bool = False
) -> Tensor:
    """What a user of transformers writes; `lean` leaves out what isn't needed for it."""
    for batch in batches:
        if lean:
            out = hf.model.base_model(
                batch.ids, attention_mask=batch.mask, output_hidden_states=True, use_cache=False
            )
        else:
            out = hf.model(batch.ids, attention_mask=batch.mask, output_hidden_states=True)
        means.add(out.hidden_states[:-1], batch)  # block inputs; the last is behind the norm
    return means.finish()


@torch.inference_mode()
def means_with_cache(bridge: Any, batches: Sequence[Padded], means: Means) -> Tensor:
    """What a user of TransformerLens writes, with nothing cached but the residual stream."""
    for batch in batches:
        _, cache = bridge.run_with_cache(
            batch.ids,
            attention_mask=batch.mask,
            names_filter=lambda name: name.endswith("hook_resid_pre"),
        )
        streams = [cache["resid_pre", layer] for layer in range(bridge.cfg.n_layers)]
        means.add(streams, batch)
    return means.finish()


# --- logits at each prompt's last token ----------------------------------------------------------


@torch.inference_mode()
def plain_logits(hf: HuggingFace, batches: Sequence[Padded]) -> Tensor:
    """Hugging Face's, [prompt, d_vocab]."""
    return torch.cat(
        [_last(hf.model(batch.ids, attention_mask=batch.mask).logits, batch) for batch in batches]
    )


@torch.inference_mode()
def hooked_logits(bridge: Any, batches: Sequence[Padded], hooks: Sequence[Hook]) -> Tensor:
    """TransformerLens', with functions on hook points, [prompt, d_vocab]."""
    return torch.cat(
        [
            _last(
                bridge.run_with_hooks(batch.ids, attention_mask=batch.mask, fwd_hooks=list(hooks)),
                batch,
            )
            for batch in batches
        ]
    )


def _last(logits: Tensor, batch: Padded) -> Tensor:
    return logits[torch.arange(len(batch.rows)), batch.ends()].clone()


def adding(d: Direction, strength: float) -> list[Hook]:
    """Hooks that add a multiple of a direction at the input of its block."""
    vector = strength * d.scale * d.vector

    def add(resid: Tensor, hook: Any) -> Tensor:
        del hook
        return resid + vector

    return [(f"blocks.{d.site.layer}.hook_resid_pre", add)]


def ablating(d: Direction, n_layers: int) -> list[Hook]:
    """Hooks that project a direction out of every block's input and of what its parts write."""
    r = d.vector

    def ablate(x: Tensor, hook: Any) -> Tensor:
        del hook
        return x - (x @ r)[..., None] * r

    names = ("hook_resid_pre", "hook_attn_out", "hook_mlp_out")
    return [(f"blocks.{layer}.{name}", ablate) for layer in range(n_layers) for name in names]


# --- answers -------------------------------------------------------------------------------------


@torch.inference_mode()
def plain_answers(hf: HuggingFace, batches: Sequence[Padded], n_tokens: int) -> Tensor:
    """Hugging Face's greedy answers without an early end, [prompt, token]; left-padded batches."""
    ends = hf.model.generation_config.eos_token_id
    hf.model.generation_config.eos_token_id = None
    try:
        answers = [
            hf.model.generate(
                batch.ids,
                attention_mask=batch.mask,
                do_sample=False,
                max_new_tokens=n_tokens,
                pad_token_id=0,
            )[:, batch.ids.shape[1] :]
            for batch in batches
        ]
    finally:
        hf.model.generation_config.eos_token_id = ends
    return torch.cat(answers)


@torch.inference_mode()
def hooked_answers(
    bridge: Any, batches: Sequence[Padded], n_tokens: int, hooks: Sequence[Hook]
) -> Tensor:
    """TransformerLens' greedy answers under hooks, [prompt, token]; left-padded batches."""
    answers: list[Tensor] = []
    for batch in batches:
        with bridge.hooks(fwd_hooks=list(hooks)):
            out = bridge.generate(
                batch.ids,
                attention_mask=batch.mask,
                max_new_tokens=n_tokens,
                do_sample=False,
                stop_at_eos=False,
                verbose=False,
            )
        answers.append(out[:, batch.ids.shape[1] :])
    return torch.cat(answers)


# --- how far numbers differ ----------------------------------------------------------------------


def largest_gap(a: Tensor, b: Tensor) -> str:
    """The largest difference, in words, and the size of what is compared."""
    gap = (a.double() - b.double()).abs().max()
    return f"{float(gap):.1e} of at most {float(b.double().abs().max()):.3g}"


def equal_tokens(ours: Sequence[Sequence[int]], theirs: Tensor) -> str:
    """How many prompts' answers are the same token by token."""
    same = sum(tuple(a) == tuple(b.tolist()) for a, b in zip(ours, theirs, strict=True))
    return f"{same} of {len(ours)} answers equal"
