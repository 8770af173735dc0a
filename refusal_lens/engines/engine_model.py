"""`EngineModel`: a chat model that an engine serves, with the surface of `LensModel`."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final, TypeVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import several
from refusal_lens.engines.calls import Call
from refusal_lens.engines.edits import EngineEdits
from refusal_lens.engines.interface import Answer, Engine, Request
from refusal_lens.engines.places import check_seen, places_read
from refusal_lens.errors import InputError
from refusal_lens.interventions import Edit
from refusal_lens.model.batch import Ids
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.model.generate import GREEDY, Decoding
from refusal_lens.model.lengths import check_lengths, check_prompt_lengths
from refusal_lens.model.lens import Prompts
from refusal_lens.model.pairing import Pairing
from refusal_lens.model.places import Offsets, offsets_of
from refusal_lens.model.transfer import directions_in, warn_of_transfer
from refusal_lens.placement import dtype_name
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet, labelled
from refusal_lens.records import Provenance, installed_versions
from refusal_lens.residuals import Residuals, ResidualStats, StatsAccumulator, half_pairs
from refusal_lens.sites import Site

T = TypeVar("T")

_AT_ONCE: Final = 512  # prompts of one call to the engine, which batches them by itself


@final
class EngineModel:
    """A chat model on an engine, read and edited between its blocks.

    Made by `load_vllm` or `load_nnsight`. Methods that `LensModel` has, too, take the same
    arguments and give the same results, up to the rounding of vLLM's kernels; docs/engines.md says
    which sites and edits there are. A request that fails ends the call with `EngineError`, which
    names the prompt and holds the other results.
    """

    def __init__(
        self,
        engine: Engine,
        chat: ChatTemplate,
        *,
        name: str,
        digest: str,
        stops: frozenset[int],
        batch_size: int,
    ) -> None:
        self.engine = engine
        self.chat = chat
        self.name = name
        self.digest = digest
        self._stops = tuple(sorted(stops))
        self._batch_size = batch_size
        self._edits = EngineEdits(self.n_layers, self.d_model)

    def __repr__(self) -> str:
        opened = self.engine.opened
        return (
            f"EngineModel({self.name}, {self.n_layers} layers, d_model {self.d_model}, "
            f"{opened.dtype}, {opened.spread}, edits: {self.edits_text})"
        )

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return self.engine.opened.n_layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.engine.opened.d_model

    @property
    def edits_text(self) -> str:
        """The edits that are on, in words."""
        return self._edits.text

    def provenance(self, prompts: PromptSet | None = None, seed: int | None = None) -> Provenance:
        """What is needed to make a number of this model again, edits and engine included."""
        digest = "none" if prompts is None else prompts.digest
        opened = self.engine.opened
        model, chat = (self.name, self.digest), (self.chat.digest, self.chat.prefix_text)
        where = (dtype_name(opened.dtype), opened.spread)
        versions = installed_versions() | dict(opened.versions)
        return Provenance(*model, *chat, digest, *where, seed, self.edits_text, versions)

    def tokens(self, prompt: Prompt | str) -> list[tuple[int, str]]:
        """Position (from the end, -1 is the last) and text of every token fed to the model."""
        ids = self.ids([prompt])[0]
        return list(zip(range(-len(ids), 0), self.chat.strings(ids), strict=True))

    def ids(self, prompts: PromptSet | Sequence[Prompt | str]) -> list[Ids]:
        """Token ids of each templated prompt, as they are sent to the engine.

        Raises:
            InputError: no prompt, something else than prompts, or one that is longer than the
                engine takes.
        """
        names, ids = self.chat.tokenised(prompts)
        check_prompt_lengths(names, ids, self.engine.opened.n_ctx)
        return ids

    @contextmanager
    def editing(self, *edits: Edit, transfer: bool = False) -> Generator["EngineModel"]:
        """Send edits with every request until the context ends, as `LensModel.editing`.

        Raises:
            InputError: a site or an edit that the engine does not reach, or edits that would act
                twice on one vector.
        """
        acting = several(edits, Edit, what="edit", write="model.editing(a, b), or editing(*edits)")
        if not transfer:
            allow = "if that is meant, editing(transfer=True)"
            warn_of_transfer(directions_in(acting), self.provenance(), allow)
        with self._edits.on(acting):
            yield self

    def residual_stats(
        self,
        prompts: PromptSet,
        *,
        sites: Sequence[Site] | None = None,
        offsets: Offsets = "post",
        progress: Progress = NO_PROGRESS,
    ) -> ResidualStats:
        """Statistics of the stream by category and label; memory does not grow with the prompts."""
        pairing = Pairing(labelled(prompts))
        chosen, places = self._places(sites)
        at = offsets_of(self.chat, offsets)
        sums = StatsAccumulator(prompts.categories, chosen, at, self.d_model)
        call, taken = self._reading(prompts, places, at, pairing.units)
        for resid in taken:
            if not call.failed:  # or there will be no statistics
                sides = pairing.sides([*resid])
                stack = torch.stack([*resid.values()])
                sums.update(stack, sides.category, sides.label, sides.pairs)
            progress(len(resid))
        call.finish({})
        return sums.finish(self.provenance(prompts), half_pairs=half_pairs(prompts))

    def residuals(
        self,
        prompts: Prompts,
        *,
        sites: Sequence[Site] | None = None,
        offsets: Offsets = (-1,),
        progress: Progress = NO_PROGRESS,
    ) -> Residuals:
        """Residuals of each prompt, float32 on the CPU; by default of every block's input."""
        chosen, places = self._places(sites)
        at = offsets_of(self.chat, offsets)
        call, taken = self._reading(prompts, places, at)
        resid: dict[int, Tensor] = {}
        for portion in taken:
            resid |= portion
            progress(len(portion))
        call.finish(resid)
        tensor = torch.stack([resid[row] for row in range(len(resid))])
        made = self.provenance()
        return Residuals.of(tensor, prompts, sites=chosen, offsets=at, provenance=made)

    def logits(
        self, prompts: Prompts, *, progress: Progress = NO_PROGRESS
    ) -> Float[Tensor, "prompt d_vocab"]:
        """Logits at the last token of each templated prompt, before any sampling rule.

        vllm-lens gives them one number at a time: slow for many prompts.
        """
        return torch.stack(self._asked(prompts, Request(logits=True), _logits, progress))

    def generate(
        self, prompts: Prompts, decoding: Decoding = GREEDY, *, progress: Progress = NO_PROGRESS
    ) -> list[str]:
        """The answer to each prompt, special tokens left out; raises like `generate_ids`."""
        return [
            self.chat.answer(ids) for ids in self.generate_ids(prompts, decoding, progress=progress)
        ]

    def generate_ids(
        self, prompts: Prompts, decoding: Decoding = GREEDY, *, progress: Progress = NO_PROGRESS
    ) -> list[Ids]:
        """Token ids of the answer to each prompt, without the token that ended it.

        Samples are the engine's, each with a seed of its own: not those that a `LensModel` draws.
        It keeps keys and values whatever `decoding.use_cache` says; answers are the same.

        Raises:
            InputError: as `ids`; or a prompt and its new tokens are longer than the engine takes.
            EngineError: a request failed; `finished` has the answers to the other prompts.
        """
        request = Request(
            most=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=decoding.seed if decoding.temperature else None,
            stops=self._stops,
        )
        return self._asked(prompts, request, self._answered, progress)

    def _answered(self, answer: Answer) -> Ids:
        """The new tokens, without the one that ended the answer."""
        ends = [i for i, token in enumerate(answer.tokens) if token in self._stops]
        return answer.tokens[: ends[0]] if ends else answer.tokens

    def _tokenised(self, prompts: Prompts, most: int) -> tuple[tuple[str, ...], list[Ids]]:
        """What an error calls each prompt, and its ids, with room for `most` new tokens."""
        names, ids = self.chat.tokenised(prompts)
        check_prompt_lengths(names, ids, self.engine.opened.n_ctx)
        made_of = f"with its template and {most} new ones"
        remedy = "ask for fewer new ones, or leave it out"
        lengths = [len(row) + most for row in ids]
        check_lengths(names, lengths, self.engine.opened.n_ctx, made_of=made_of, remedy=remedy)
        self._edits.check_prompts([len(row) for row in ids], names)
        return names, ids

    def _places(self, sites: Sequence[Site] | None) -> tuple[tuple[Site, ...], list[int]]:
        write = '[Site(15), Site.parse("resid_post[3]")]'
        chosen = None if sites is None else several(sites, Site, what="site", write=write)
        asked, places = places_read(chosen, self.n_layers)
        check_seen(asked, self._edits.parts, self.n_layers)
        return asked, places

    def _requests(self, request: Request, n: int) -> list[Request]:
        """The request for each of `n` prompts; one and the same where nothing tells them apart."""
        if self._edits.alike and request.seed is None:
            return [replace(request, acts=self._edits.of(0))] * n
        edited = [replace(request, acts=self._edits.of(row)) for row in range(n)]
        if request.seed is None:
            return edited
        first = request.seed * 1_000_003
        return [replace(each, seed=first + row) for row, each in enumerate(edited)]

    def _asked(
        self,
        prompts: Prompts,
        request: Request,
        take: Callable[[Answer], T],
        progress: Progress,
    ) -> list[T]:
        """What `take` makes of the output for each prompt."""
        names, ids = self._tokenised(prompts, request.most)
        requests, call = self._requests(request, len(ids)), Call(self.engine, names, ids)
        taken: dict[int, T] = {}
        for start in range(0, len(ids), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(ids)))
            taken |= call.send({row: requests[row] for row in rows}, take)
            progress(len(rows))
        call.finish(taken)
        return [taken[row] for row in range(len(ids))]

    def _reading(
        self,
        prompts: Prompts,
        places: Sequence[int],
        offsets: Sequence[int],
        units: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Call, Iterator[dict[int, Float[Tensor, "offset site d_model"]]]]:
        """A call, and portion by portion the residuals of prompts, without those that failed."""
        names, ids = self._tokenised(prompts, 1)  # vLLM makes one new token at least
        for name, row in zip(names, ids, strict=True):
            if -min(offsets, default=-1) > len(row):
                raise InputError(
                    f"offset {min(offsets)} reaches before the beginning of {name}, which has "
                    f"{len(row)} tokens with its template; read nearer to the end"
                )
        request = Request(reads=tuple(sorted(set(places))), offsets=tuple(offsets))
        requests, call = self._requests(request, len(ids)), Call(self.engine, names, ids)

        def read(answer: Answer) -> Float[Tensor, "offset site d_model"]:
            return torch.stack([answer.streams[place].float() for place in places], dim=1)

        def portions() -> Iterator[dict[int, Float[Tensor, "offset site d_model"]]]:
            for rows in _portions(units or [[row] for row in range(len(ids))], self._batch_size):
                yield call.send({row: requests[row] for row in rows}, read)

        return call, portions()


def _portions(units: Sequence[Sequence[int]], size: int) -> Iterator[list[int]]:
    """Rows in portions of about `size`, without splitting a unit."""
    rows: list[int] = []
    for unit in units:
        if rows and len(rows) + len(unit) > size:
            yield rows
            rows = []
        rows.extend(unit)
    if rows:
        yield rows


def _logits(answer: Answer) -> Float[Tensor, " d_vocab"]:
    assert answer.logits is not None
    return answer.logits
