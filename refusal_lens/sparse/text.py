"""What a small autoencoder is trained on: books, the model's own samples, prompts as it reads them.

Answers are sampled to benign prompts alone, and nothing sampled is kept.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch

from refusal_lens.arguments import check_seed
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel
from refusal_lens.model.batch import Ids
from refusal_lens.model.generate import Decoding, generate
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.sparse.reading import TrainingText

OPENINGS: Final = (
    "It was late in the autumn of that year when",
    "The river runs for two hundred miles through",
    "There are three ways to prepare the soil for",
    "In mathematics, a group is",
    "The committee met on Tuesday to discuss",
    "Among the birds of the northern coast,",
    "The history of the town begins with",
    "To make the bread, first",
    "Light travels through glass more slowly because",
    "My dear sister, I received your letter on",
    "def read_lines(path):",
    "The court held that",
    "Question: Why is the sky blue? Answer:",
    "According to the report published yesterday,",
    "The patient was advised to",
    "Dear customer, thank you for",
)
RUNNING: Final = ("samples", "books")
"""Sources of running text, without the chat template."""
_LEAST: Final = {  # the first token of a window is not read
    "window": 2,
    "samples": 0,
    "sample_tokens": 1,
    "answers": 0,
    "answer_tokens": 1,
    "prompts": 1,
}


@final
@dataclass(frozen=True)
class TextSizes:
    """How much of each kind of text is read, and in windows of how many tokens.

    `prompts`, `answers` and `samples` count texts, the others tokens; no answers or samples are
    taken where their number is 0. Books are read where some are given, `book_tokens` at most.

    Raises:
        InputError: a number below its least, or fewer `book_tokens` than a window has.

    >>> TextSizes(book_tokens=100)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: book_tokens is 100, and a window has 128 tokens: no book would \
be read; give at least 128, or shorter windows
    """

    window: int = 128
    book_tokens: int = 120_000
    samples: int = 256
    sample_tokens: int = 96
    answers: int = 256
    answer_tokens: int = 40
    prompts: int = 3000
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        for name, least in _LEAST.items():
            if (value := getattr(self, name)) < least:
                raise InputError(f"{name} is {value}; give {least} or more")
        if self.book_tokens < self.window:
            raise InputError(
                f"book_tokens is {self.book_tokens}, and a window has {self.window} tokens: no "
                f"book would be read; give at least {self.window}, or shorter windows"
            )


def training_text(
    model: LensModel,
    prompts: PromptSet,
    books: Sequence[Path],
    sizes: TextSizes = TextSizes(),
    progress: Progress = NO_PROGRESS,
) -> list[TrainingText]:
    """Every kind of text in turn, without those of which there is none; progress counts answers
    and samples.

    >>> sizes = TextSizes(samples=2, sample_tokens=4, answers=1, answer_tokens=4, prompts=6)
    >>> [text.source for text in training_text(model, prompts, [], sizes)]
    ['prompts', 'answers', 'samples']

    Raises:
        InputError: no prompt, or none to answer; a book that can't be read as UTF-8 text, or is
            shorter than one window.
    """
    drawn = random.Random(sizes.seed).sample(list(prompts), min(sizes.prompts, len(prompts)))
    benign = [p for p in drawn if p.label == "comply"][: sizes.answers]
    windows = book_windows(model, books, sizes)
    answers = _answers(model, benign, sizes, progress) if sizes.answers else ()
    samples = _samples(model, sizes, progress) if sizes.samples else ()
    texts = [
        TrainingText("prompts", tuple(model.ids(drawn)), _opening(model)),
        TrainingText("answers", answers, _opening(model)),
        TrainingText("samples", samples, 1),
        TrainingText("books", windows, 1),
    ]
    return [text for text in texts if text.rows]


def book_windows(model: LensModel, books: Sequence[Path], sizes: TextSizes) -> tuple[Ids, ...]:
    """Whole windows of the books, drawn at random, as many as `book_tokens` allows.

    Raises:
        InputError: a book that can't be read as UTF-8 text, or is shorter than one window.
    """
    windows: list[Ids] = []
    for path in books:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} can't be read as UTF-8 text: {error}") from None
        ids = model.chat.tokenizer.encode(text, add_special_tokens=False)
        cuts = range(0, len(ids) - sizes.window + 1, sizes.window)
        if not cuts:
            raise InputError(
                f"{path} has {len(ids)} tokens; a window has {sizes.window}: leave it out"
            )
        windows += [tuple(ids[cut : cut + sizes.window]) for cut in cuts]
    random.Random(sizes.seed).shuffle(windows)
    return tuple(windows[: sizes.book_tokens // sizes.window])


def _opening(model: LensModel) -> int:
    return len(model.chat.prefix_ids)


def _answers(
    model: LensModel, benign: Sequence[Prompt], sizes: TextSizes, progress: Progress
) -> tuple[Ids, ...]:
    decoding = Decoding(sizes.answer_tokens, temperature=1.0, seed=sizes.seed)
    answers = model.generate_ids(benign, decoding, progress=progress)
    asked = model.ids(benign)
    return tuple((*prompt, *answer) for prompt, answer in zip(asked, answers, strict=True))


@torch.inference_mode()
def _samples(model: LensModel, sizes: TextSizes, progress: Progress) -> tuple[Ids, ...]:
    """Running text behind each opening, without the chat template."""
    tokenizer = model.chat.tokenizer
    openings = [tuple(tokenizer.encode(o, add_special_tokens=False)) for o in OPENINGS]
    rows = [openings[i % len(openings)] for i in range(sizes.samples)]
    feed = model.feed_ids(rows, [f"sample {i}" for i in range(len(rows))], progress)
    decoding = Decoding(sizes.sample_tokens, temperature=1.0, seed=sizes.seed)
    answers = generate(feed, frozenset(), decoding)
    return tuple((*row, *answer) for row, answer in zip(rows, answers, strict=True))
