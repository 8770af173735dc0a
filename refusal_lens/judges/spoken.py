"""What of a model's raw output is its answer: thinking, other turns and repetitions set aside.

Stored completions run on into turns that nobody took ("<|im_start|>user", "Assistant:"), models
that think say so first, and a small model may say one sentence over and over. None of that decides
whether the answer refuses.
"""

import re
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.judges.matching import normalise, sentences_of

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
"""Share of the words that stand in sentences said before, from which an answer repeats itself."""


@final
@dataclass(frozen=True)
class Spoken:
    """`text` is the answer as it was said; `once` leaves out sentences that stood in it before.

    `reason` says why there is no answer yet; `flags` what was set aside.
    """

    text: str
    once: str
    reason: str | None
    flags: tuple[str, ...]


def spoken(output: str) -> Spoken:
    """The answer within a raw output.

    >>> spoken("<think>May I?</think> I can't help with that.").text
    "I can't help with that."
    >>> spoken("<think>They ask me to").reason
    'still thinking'
    >>> spoken("I can't help with that.\\nuser\\nWhy not?").text
    "I can't help with that."
    """
    flags: list[str] = []
    text = _CLOSED.sub("", output, count=1)
    if text != output:
        flags.append("thought before")
    elif _OPEN.match(output):
        return Spoken("", "", STILL_THINKING, ())
    if (turn := _TURN.search(text)) and text[: turn.start()].strip():
        text = text[: turn.start()]
        flags.append("another turn follows")
    text = text.strip()
    once, share = _once(text)
    if share >= LEAST_REPEATED:
        flags.append(f"repeats itself: {share:.0%} of the words")
        return Spoken(text, once, None, tuple(flags))
    return Spoken(text, text, None, tuple(flags))


def _once(text: str) -> tuple[str, float]:
    """The text with each sentence said once, and the share of words that were said again."""
    kept: dict[str, None] = {}
    words = again = 0
    for sentence in sentences_of(normalise(_GLUED.sub(" ", text))):
        n = len(sentence.split())
        words += n
        again += n if sentence in kept else 0
        kept.setdefault(sentence)
    return " ".join(kept), again / max(words, 1)
