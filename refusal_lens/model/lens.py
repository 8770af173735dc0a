"""`LensModel`: a chat model under TransformerLens, read and edited in its residual stream."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions import Edit, Part
from refusal_lens.memory import BatchSize
from refusal_lens.model.active import ActiveEdits
from refusal_lens.model.backend import Backend, hugging_face_of
from refusal_lens.model.batch import Ids
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.model.compare import Compared, by_name, read_answer
from refusal_lens.model.continuation import continuation_log_probs
from refusal_lens.model.feed import Feed
from refusal_lens.model.forward import last_logits, residual_stats, residuals
from refusal_lens.model.generate import GREEDY, Decoding, generate, stop_ids
from refusal_lens.model.lengths import check_prompt_lengths, named
from refusal_lens.model.places import Offsets, offsets_of, sites_of
from refusal_lens.model.prefix import SharedPrefix
from refusal_lens.model.transfer import warn_of_transfer
from refusal_lens.placement import Placement, dtype_name
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet, labelled
from refusal_lens.records import Provenance
from refusal_lens.residuals import Residuals, ResidualStats
from refusal_lens.sites import Site

Prompts = PromptSet | Sequence[str | Prompt]


def _several(prompts: Prompts) -> tuple[str | Prompt, ...]:
    return several(
        prompts, (str, Prompt), what="prompt", write='["first?", "second?"], or a PromptSet'
    )


def _directions(part: Part) -> list[Direction]:
    return [d for user in (part.edit, *part.conditions) for d in user.directions_used]


@final
class LensModel:
    """A chat model with its template. Made by `load_model` or `wrap_model`.

    Everything below runs with whatever edits are on (`editing`), in inference mode, and takes the
    prompts through the chat template exactly once.
    """

    def __init__(
        self,
        backend: Backend,
        chat: ChatTemplate,
        *,
        name: str,
        digest: str,
        placement: Placement = Placement(),
    ) -> None:
        self.backend = backend
        self.chat = chat
        self.name = name
        self.digest = digest
        self.rows = BatchSize(placement.batch_size)
        self._placement = placement
        self._active = ActiveEdits(backend)
        self._prefix = SharedPrefix(self._active, chat.prefix_ids)
        self._stops = stop_ids(chat.tokenizer, hugging_face_of(backend))

    def __repr__(self) -> str:
        b = self.backend
        return (
            f"LensModel({self.name}, {b.n_layers} layers, d_model {b.d_model}, {b.dtype}, "
            f"{b.device}, {b.name}, edits: {self.edits_text})"
        )

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.backend.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.backend.d_model

    @property
    def placement(self) -> Placement:
        """Where the model is, in which precision, and how many rows it runs at a time now."""
        return self._placement.found(self.backend.device, self.backend.dtype, self.rows.most)

    @property
    def edits_text(self) -> str:
        """The edits that are on, in words."""
        return self._active.text

    def provenance(self, prompts: PromptSet | None = None, seed: int | None = None) -> Provenance:
        """What is needed to make a number of this model again, edits included."""
        return Provenance(
            model=self.name,
            model_digest=self.digest,
            template_digest=self.chat.digest,
            rendered_prefix=self.chat.prefix_text,
            prompts_digest="none" if prompts is None else prompts.digest,
            dtype=dtype_name(self.backend.dtype),
            device=str(self.backend.device),
            seed=seed,
            edits=self.edits_text,
        )

    def tokens(self, prompt: Prompt | str) -> list[tuple[int, str]]:
        """Position (from the end, -1 is the last) and text of every token fed to the model."""
        ids = self.ids([prompt])[0]
        return list(zip(range(-len(ids), 0), self.chat.strings(ids), strict=True))

    def ids(self, prompts: PromptSet | Sequence[Prompt | str]) -> list[Ids]:
        """Token ids of each templated prompt, as they are fed to the model.

        Raises:
            InputError: no prompt, something else than prompts, or one that is longer than the
                model's context.
        """
        asked = _several(prompts)
        ids = [self.chat.ids(p) for p in asked]
        check_prompt_lengths(named(asked), ids, self.backend.n_ctx)
        return ids

    @contextmanager
    def editing(self, *edits: Edit, transfer: bool = False) -> Generator["LensModel"]:
        """Put edits onto their hook points until the context ends, also by an exception.

        Contexts nest; edits act in the order in which they were put on. A direction of another
        model, or of another chat template, brings a `TransferWarning` unless `transfer` says that
        it is meant.

        Raises:
            InputError: a site that this model does not have or that can't be written, or edits
                that would act twice on one vector.
        """
        acting = several(edits, Edit, what="edit", write="model.editing(a, b), or editing(*edits)")
        if not transfer:
            used = [d for edit in acting for part in edit.parts() for d in _directions(part)]
            warn_of_transfer(used, self.provenance(), "if that is meant, editing(transfer=True)")
        with self._active.on(acting):
            self._prefix.forget()
            try:
                yield self
            finally:
                self._prefix.forget()

    def feed(self, prompts: Prompts, progress: Progress = NO_PROGRESS) -> Feed:
        """The prompts on their way through the model, for passes that read or write hook points.

        Raises:
            InputError: as `ids`; a `PerRow` for another number of prompts, or an edit's offset
                before the beginning of a prompt.

        >>> feed = model.feed(prompts)
        >>> len(feed.ids) == len(prompts)
        True
        """
        asked = _several(prompts)
        return self._fed(named(asked), [self.chat.ids(p) for p in asked], progress)

    def feed_ids(
        self, rows: Sequence[Ids], names: Sequence[str], progress: Progress = NO_PROGRESS
    ) -> Feed:
        """The same for templated prompts as token ids; errors call them by `names`.

        >>> feed = model.feed_ids(model.ids(["Why?"]), ["the question"])
        >>> len(feed.ids)
        1
        """
        return self._fed(names, list(rows), progress)

    @torch.inference_mode()
    def residual_stats(
        self,
        prompts: PromptSet,
        *,
        sites: Sequence[Site] | None = None,
        offsets: Offsets = "post",
        progress: Progress = NO_PROGRESS,
    ) -> ResidualStats:
        """Statistics of the stream by category and label, in one pass and constant memory.

        By default at every block's input and every post-instruction token of the template.
        """
        return residual_stats(
            self.feed(labelled(prompts), progress),
            prompts,
            sites=sites_of(self.backend, self.name, sites),
            offsets=offsets_of(self.chat, offsets),
            provenance=self.provenance(prompts),
        )

    @torch.inference_mode()
    def residuals(
        self,
        prompts: Prompts,
        *,
        sites: Sequence[Site] | None = None,
        offsets: Offsets = (-1,),
        progress: Progress = NO_PROGRESS,
    ) -> Residuals:
        """Residuals of each prompt, float32 on the CPU; by default of every block's input."""
        sites, offsets = sites_of(self.backend, self.name, sites), offsets_of(self.chat, offsets)
        tensor = residuals(self.feed(prompts, progress), sites=sites, offsets=offsets)
        made = self.provenance()
        return Residuals.of(tensor, prompts, sites=sites, offsets=offsets, provenance=made)

    @torch.inference_mode()
    def logits(
        self, prompts: Prompts, *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, "prompt d_vocab"]:
        """Logits at the last token of each templated prompt (what the answer begins with)."""
        return last_logits(self.feed(prompts, progress))

    @torch.inference_mode()
    def answer_log_probs(
        self, prompts: Prompts, answers: Sequence[Ids], *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, " prompt"]:
        """Log-probability (nats) that each prompt's answer begins with the given tokens."""
        return continuation_log_probs(self.feed(prompts, progress), answers)

    @torch.inference_mode()
    def text_log_probs(
        self, rows: Sequence[Ids], *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, " row"]:
        """Log-probability (nats) of running text, without the chat template: every token after the
        first, given those before it.

        To an edit the first token is the prompt and what follows is its answer.

        Raises:
            InputError: a row of fewer than two tokens, or of more than the model takes.
        """
        names = [f"row {i + 1} of {len(rows)}" for i in range(len(rows))]
        for name, row in zip(names, rows, strict=True):
            one(row, Sequence, what="a row of token ids", write="[[1, 2], [3, 4]]")
            if not 2 <= len(row) <= self.backend.n_ctx:
                raise InputError(
                    f"{name} is a text of {len(row)} tokens; expected 2 to {self.backend.n_ctx} of "
                    "them"
                )
        self._active.check_prompts([1] * len(rows), names)
        prefix = SharedPrefix(self._active, ())
        feed = Feed(prefix, [row[:1] for row in rows], names, self.rows, progress)
        return continuation_log_probs(feed, [row[1:] for row in rows])

    @torch.inference_mode()
    def generate(
        self,
        prompts: Prompts,
        decoding: Decoding = GREEDY,
        *,
        progress: Progress = NO_PROGRESS,
    ) -> list[str]:
        """The answer to each prompt, special tokens left out."""
        return [
            self.chat.answer(ids) for ids in self.generate_ids(prompts, decoding, progress=progress)
        ]

    @torch.inference_mode()
    def generate_ids(
        self, prompts: Prompts, decoding: Decoding = GREEDY, *, progress: Progress = NO_PROGRESS
    ) -> list[Ids]:
        """Token ids of the answer to each prompt, without the token that ended it."""
        return generate(self.feed(prompts, progress), self._stops, decoding)

    @torch.inference_mode()
    def final_norm(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The residual stream after the norm before the unembedding, float32 on the CPU."""
        moved = resid.to(self.backend.device, self.backend.dtype)
        return self.backend.final_norm(moved).float().cpu()

    def compare(
        self,
        prompt: str,
        edits: Mapping[str, Edit] | Sequence[Edit],
        decoding: Decoding = GREEDY,
    ) -> Compared:
        """The answer to one prompt as the model is, and under each edit by itself.

        Edits that are on stay on, also under "none". A notebook shows a table.
        """
        found = [read_answer(prompt, "none", self.edits_text, *self.generate([prompt], decoding))]
        for name, edit in by_name(edits).items():
            with self.editing(edit):
                said = self.generate([prompt], decoding)
                found.append(read_answer(prompt, name, self.edits_text, *said))
        how = ", ".join(f"{k}={v}" for k, v in asdict(decoding).items())
        return Compared(prompt, self.name, how, tuple(found))

    def _fed(self, names: Sequence[str], ids: list[Ids], progress: Progress) -> Feed:
        check_prompt_lengths(names, ids, self.backend.n_ctx)
        return Feed(self._prefix_for(ids, names), ids, names, self.rows, progress)

    def _prefix_for(self, ids: Sequence[Ids], names: Sequence[str]) -> SharedPrefix:
        # A tokenizer may merge a prompt's first letters with the template's last token, and an
        # edit's offsets may reach into the template's beginning, differently far in each prompt:
        # such prompts run without the shared prefix, at the full cost.
        n = len(self._prefix.ids)
        reach = max(1, self._active.check_prompts([len(row) for row in ids], names))
        if all(row[:n] == self._prefix.ids and len(row) >= n + reach for row in ids):
            return self._prefix
        return SharedPrefix(self._active, ())
