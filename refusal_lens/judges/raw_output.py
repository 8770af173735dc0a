"""The answer within a model's raw output, without thinking, other turns and repetitions.

Stored completions run on into turns that nobody took ("<|im_start|>user", "Assistant:"), models
that think write so first, and a small model may repeat one sentence over and over. None of that
decides whether the answer refuses.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, final

from refusal_lens.judges.base import Verdict
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
THOUGHT_BEFORE: Final = "thought before"
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


def read_without_thoughts(
    pairs: Sequence[tuple[str, str]],
    read: Callable[[list[tuple[str, str]]], list[Verdict]],
) -> list[Verdict]:
    """The verdicts of a model that reads answers, which is shown none of the thoughts before them.

    A thought that has not ended is unclear, and nobody is asked about it.

    >>> def read(pairs):
    ...     return [Verdict("refused", None, (answer,)) for _, answer in pairs]
    >>> answers = ["No.", "<think>May I?</think> No.", "<think>They ask me to"]
    >>> verdicts = read_without_thoughts([("Pick a lock?", answer) for answer in answers], read)
    >>> [(verdict.outcome, verdict.evidence) for verdict in verdicts]
    [('refused', ('No.',)), ('refused', ('No.',)), ('unclear', ())]
    """
    shown = [_without_thoughts(answer) for _, answer in pairs]
    asked = [(p, text) for (p, _), text in zip(pairs, shown, strict=True) if text is not None]
    verdicts = iter(read(asked))
    judged: list[Verdict] = []
    for (_, answer), text in zip(pairs, shown, strict=True):
        if text is None:
            judged.append(Verdict("unclear", None, (), STILL_THINKING))
            continue
        verdict = next(verdicts)
        flags = verdict.flags if text == answer else (*verdict.flags, THOUGHT_BEFORE)
        judged.append(replace(verdict, flags=flags))
    return judged


def _without_thoughts(output: str) -> str | None:
    """A raw output behind the thoughts that it begins with; None where they have not ended."""
    text = _CLOSED.sub("", output, count=1)
    return None if text == output and _OPEN.match(output) else text


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
    text = _without_thoughts(output)
    if text is None:
        return ExtractedAnswer("", "", STILL_THINKING, ())
    if text != output:
        flags.append(THOUGHT_BEFORE)
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
