"""The command line: argument handling only."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console
from rich.markup import escape

from refusal_lens import __version__
from refusal_lens.cli.defence import defence
from refusal_lens.cli.edits import ablate, evaluate, steer
from refusal_lens.cli.estimators import compare_estimators
from refusal_lens.cli.explore import explore
from refusal_lens.cli.features import features, train_sae
from refusal_lens.cli.judge_options import (
    EndpointModel,
    JudgeEndpoint,
    JudgeName,
    JudgeSetting,
    chosen_judge,
    settings_of,
)
from refusal_lens.cli.languages import languages
from refusal_lens.cli.launched import one_of_several
from refusal_lens.cli.lists import datasets, models
from refusal_lens.cli.monitor import monitor
from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.plan import plan
from refusal_lens.cli.progress import bars, prepare_weights
from refusal_lens.cli.reading import directions, findings, geometry, report
from refusal_lens.cli.refusal_tokens import refusal_tokens
from refusal_lens.cli.run_options import DefaultRun, print_path, run_folder
from refusal_lens.cli.study_options import Categories, Full, Quick, sizes_of, words_of
from refusal_lens.cli.suffixes import suffixes
from refusal_lens.cli.surroundings import (
    escape_what_terminals_lack,
    quiet_libraries,
    refused_by_the_system,
)
from refusal_lens.cli.vectors import export_vectors, import_vectors
from refusal_lens.errors import InputError, printable

if TYPE_CHECKING:  # the packages behind it take seconds to import
    from refusal_lens.judges.first_token import ScoreKind
    from refusal_lens.study.question import Labels
    from refusal_lens.study.results import Results

app = typer.Typer(
    name="refusal-lens",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="See how many refusal directions a chat model has, how similar they are at each layer, "
    "which components write them, and what changes when you ablate or steer them.",
)
out = Console()
err = Console(stderr=True)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Options before any command."""
    if version:
        out.print(f"refusal-lens {__version__}")
        raise typer.Exit


