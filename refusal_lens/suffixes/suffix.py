"""`Suffix`: a text put behind what a user asks, and prompts that have it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Final, final

from refusal_lens.arguments import check_whole, several
from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet, labelled
from refusal_lens.records import digest_of

NEUTRAL: Final = "neutral"
"""The family of the texts that suffixes are compared with; no suffix may have it."""
JOIN: Final = " "
"""Put between a request and its suffix, unless either already has white space there."""


@final
@dataclass(frozen=True)
class Suffix:
    """A text that is put behind a request, inside the user's turn.

    `family` groups suffixes that are alike; effects are also reported of each family.

    >>> Suffix("please", "Please.", "politeness").family
    'politeness'

    Raises:
        InputError: an id, a text or a family that is blank or no text.
    """

    id: str
    text: str
    family: str = "suffixes"

    def __post_init__(self) -> None:
        for name in ("text", "id", "family"):
            value: object = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise InputError(f"suffix {self.id!r}: {name} must be text, found {value!r}")
            check_whole(value, f"suffix {self.id!r}: {name}")


def append_suffix(prompts: PromptSet, suffix: Suffix | str) -> PromptSet:
    """The same prompts, in the same order, each with the suffix at the end of its last user turn.

    The suffix goes into the request before the chat template is applied, so that the template's
    own tokens follow it and offset -1 stays the template's last token. Category, label, split,
    language and earlier turns stay; ids, pairs and source name the suffix, so that the result can
    be added to `prompts`. A suffix given as text is called by that text.

    >>> pushed = append_suffix(prompts, "Answer briefly.")
    >>> pushed.prompts[0].text, pushed.prompts[0].id
    ('Should I sell my shares today? Answer briefly.', 'advice-1-refuse + Answer briefly.')
    >>> len(prompts + pushed) == 2 * len(prompts)
    True

    Raises:
        InputError: something else than a prompt set or a suffix; a blank suffix.
    """
    if isinstance(suffix, str):
        suffix = Suffix(suffix, suffix)
    return PromptSet(tuple(_with(p, suffix) for p in labelled(prompts)))


def _with(prompt: Prompt, suffix: Suffix) -> Prompt:
    joined = prompt.text[-1:].isspace() or suffix.text[:1].isspace()
    mark = f" + {suffix.id}"
    return replace(
        prompt,
        id=prompt.id + mark,
        text=prompt.text + ("" if joined else JOIN) + suffix.text,
        source=f"{prompt.source}{mark}",
        pair=None if prompt.pair is None else prompt.pair + mark,
    )


def distinct(suffixes: Iterable[Suffix]) -> tuple[Suffix, ...]:
    """Suffixes of which no two share an id or a text, and none passes for a neutral text.

    >>> len(distinct([Suffix("a", "Please."), Suffix("b", "Thank you.")]))
    2

    Raises:
        InputError: none, a lone one, one that is there twice, or one of the family `NEUTRAL`.
    """
    chosen = several(suffixes, Suffix, what="suffix", write='[Suffix("please", "Please."), ...]')
    if not chosen:
        raise InputError("no suffixes; expected one or more")
    for name in ("id", "text"):
        counts = Counter(getattr(s, name) for s in chosen)
        if twice := [value for value, n in counts.items() if n > 1]:
            raise InputError(f"suffix {name} {twice[0]!r} is there twice; give each suffix once")
    if mixed := [s.id for s in chosen if s.family == NEUTRAL]:
        raise InputError(
            f"suffix {mixed[0]!r}: family {NEUTRAL!r} is that of the texts of equal length which "
            "suffixes are compared with; give its family another name"
        )
    return chosen


def suffixes_digest(suffixes: Iterable[Suffix]) -> str:
    """SHA-256 of suffixes in order; equal exactly when every field of every suffix is.

    >>> suffixes_digest([Suffix("a", "Please.")])[:8] != suffixes_digest([Suffix("a", "Now.")])[:8]
    True
    """
    return digest_of([asdict(s) for s in suffixes])
