"""`refusal-lens languages`: refusal across languages in a finished run."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from refusal_lens.cli.judge_options import EndpointModel, JudgeEndpoint, JudgeSetting, settings_of
from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import BUILT_IN, DefaultRun, print_path, run_folder
from refusal_lens.cli.study_options import words_of

out = Console()
err = Console(stderr=True)


def languages(
    run: DefaultRun = None,
    languages: Annotated[
        str | None,
        typer.Option(help="Codes, comma-separated, or 'all' that the prompts have."),
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="A folder of PolyRefuse's files, or 'built-in'.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Their split: train, val or test.")] = None,
    pairs: Annotated[int | None, typer.Option(help="Pairs of each language at most.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Who reads answers: opening (the default), or llm with --endpoint."),
    ] = None,
    endpoint: JudgeEndpoint = None,
    endpoint_model: EndpointModel = None,
    judge_setting: JudgeSetting = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Measure refusal across languages in a finished run, and write its report again.

    In which languages the model refuses; each language's direction at the run's layer, cosines
    between them, transfer to prompts of the others and to their refusals by ablation, with and
    without the languages' means. Stopped at any moment, the same command goes on from there.

    Languages, prompts, split and pairs that are not given stay as the run last had them; at first
    they are the built-in set's.

    Examples:

      refusal-lens languages

      refusal-lens languages runs/mine --languages en,de,zh

      refusal-lens languages runs/mine --prompts PolyRefuse --split train --pairs 128

      refusal-lens languages runs/mine --prompts built-in --languages all
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.judges import make_judge
    from refusal_lens.report.page import write_report
    from refusal_lens.study.follow_ups.languages import DEFAULT, run_languages
    from refusal_lens.study.stages.language_answers import ANSWERS
    from refusal_lens.study.stages.language_score import TRUST
    from refusal_lens.tables.languages import refusals_table

    run = run_folder(run)
    given = _sizes(languages, prompts, split, pairs)
    placement = placement_of(device, dtype, batch_size, device_map)
    reader, settings = None, settings_of(endpoint, endpoint_model, judge_setting)
    if judge is not None or settings:
        reader = make_judge(judge or DEFAULT, settings, placement=placement)
    with bars(out, err) as shown:
        results = run_languages(run, shown, placement, judge=reader, **given)
    read = results.find(ANSWERS)
    if read is not None:
        out.print(to_rich(refusals_table(read, results.find(TRUST))))
    print_path(out, "report", write_report(results))


def _sizes(
    languages: str | None, prompts: str | None, split: str | None, pairs: int | None
) -> dict[str, Any]:
    """The sizes that are given; the others stay as the run last had them."""
    from refusal_lens.datasets.languages import BUILT_IN_SPLIT

    codes = None if languages is None else tuple(words_of(languages, "--languages"))
    folder = None if prompts is None else str(Path(prompts).resolve())
    if prompts == BUILT_IN:
        folder, split = "", split or BUILT_IN_SPLIT
    sizes = {
        "languages": () if codes == ("all",) else codes,
        "language_folder": folder,
        "language_split": split,
        "language_pairs": pairs,
    }
    return {name: value for name, value in sizes.items() if value is not None}
