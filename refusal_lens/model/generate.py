"""Generation, greedy or sampled, under whatever edits are on."""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from refusal_lens.arguments import check_seed
from refusal_lens.errors import InputError
from refusal_lens.model.backend import Backend
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.feed import Feed, last_token_logits
from refusal_lens.model.lengths import check_lengths
from refusal_lens.model.past import Past
from refusal_lens.model.shares import merged_ids, share_of

_PAD: Final = 0
# Rows enter when this share of the places is free. A prefill of few rows costs about as much as a
# step of all: with B places, answers of n tokens and k rows entering at a time, a row costs
# n / (B - k / 2) + 1 / k passes, least near k = B * sqrt(2 / n): a third of B at 16 tokens, a sixth
# at 64. It is flat there: simulated for 16 and 64 places and means of 16 to 64 tokens, a quarter
# takes at most 2% more passes than the best of 1/16, 1/8, 1/4 and 1/2.
_FREE: Final = 0.25
Watch = Callable[[Mapping[int, Ids]], bool]
"""Is shown a batch's answers so far, by the place of their prompt, after every token.

Those of rows that have left it are among them. False ends these answers where they are. Rows that
begin later are shown, and asked about, again.
"""
NOTHING: Final[Mapping[int, Ids]] = {}


@final
@dataclass(frozen=True)
class Decoding:
    """How answers are decoded; recorded beside them.

    `temperature=0` is greedy. `top_p` keeps the smallest set of tokens with that probability.
    `use_cache=False` runs the whole sequence again at every step: slower, the same answers.

    Raises:
        InputError: a number outside its range.

    >>> Decoding(max_new_tokens=8).temperature
    0.0
    """

    max_new_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    use_cache: bool = True

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {self.max_new_tokens}; give 1 or more")
        if not 0 <= self.temperature < math.inf:
            raise InputError(
                f"temperature is {self.temperature}; give a finite number, 0 (greedy) or more"
            )
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; give a number above 0 and up to 1")
        check_seed(self.seed)


GREEDY: Final = Decoding()


def stop_ids(
    tokenizer: PreTrainedTokenizerBase, settings: GenerationConfig | None
) -> frozenset[int]:
    """Tokens that end an answer: the end-of-sequence tokens of the tokenizer and of the model's
    generation settings.

    >>> sorted(stop_ids(model.chat.tokenizer, None))
    [257]
    """
    ids: set[int] = set()
    for holder in (tokenizer, settings):
        value: Any = getattr(holder, "eos_token_id", None)
        ids.update(value if isinstance(value, list) else [] if value is None else [value])
    return frozenset(ids)


