"""`LensModel`: a chat model under TransformerLens, read and edited in its residual stream."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import several
from refusal_lens.interventions import Edit
from refusal_lens.memory import BatchSize
from refusal_lens.model import calibration, made_by, notebook, unembedding
from refusal_lens.model.active import ActiveEdits
from refusal_lens.model.answer_store import AnswerStore, generate_kept
from refusal_lens.model.backend import Backend
from refusal_lens.model.batch import Ids
from refusal_lens.model.bridge import hugging_face_of
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.model.continuation import continuation_log_probs, text_log_probs
from refusal_lens.model.feed import Feed, Prompts
from refusal_lens.model.forward import last_logits, residual_stats, residuals
from refusal_lens.model.generate import GREEDY, Decoding, Watch, generate, stop_ids
from refusal_lens.model.lengths import check_prompt_lengths
from refusal_lens.model.places import Offsets, offsets_of, sites_of
from refusal_lens.model.prefix import SharedPrefix, prefix_for
from refusal_lens.model.prompt_ends import ends_of
from refusal_lens.model.stream_store import StreamStore
from refusal_lens.model.transfer import directions_in, warn_of_transfer
from refusal_lens.placement import Placement
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet, labelled
from refusal_lens.residuals import Residuals, ResidualStats
from refusal_lens.sites import Site


@final
class LensModel:
    """A chat model with its template. Made by `load_model` or `wrap_model`.

    Everything below runs with whatever edits are on (`editing`), in inference mode, and takes the
    prompts through the chat template exactly once.

    >>> with model.editing(rl.Ablate(direction)):
    ...     edited = model.logits(prompts)
    >>> bool((edited - model.logits(prompts)).abs().max() > 0.01), model.edits_text
    (True, 'none')
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
        settings = getattr(hugging_face_of(backend), "generation_config", None)
        self.stops = stop_ids(chat.tokenizer, settings)
        self.answer_store: AnswerStore | None = None  # hands on what it holds, and keeps the rest
        self.stream_store: StreamStore | None = None  # as does this one

    def __repr__(self) -> str:
        b = self.backend
        sizes = f"{b.n_layers} layers, d_model {b.d_model}, {b.dtype}, {b.device}, {b.name}"
        return f"LensModel({self.name}, {sizes}, edits: {self.edits_text})"

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
        return self._placement.resolved(self.backend.device, self.backend.dtype, self.rows.most)

    @property
    def edits_text(self) -> str:
        """The edits that are on, in words."""
        return self._active.text

    def ids(self, prompts: PromptSet | Sequence[Prompt | str]) -> list[Ids]:
        """Token ids of each templated prompt, as they are fed to the model.

        Raises:
            InputError: no prompt, something else than prompts, or one that is longer than the
                model's context.

        >>> model.ids(["Why?"])[0] == model.chat.ids("Why?")
        True
        """
        names, ids = self.chat.tokenised(prompts)
        check_prompt_lengths(names, ids, self.backend.n_ctx)
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

        >>> with model.editing(rl.Ablate(direction)):
        ...     answer = model.generate(["Should I sue?"], rl.Decoding(max_new_tokens=4))
        """
        acting = several(edits, Edit, what="edit", write="model.editing(a, b), or editing(*edits)")
        if not transfer:
            allow = "if that is meant, editing(transfer=True)"
            warn_of_transfer(directions_in(acting), self.provenance(), allow)
        with self._active.on(acting):
            self._prefix.forget()
            try:
                yield self
            finally:
                self._prefix.forget()

    @contextmanager
    def sweeping(self, layers: Sequence[int] = (), *, reuse: bool = True) -> Generator["LensModel"]:
        """Let passes over the same prompts under one edit after another begin where it acts.

        Below its first layer an edit changes nothing: `logits` and `answer_log_probs` keep the
        stream there (unedited, at the inputs of `layers`) and run only the blocks above the next
        time. Numbers are the same but for rounding; weights must stay as they are. With
        `reuse=False`, here or around, and in models that can't, every pass is whole.

        >>> with model.sweeping():
        ...     for strength in (0.5, 1.0):
        ...         with model.editing(rl.Add(direction, strength=strength)):
        ...             logits = model.logits(prompts)
        """
        with self._prefix.keeping(layers, reuse):
            yield self

    def feed(self, prompts: Prompts, progress: Progress = NO_PROGRESS) -> Feed:
        """The prompts on their way through the model, for passes that read or write hook points.

        Raises:
            InputError: as `ids`; a `PerRow` for another number of prompts, or an edit's offset
                before the beginning of a prompt.

        >>> feed = model.feed(prompts)
        >>> len(feed.ids) == len(prompts)
        True
        """
        names, ids = self.chat.tokenised(prompts)
        return self.feed_ids(ids, names, progress)

    def feed_ids(
        self, rows: Sequence[Ids], names: Sequence[str], progress: Progress = NO_PROGRESS
    ) -> Feed:
        """The same for templated prompts as token ids; errors call them by `names`.

        >>> feed = model.feed_ids(model.ids(["Why?"]), ["the question"])
        >>> len(feed.ids)
        1
        """
        check_prompt_lengths(names, rows, self.backend.n_ctx, self.backend.n_vocab)
        prefix = prefix_for(self._prefix, rows, names)
        ends = ends_of(self.stream_store, prefix, self.digest, rows)
        return Feed(prefix, rows, names, self.rows, progress, ends=ends)

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

        >>> model.residual_stats(prompts, offsets=[-1]).total.shape  # float64 sums
        torch.Size([3, 2, 1, 3, 32])

        Raises:
            InputError: as `feed`; no `PromptSet`; no site or offset, or one that is not there.
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
        """Residuals of each prompt, [prompt, offset, site, d_model], float32 on the CPU.

        By default of every block's input, at the last token.

        >>> model.residuals(prompts, sites=[rl.Site(2)], offsets=[-2, -1]).tensor.shape
        torch.Size([36, 2, 1, 32])

        Raises:
            InputError: as `feed`; no site or offset, or one that is not there.
        """
        sites, offsets = sites_of(self.backend, self.name, sites), offsets_of(self.chat, offsets)
        tensor = residuals(self.feed(prompts, progress), sites=sites, offsets=offsets)
        made = self.provenance()
        return Residuals.of(tensor, prompts, sites=sites, offsets=offsets, provenance=made)

    @torch.inference_mode()
    def logits(
        self, prompts: Prompts, *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, "prompt d_vocab"]:
        """Logits at the last token of each templated prompt (what the answer begins with).

        >>> model.logits(["Why?", "Who?"]).shape
        torch.Size([2, 300])

        Raises like `feed`.
        """
        return last_logits(self.feed(prompts, progress))

    @torch.inference_mode()
    def answer_log_probs(
        self, prompts: Prompts, answers: Sequence[Ids], *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, " prompt"]:
        """Log-probability (nats) that each prompt's answer begins with the given tokens.

        >>> model.answer_log_probs(["Why?", "Who?"], [(5, 6), (7,)]).shape
        torch.Size([2])

        Raises:
            InputError: as `feed`; other than one answer for each prompt; an answer that is too
                long, or holds a token id that the model does not have.
        """
        return continuation_log_probs(self.feed(prompts, progress), answers)

    @torch.inference_mode()
    def text_log_probs(
        self, rows: Sequence[Ids], *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, " row"]:
        """Log-probability (nats) of running text, without the chat template: every token after the
        first, given those before it.

        To an edit the first token is the prompt and what follows is its answer.

        >>> model.text_log_probs([(5, 6, 7), (8, 9)]).shape
        torch.Size([2])

        Raises:
            InputError: no row; one of fewer than two tokens or of more than the model takes.
        """
        return text_log_probs(self._active, rows, self.rows, progress)

    @torch.inference_mode()
    def generate(
        self, prompts: Prompts, decoding: Decoding = GREEDY, *, progress: Progress = NO_PROGRESS
    ) -> list[str]:
        """The answer to each prompt, special tokens left out; raises like `generate_ids`.

        >>> len(model.generate(["Why?", "Who?"], rl.Decoding(max_new_tokens=3)))
        2
        """
        rows = self.generate_ids(prompts, decoding, progress=progress)
        return [self.chat.answer(ids) for ids in rows]

    @torch.inference_mode()
    def generate_ids(
        self,
        prompts: Prompts,
        decoding: Decoding = GREEDY,
        *,
        progress: Progress = NO_PROGRESS,
        watch: Watch | None = None,
    ) -> list[Ids]:
        """Token ids of the answer to each prompt, without the token that ended it.

        Greedy answers depend on the prompt alone, sampled ones also on the seed and the prompt's
        place in the list. `watch` sees the answers so far after every token and ends them by False.

        Raises:
            InputError: as `ids`; or a prompt and its new tokens are longer than the model takes.

        >>> len(model.generate_ids(["Why?"], rl.Decoding(max_new_tokens=3))[0]) <= 3
        True
        """
        feed = self.feed(prompts, progress)
        if self.answer_store is None or watch is not None:  # who watches sees each token come
            return generate(feed, self.stops, decoding, watch)
        return generate_kept(feed, self.stops, decoding, self.answer_store, self.digest)

    calibrate = calibration.calibrate
    final_norm = unembedding.final_norm
    provenance = made_by.provenance
    tokens = notebook.tokens
    _repr_html_ = notebook.model_html
