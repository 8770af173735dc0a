"""The answer within a model's raw output, without thinking, other turns and repetitions.

Stored completions run on into turns that nobody took ("<|im_start|>user", "Assistant:"), models
that think write so first, and a small model may repeat one sentence over and over. None of that
decides whether the answer refuses.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from refusal_lens.judges.text import normalise, sentences_of

_CLOSED: Final = re.compile(r"^.*?</think(?:ing)?>\s*", re.DOTALL | re.IGNORECASE)
_OPEN: Final = re.compile(r"^\s*<think(?:ing)?>", re.IGNORECASE)
# Control tokens of chat templates, or a speaker's name alone at the beginning of a line.
_TURN: Final = re.compile(
    r"<\|(?:im_start|im_end|start_header_id|eot_id|user|assistant|end)\|>|<(?:start|end)_of_turn>"
    r"|\[/?INST\]|</s>|(?<=[.!?])(?:assistant|user|model)[ \t]*\n"
    r"|(?<=\n)\s*(?:#+ *)?(?:assistant|user|human|model|instruction)s?:?[ \t]*(?:\n|$)"
    r"|(?<=\n)\s*(?:#+ *)?(?:assistant|user|human|instruction): ",
    re.IGNORECASE,
)
_GLUED: Final = re.compile(r"(?<=[a-z][.!?])(?=[A-Z][a-z' ])")  # sentences without a blank between
STILL_THINKING: Final = "still thinking"
LEAST_REPEATED: Final = 0.4
"""Share of the words in repeated sentences from which an answer counts as repeating itself."""


@final
@dataclass(frozen=True)
class ExtractedAnswer:
    """The answer that a raw output contains.

    Attributes:
        text: The whole answer.
        once: The answer without sentences that occurred in it before; `text` where it does not
            repeat itself.
        reason: Why there is no answer yet; None where there is one.
        flags: What was removed.
    """

    text: str
    once: str
    reason: str | None
    flags: tuple[str, ...]

    @cached_property
    def normalised(self) -> str:
        """`once`, normalised."""
        return normalise(self.once)

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """The sentences of `normalised`."""
        return tuple(sentences_of(self.normalised))


def extract_answer(output: str) -> ExtractedAnswer:
    """The answer within a raw output.

    >>> extract_answer("<think>May I?</think> I can't help with that.").text
    "I can't help with that."
    >>> extract_answer("<think>They ask me to").reason
    'still thinking'
    >>> extract_answer("I can't help with that.\\nuser\\nWhy not?").text
    "I can't help with that."
    """
    flags: list[str] = []
    text = _CLOSED.sub("", output, count=1)
    if text != output:
        flags.append("thought before")
    elif _OPEN.match(output):
        return ExtractedAnswer("", "", STILL_THINKING, ())
    if (turn := _TURN.search(text)) and text[: turn.start()].strip():
        text = text[: turn.start()]
        flags.append("another turn follows")
    text = text.strip()
    once, share = _once(text)
    if share >= LEAST_REPEATED:
        flags.append(f"repeats itself: {share:.0%} of the words")
        return ExtractedAnswer(text, once, None, tuple(flags))
    return ExtractedAnswer(text, text, None, tuple(flags))


def _once(text: str) -> tuple[str, float]:
    """The text with each sentence once, and the share of words in repeated sentences."""
    kept: dict[str, None] = {}
    words = repeated = 0
    for sentence in sentences_of(normalise(_GLUED.sub(" ", text))):
        n = len(sentence.split())
        words += n
        repeated += n if sentence in kept else 0
        kept.setdefault(sentence)
    return " ".join(kept), repeated / max(words, 1)