def generate(
    feed: Feed,
    stops: frozenset[int],
    decoding: Decoding,
    watch: Watch | None = None,
    known: Mapping[int, Ids] = NOTHING,
    *,
    entering: bool = True,
) -> list[Ids]:
    """Token ids of each answer, without the token that ended it, in the order of the feed.

    `known` are answers that are there already, by the place of their prompt: they are handed on,
    and the other prompts keep their places. All processes of a run must know the same ones.

    Rows of different length share a batch with a gap of padding before the prompt and between
    prompt and answer; mask and positions make it invisible. Where a sliding window would count the
    gap, rows of one length are batched by themselves. A row leaves its batch when its answer has
    ended, and rows that wait enter; where caches can't be joined, or without `entering`, they wait
    until the batch has ended: slower, the same answers. `watch` sees every token as it comes, and
    may stop.

    Raises:
        InputError: a prompt and its new tokens are longer than the model takes.

    >>> import torch
    >>> with torch.inference_mode():
    ...     answers = generate(model.feed(["Why?"]), frozenset(), Decoding(max_new_tokens=3))
    >>> len(answers[0])
    3
    """
    backend = feed.backend
    lengths = [len(ids) + decoding.max_new_tokens for ids in feed.ids]
    longest = max(lengths)
    check_lengths(
        feed.names,
        lengths,
        backend.n_ctx,
        made_of=f"with its template and {decoding.max_new_tokens} new ones",
        remedy="ask for fewer new ones, or leave it out",
    )
    gap_free = backend.window is not None and longest > backend.window
    mine = share_of(feed)
    decoder = _Decoder(mine, stops, decoding, watch)
    for group in length_groups(feed.ids, gap_free):
        waiting = [row for row in group if row not in known]
        mine.in_line(waiting, partial(decoder.run, entering=entering and not gap_free))
    if known:
        mine.progress(len(known) // mine.share.count)  # which counts for all processes
    answers = [decoder.answers.get(row, ()) for row in range(len(feed.ids))]
    merged = merged_ids(mine, answers, decoding.max_new_tokens)
    return [known.get(row, answer) for row, answer in enumerate(merged)]


def row_seed(decoding: Decoding, row: int) -> int | None:
    """The seed of the stream that a row's samples are drawn from; None where nothing is drawn.

    >>> row_seed(Decoding(), 5), row_seed(Decoding(temperature=1.0, seed=1), 5)
    (None, 1000008)
    """
    return None if decoding.temperature == 0 else decoding.seed * 1_000_003 + row


def row_generators(rows: Sequence[int], decoding: Decoding) -> list[torch.Generator]:
    """Each prompt draws from a stream of its own: companions don't change a sample."""
    seeds = [row_seed(decoding, row) or 0 for row in rows]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def length_groups(ids: Sequence[Ids], by_length: bool) -> list[list[int]]:
    """Rows that may share batches: all of them, or with `by_length` those of one length.

    >>> length_groups([(1, 2), (3,), (4, 5)], True)
    [[0, 2], [1]]
    """
    groups: dict[int, list[int]] = {}
    for row, x in enumerate(ids):
        groups.setdefault(len(x) if by_length else 0, []).append(row)
    return list(groups.values())


@final
class _Row:
    """The answer of one prompt so far, and the stream that it draws from."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.tokens: list[int] = []
        self.ended = False

    def add(self, token: int, stops: frozenset[int], most: int) -> None:
        if not self.ended and token not in stops:
            self.tokens.append(token)
        self.ended = self.ended or token in stops or len(self.tokens) == most

    @property
    def newest(self) -> int:
        """The last token; an ended row is fed padding, which nobody reads."""
        return _PAD if self.ended else self.tokens[-1]


@final
@dataclass(frozen=True, eq=False)
class _Running:
    """The rows that run at one time; without a cache each pass runs all of their tokens."""

    batch: Batch
    rows: list[_Row]
    past: Past | None

    def chosen(self, backend: Backend, at: list[int]) -> "_Running":
        past = None if self.past is None else self.past.chosen(backend, at)
        return _Running(self.batch.chosen(at), [self.rows[i] for i in at], past)

    def joined(self, backend: Backend, other: "_Running") -> "_Running":
        assert self.past is not None and other.past is not None
        past = self.past.joined(backend, other.past)
        return _Running(self.batch.joined(other.batch), self.rows + other.rows, past)


@final
class _Decoder:
    """Token by token; a row whose answer has ended leaves the batch, and others enter it.

    `answers` are those of the rows that have left, by their places.
    """

    def __init__(
        self, feed: Feed, stops: frozenset[int], decoding: Decoding, watch: Watch | None
    ) -> None:
        self.answers: dict[int, Ids] = {}
        self._feed, self._backend = feed, feed.backend
        self._stops = stops
        self._decoding = decoding
        self._watch = watch
        self._begun: dict[int, _Row] = {}

    def run(self, waiting: deque[int], most: int, entering: bool) -> None:
        """Answer rows that wait, `most` at a time, until no row runs; put back what had no room."""
        self._begun = {}
        try:
            running = self._left(self._begin(waiting, min(most, len(waiting))))
            while running is not None:
                n = self._room(running, len(waiting), most) if entering else 0
                if n:
                    running = running.joined(self._backend, self._begin(waiting, n))
                else:
                    running = self._step(running)
                running = self._left(running)
        except (RuntimeError, MemoryError):
            waiting.extendleft(row for row in reversed(self._begun) if row not in self.answers)
            raise

    def _room(self, running: _Running, waiting: int, most: int) -> int:
        """How many rows enter now: none, or as many as there is room for."""
        if running.past is None or not self._backend.joins(running.past.cache):
            return 0
        free = min(waiting, most - len(running.rows))
        return free if free >= min(waiting, max(1, round(most * _FREE))) else 0

    def _begin(self, waiting: deque[int], n: int) -> _Running:
        """The first token of the next `n` rows."""
        places = [waiting.popleft() for _ in range(n)]
        rows = [_Row(generator) for generator in row_generators(places, self._decoding)]
        self._begun.update(zip(places, rows, strict=True))
        batch, cached = self._feed.batch(places), self._decoding.use_cache
        with self._feed.keeping_ends(batch):
            logits, cache = last_token_logits(self._feed.prefix, batch, use_cache=cached)
        self._add(rows, logits)
        # Some recurrent models give no cache back.
        past = self._feed.prefix.past(batch, cache) if cached and cache is not None else None
        return _Running(batch, rows, past)

    def _step(self, running: _Running) -> _Running:
        """One more token of each row."""
        prefix, past = self._feed.prefix, running.past
        if past is None:
            longer = running.batch.extended([row.tokens for row in running.rows])
            logits, _ = last_token_logits(prefix, longer)
        else:
            newest = torch.tensor([[row.newest] for row in running.rows])
            step = prefix.follow(running.batch, newest, past)
            logits, past = step.logits[:, -1], past.longer(step.cache)
        self._add(running.rows, logits)
        return replace(running, past=past)

    def _add(self, rows: list[_Row], logits: Float[Tensor, "batch d_vocab"]) -> None:
        """Give each row its next token; all end where the watch wants no more."""
        chosen = choose_tokens(logits, self._decoding, [row.generator for row in rows])
        for row, token in zip(rows, chosen, strict=True):
            row.add(token, self._stops, self._decoding.max_new_tokens)
        if self._watch is None:
            return
        if not self._watch({place: tuple(row.tokens) for place, row in self._begun.items()}):
            for row in self._begun.values():
                row.ended = True

    def _left(self, running: _Running) -> _Running | None:
        """The rows that go on, once those that have ended have left, if the cache can be parted."""
        going = [i for i, row in enumerate(running.rows) if not row.ended]
        if len(going) == len(running.rows) or (going and self._backend.recurrent):
            return running
        n_before = len(self.answers)
        for place, row in zip(running.batch.rows, running.rows, strict=True):
            if row.ended:
                self.answers[place] = tuple(row.tokens)
        self._feed.progress(len(self.answers) - n_before)
        return running.chosen(self._backend, going) if going else None


def choose_tokens(
    logits: Float[Tensor, "batch d_vocab"], decoding: Decoding, generators: list[torch.Generator]
) -> list[int]:
    """The next token of each row: the best one, or one drawn from the row's own generator.

    >>> choose_tokens(torch.tensor([[0.0, 2.0, 1.0]]), Decoding(), [])
    [1]
    """
    if decoding.temperature == 0:
        return logits.argmax(-1).tolist()
    p = (logits.double().cpu() / decoding.temperature).softmax(-1)
    ordered, order = p.sort(descending=True, stable=True)
    # The token that reaches top_p is kept too, so that at least one always is.
    kept = torch.where(ordered.cumsum(-1) - ordered < decoding.top_p, ordered, 0.0)
    drawn = [
        torch.multinomial(row, 1, generator=g) for row, g in zip(kept, generators, strict=True)
    ]
    return order.gather(1, torch.stack(drawn)).squeeze(1).tolist()
