"""Generation, greedy or sampled, under whatever edits are on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from refusal_lens.errors import InputError
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.feed import Feed, last_token_logits
from refusal_lens.model.lengths import check_lengths
from refusal_lens.model.prefix import SharedPrefix
from refusal_lens.model.shares import merged_ids, share_of

_PAD: Final = 0
Watch = Callable[[Mapping[int, Ids]], bool]
"""Is shown a batch's answers so far, by the place of their prompt, after every token.

False ends these answers where they are. A batch that begins later is shown and asked again.
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
        if self.temperature < 0:
            raise InputError(f"temperature is {self.temperature}; give 0 (greedy) or more")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; give a number above 0 and up to 1")


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
) -> list[Ids]:
    """Token ids of each answer, without the token that ended it, in the order of the feed.

    `known` are answers that are there already, by the place of their prompt: they are handed on,
    and the other prompts keep their places. All processes of a run must know the same ones.

    Rows of different length share a batch with a gap of padding between prompt and answer; mask
    and positions make it invisible. Where a sliding window would count the gap, rows of one length
    are batched by themselves. A row leaves its batch when its answer has ended. `watch` sees every
    token as it comes, and may stop.

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
    answers: list[Ids] = [()] * len(feed.ids)
    mine = share_of(feed)

    def decode(batch: Batch) -> list[Ids]:
        generators = row_generators(batch, decoding)
        return _decode(feed.prefix, batch, _Answers(batch.rows, stops, watch), decoding, generators)

    for group in length_groups(feed.ids, gap_free):
        units = [[row] for row in group if row not in known]
        for batch, rows in mine.batches(decode, units):
            for row, answer in zip(batch.rows, rows, strict=True):
                answers[row] = answer
            mine.progress(len(batch.rows))
    if known:
        mine.progress(len(known) // mine.share.count)  # which counts for all processes
    merged = merged_ids(mine, answers, decoding.max_new_tokens)
    return [known.get(row, answer) for row, answer in enumerate(merged)]


def row_seed(decoding: Decoding, row: int) -> int | None:
    """The seed of the stream that a row's samples are drawn from; None where nothing is drawn.

    >>> row_seed(Decoding(), 5), row_seed(Decoding(temperature=1.0, seed=1), 5)
    (None, 1000008)
    """
    return None if decoding.temperature == 0 else decoding.seed * 1_000_003 + row


def row_generators(batch: Batch, decoding: Decoding) -> list[torch.Generator]:
    """Each prompt draws from a stream of its own: companions don't change a sample."""
    seeds = [row_seed(decoding, row) or 0 for row in batch.rows]
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
class _Answers:
    """The tokens of each row's answer so far, the rows that still run, and which have ended."""

    def __init__(self, places: Sequence[int], stops: frozenset[int], watch: Watch | None) -> None:
        self.tokens: list[list[int]] = [[] for _ in places]
        self.rows = list(range(len(places)))
        self._places = places
        self._ended = [False] * len(places)
        self._stops = stops
        self._watch = watch

    def add(self, chosen: Sequence[int]) -> bool:
        """Append a token to each row that has not ended; True while one has not, and is wanted."""
        for row, token in zip(self.rows, chosen, strict=True):
            self._ended[row] = self._ended[row] or token in self._stops
            if not self._ended[row]:
                self.tokens[row].append(token)
        return self._wanted() and not all(self._ended)

    def _wanted(self) -> bool:
        if self._watch is None:
            return True
        return self._watch(dict(zip(self._places, map(tuple, self.tokens), strict=True)))

    def leave(self) -> list[int]:
        """Let the rows that have ended go; the places of the others among those that ran."""
        left = [i for i, row in enumerate(self.rows) if not self._ended[row]]
        self.rows = [self.rows[i] for i in left]
        return left

    def newest(self) -> Int64[Tensor, "batch 1"]:
        """The last token of each row that runs; an ended one is fed padding, which nobody reads."""
        ends = [(self.tokens[row], self._ended[row]) for row in self.rows]
        return torch.tensor([[_PAD if ended else tokens[-1]] for tokens, ended in ends])


def _decode(
    prefix: SharedPrefix,
    batch: Batch,
    answers: _Answers,
    decoding: Decoding,
    generators: list[torch.Generator],
) -> list[Ids]:
    """Token by token; a row whose answer has ended leaves the batch, if its cache can be parted."""
    whole = batch
    logits, cache = last_token_logits(prefix, batch, use_cache=decoding.use_cache)
    for place in range(decoding.max_new_tokens):
        going = answers.add(
            choose_tokens(logits, decoding, [generators[row] for row in answers.rows])
        )
        if not going or place == decoding.max_new_tokens - 1:
            break
        if not prefix.backend.recurrent:
            left = answers.leave()
            if len(left) < len(batch.rows):
                batch = whole.chosen(answers.rows)
                cache = None if cache is None else prefix.backend.select_cache(cache, left)
        if decoding.use_cache and cache is not None:  # some recurrent models give none back
            step = prefix.follow(batch, answers.newest(), cache, n_generated=place)
            logits, cache = step.logits[:, -1], step.cache
        else:
            tokens = [answers.tokens[row] for row in answers.rows]
            logits, _ = last_token_logits(prefix, batch.extended(tokens))
    return [tuple(row) for row in answers.tokens]


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
