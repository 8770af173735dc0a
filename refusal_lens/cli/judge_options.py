"""Options that choose the judge of a study or of an evaluation, and its settings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from refusal_lens.errors import InputError

if TYPE_CHECKING:  # the packages behind it take seconds to import
    from refusal_lens.judges import JudgeSettings
    from refusal_lens.judges.registry import Setting
    from refusal_lens.study import Study

JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        help="Who reads answers, 'refusal' by default; an unknown name lists what there is. Each "
        "also with '+sense' behind it.",
    ),
]
JudgeEndpoint = Annotated[
    str | None, typer.Option("--endpoint", help="Address of the llm judge, http://HOST:PORT/v1.")
]
EndpointModel = Annotated[
    str | None, typer.Option("--endpoint-model", help="Its model's name there; 'judge' by default.")
]
JudgeSetting = Annotated[
    list[str] | None,
    typer.Option(
        "--judge-setting",
        help="Another setting of the judge, NAME=VALUE, as 'samples=3'; several times if need be.",
    ),
]


def settings_of(
    endpoint: str | None, endpoint_model: str | None, others: Sequence[str] | None
) -> "JudgeSettings":
    """The settings that the options give.

    Raises:
        InputError: a setting without a name or a value, or one that is given twice.
    """
    named = {"endpoint": endpoint, "model": endpoint_model}
    settings = {name: value for name, value in named.items() if value is not None}
    for text in others or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise InputError(f"--judge-setting {text!r} is no setting; give NAME=VALUE")
        if name in settings:
            raise InputError(
                f"the judge's setting {name!r} is given twice, as {settings[name]!r} and by "
                f"--judge-setting {text!r}; give it once"
            )
        settings[name] = value
    return settings


def chosen_judge(
    study: "Study", name: str | None, given: "JudgeSettings"
) -> "tuple[str, dict[str, Setting]]":
    """Name and settings of a judge: the study's own, or another; settings given replace its own.

    Raises:
        InputError: no such judge, or it has no such settings.
    """
    from refusal_lens.judges import check_judge

    kept = study.judge_settings if name in (None, study.judge) else {}
    name = name or study.judge
    return name, check_judge(name, {**kept, **given})
