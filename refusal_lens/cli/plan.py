"""The command that says what a study will cost before it runs. Argument handling only."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.placement_options import BatchSize, Dtype, placement_of
from refusal_lens.cli.study_options import Categories, Full, Quick, sizes_of, words_of


def plan(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A key of `refusal-lens models`, a folder, a .gguf file, or a hub id whose "
            "configuration is cached.",
        ),
    ],
    on: Annotated[
        str | None,
        typer.Option(help="Hardware by name, as h100; by default this machine is measured."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL file or folder; the project's own by default.")
    ] = None,
    categories: Categories = None,
    control: Annotated[
        str | None, typer.Option(help="Base model that stands beside, as in `study`.")
    ] = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
    full: Full = False,
    quick: Quick = False,
) -> None:
    """Say what a study will cost: passes, tokens, FLOPs and time per stage, and its memory.

    From the model's configuration alone: no weights are read or downloaded.

    Examples:

      refusal-lens plan qwen-coder-0.5b

      refusal-lens plan meta-llama/Llama-3.1-405B-Instruct --on h100 --full
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.study import Study
    from refusal_lens.study.planning import plan_study
    from refusal_lens.study.planning.hardware import find_hardware
    from refusal_lens.tables.plan import plan_table, whole_table

    hardware = None if on is None else find_hardware(on)
    question = Study(
        source=model,
        prompts=None if prompts is None else str(prompts),
        categories=None if categories is None else tuple(words_of(categories, "--categories")),
        control=control,
        sizes=sizes_of(model, full=full, quick=quick),
    )
    planned = plan_study(question, placement_of(None, dtype, batch_size), hardware)
    out = Console()
    out.print(to_rich(plan_table(planned)))
    out.print(to_rich(whole_table(planned)))