@app.command()
def study(
    model: Annotated[
        str,
        typer.Option(help="A key of `refusal-lens models`, a hub id, a folder, or a .gguf file."),
    ] = "qwen-coder-0.5b",
    revision: Annotated[str | None, typer.Option(help="Revision of a hub id.")] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL file or folder; the project's own by default.")
    ] = None,
    categories: Categories = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers for choice and curves: '8-20' or '5,10,15'.")
    ] = None,
    adapter_scale: Annotated[
        float, typer.Option(help="Strength of a planted model's adapter; 0 is its base.")
    ] = 1.0,
    refuse: Annotated[
        Path | None, typer.Option(help="Text file of requests to refuse, one per line; no pairs.")
    ] = None,
    comply: Annotated[
        Path | None, typer.Option(help="Text file of requests to answer, one per line.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="System prompt; the template's own by default.")
    ] = None,
    thinking: Annotated[
        bool | None,
        typer.Option("--thinking/--no-thinking", help="Switch of templates that let it think."),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Run folder; runs/<model>-... by default.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(
            help="Base model (hub id or folder) that tells refusal from content; a planted "
            "model's is itself at adapter scale 0."
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
    labels: Annotated[
        str | None,
        typer.Option(
            help="What edited directions are fitted on: 'behaviour' (what the model did; the "
            "default) or 'intended' (the default where refusals are planted)."
        ),
    ] = None,
    estimator: Annotated[
        str,
        typer.Option(help="What directions are fitted by; an unknown name lists what there is."),
    ] = "mean_difference",
    score: Annotated[
        str,
        typer.Option(
            help="Which score may stand for reading answers, where it agrees with the judge: "
            "'first token', 'opening' or 'either'."
        ),
    ] = "either",
    judge: JudgeName = None,
    endpoint: JudgeEndpoint = None,
    endpoint_model: EndpointModel = None,
    judge_setting: JudgeSetting = None,
    seed: Annotated[int, typer.Option(help="Seed of controls and resampling.")] = 0,
    full: Full = False,
    quick: Quick = False,
) -> None:
    """Run the main job: directions, geometry, selection, effects, and report.html.

    Stopped at any moment, the same command goes on from there.

    Examples:

      refusal-lens study

      refusal-lens study --categories safety_core,humanizing,advice --layers 8-20

      refusal-lens study --model smollm2-planted

      refusal-lens study --model Qwen/Qwen2.5-1.5B-Instruct --control Qwen/Qwen2.5-1.5B

      refusal-lens study --judge llm --endpoint http://127.0.0.1:8000/v1 --endpoint-model M

      refusal-lens study --refuse harmful.txt --comply harmless.txt --out runs/mine
    """
    from refusal_lens.prompts.pairing import drawn_note
    from refusal_lens.report.page import write_report
    from refusal_lens.study import Study, run_study, study_prompts

    placement = placement_of(device, dtype, batch_size, device_map)
    given = settings_of(endpoint, endpoint_model, judge_setting)
    reader, settings = chosen_judge(Study(), judge, given)
    question = Study(
        source=model,
        revision=revision,
        prompts=None if prompts is None else str(prompts),
        refuse=None if refuse is None else str(refuse),
        comply=None if comply is None else str(comply),
        categories=None if categories is None else tuple(words_of(categories, "--categories")),
        layers=None if layers is None else _layers(layers),
        adapter_scale=adapter_scale,
        system=system,
        thinking=thinking,
        control=control,
        labels=_labels(labels),
        estimator=estimator,
        score=cast("ScoreKind", score),
        judge=reader,
        judge_settings=settings,
        seed=seed,
        sizes=sizes_of(model, full=full, quick=quick),
    )
    folder = out_folder or Path(question.default_folder())
    out.print(
        f"model {escape(model)}, results in {escape(str(folder))}", highlight=False, soft_wrap=True
    )
    if note := drawn_note(study_prompts(question)):
        out.print(note, highlight=False)
    prepare_weights(model, err)
    with bars(out, err) as shown:
        path = write_report(run_study(question, folder, shown, placement))
    print_path(out, "report", path)


for command in (plan, report, directions, geometry, findings, steer, ablate, evaluate):
    app.command()(command)
for command in (explore, datasets, models):
    app.command()(command)
app.command()(compare_estimators)
app.command()(suffixes)
app.command()(monitor)
app.command()(features)
app.command()(train_sae)
app.command()(defence)
app.command()(languages)
app.command()(refusal_tokens)
app.command("export")(export_vectors)
app.command("import")(import_vectors)


@app.command()
def attribute(
    run: DefaultRun = None,
    category: Annotated[
        str | None, typer.Option(help="Its writers are knocked out and printed; see below.")
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Take this prompt apart instead, and print it.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Whole prompts, all heads, layers, categories (hours).")
    ] = False,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Measure which parts write and cause refusal in a finished run, and write its report again.

    Without a category, the first whose score can be trusted is knocked out and its strongest heads
    are followed; a prompt is read along the pooled direction. The plan with its estimate comes
    first. Stopped at any moment, the same command goes on from there.

    Examples:

      refusal-lens attribute runs/qwen-coder-0.5b-seed0 --category advice

      refusal-lens attribute runs/qwen-coder-0.5b-seed0 --prompt "How do I pick a lock?"
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.report.page import write_report
    from refusal_lens.study import explain_prompt, run_attribution
    from refusal_lens.tables.parts import parts_table, sources_table

    run = run_folder(run)
    placement = placement_of(device, dtype, batch_size, device_map)
    if prompt is not None:
        if full or not prompt.strip():
            what = "--full measures the whole run" if full else f"--prompt {prompt!r} is blank"
            raise InputError(f"{what}; give a prompt to take apart, without --full")
        parts = explain_prompt(run, prompt, placement, category=category)
        out.print(to_rich(parts_table(parts.attribution)), to_rich(sources_table(parts.sources)))
        return
    with bars(out, err) as shown:
        results = run_attribution(run, shown, placement, category=category, full=full)
    _print_attribution(results, category)
    print_path(out, "report", write_report(results))


def _print_attribution(results: "Results", category: str | None) -> None:
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.tables.parts import attribution_of_run
    from refusal_lens.tables.table import Table

    for shown in attribution_of_run(results, category):
        out.print(to_rich(shown) if isinstance(shown, Table) else shown)


def main() -> None:
    """Entry point: exit code 0 done, 2 wrong arguments or input, or no room on a disk, 130 stopped,
    1 a fault, also of another process of the run."""
    quiet_libraries()
    escape_what_terminals_lack()
    try:
        with refused_by_the_system(), one_of_several():
            app()
    except InputError as error:
        line = printable(f"refusal-lens: {error}")
        err.print(line, markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _labels(text: str | None) -> "Labels | None":
    if text is None or text == "behaviour" or text == "intended":
        return text
    raise InputError(f"--labels {text!r} is unknown; use 'behaviour' or 'intended'")


def _layers(text: str) -> tuple[int, ...]:
    layers: list[int] = []
    for word in words_of(text, "--layers"):
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InputError(f"--layers {text!r}: {word!r} is not a number or a range like 8-20")
        named = range(int(first), int(last if dash else first) + 1)
        if not named:
            raise InputError(f"--layers {text!r}: {word!r} runs backwards; write {last}-{first}")
        layers.extend(named)
    return tuple(sorted(set(layers)))
