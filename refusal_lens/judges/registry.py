"""The judges by name, in one place: what a command-line option or a study can choose."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.errors import InputError
from refusal_lens.judges.base import Judge
from refusal_lens.judges.coherence import SenseChecked
from refusal_lens.judges.endpoint import Endpoint
from refusal_lens.judges.llm import LLMJudge
from refusal_lens.judges.long_answers import RefusalJudge
from refusal_lens.judges.phrase.judge import PhraseJudge
from refusal_lens.judges.style_classifier import MannerJudge
from refusal_lens.judges.substring import SubstringJudge
from refusal_lens.judges.xstest import XSTestJudge
from refusal_lens.placement import Placement


@final
@dataclass(frozen=True)
class JudgeSettings:
    """What the judges that are models need; the others ignore it.

    Attributes:
        endpoint: Where the judge of ``llm`` answers.
        samples: How often ``llm`` is asked about an answer.
        concurrency: Requests of ``llm`` at a time.
        classifier: Folder or hub name of the model of ``wildguard``.
        placement: Where and in which precision ``wildguard`` runs, and its batches.
    """

    endpoint: Endpoint | None = None
    samples: int = 5
    concurrency: int = 8
    classifier: str = "allenai/wildguard"
    placement: Placement = Placement()


def _llm(settings: JudgeSettings) -> Judge:
    if settings.endpoint is None:
        raise InputError(
            "the judge 'llm' needs an endpoint; give the address (http://HOST:PORT/v1) and the "
            "model's name"
        )
    return LLMJudge(settings.endpoint, samples=settings.samples, concurrency=settings.concurrency)


def _wildguard(settings: JudgeSettings) -> Judge:
    from refusal_lens.judges.wildguard import load_wildguard  # imports transformers: seconds

    return load_wildguard(settings.classifier, settings.placement)


@final
@dataclass(frozen=True)
class JudgeChoice:
    """A judge that can be chosen: one line about it, and how it is made."""

    about: str
    make: Callable[[JudgeSettings], Judge]


JUDGES: Final[dict[str, JudgeChoice]] = {
    "refusal": JudgeChoice(
        "the phrase judge, and for long answers a small model over it; the default; English",
        lambda settings: RefusalJudge(),
    ),
    "phrase": JudgeChoice(
        "phrase lists over the opening: outcome and manner, gibberish is unclear; English",
        lambda settings: PhraseJudge(),
    ),
    "manner": JudgeChoice(
        "the phrase judge, the manner by a classifier that may say that it is unsure; English",
        lambda settings: MannerJudge(),
    ),
    "substring": JudgeChoice(
        "twelve phrases anywhere in the answer (Arditi et al. 2024); English",
        lambda settings: SubstringJudge(),
    ),
    "xstest": JudgeChoice(
        "what the answer begins with (XSTest, Röttger et al. 2024); English",
        lambda settings: XSTestJudge(),
    ),
    "llm": JudgeChoice(
        "a judge model behind an OpenAI-compatible endpoint, several samples, confidence", _llm
    ),
    "wildguard": JudgeChoice(
        "a local classifier (Han et al. 2024, 7B, gated); English", _wildguard
    ),
}
"""Name -> judge. The published string judges stay as published, gibberish included."""

_SENSE: Final = "+sense"


def make_judge(name: str, settings: JudgeSettings | None = None) -> Judge:
    """The judge of that name; ``"substring+sense"`` puts the sense check around ``substring``.

    Raises:
        InputError: no judge has that name, or it lacks what it needs.
    """
    base = name.removesuffix(_SENSE)
    if base not in JUDGES:
        raise InputError(
            f"there is no judge {name!r}; choose one of {', '.join(JUDGES)}, each also with "
            f"{_SENSE!r} behind it"
        )
    judge = JUDGES[base].make(settings or JudgeSettings())
    return SenseChecked(judge) if name.endswith(_SENSE) else judge
