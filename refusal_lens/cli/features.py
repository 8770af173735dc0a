"""`refusal-lens features` and `refusal-lens train-sae`: sparse autoencoders and refusal."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from refusal_lens.cli.placement_options import BatchSize, Device, DeviceMap, Dtype, placement_of
from refusal_lens.cli.progress import bars
from refusal_lens.cli.run_options import (
    BUILT_IN,
    DefaultRun,
    check_unused,
    print_path,
    run_folder,
)
from refusal_lens.errors import InputError

if TYPE_CHECKING:  # the packages behind it take seconds to import
    from refusal_lens.sparse import TopKStep

out = Console()
err = Console(stderr=True)


def features(
    run: DefaultRun = None,
    sae: Annotated[
        str | None,
        typer.Option(
            help="Folder in SAELens' format; by default the run's last one, at first the one "
            "shipped for the model, which 'built-in' gives again."
        ),
    ] = None,
    device: Device = None,
    dtype: Dtype = None,
    device_map: DeviceMap = None,
    batch_size: BatchSize = None,
) -> None:
    """Find latents of a sparse autoencoder that go with refusal, and write the report again.

    A latent is listed where it fires more on refused than on answered prompts of a category, beyond
    permuted verdicts. Those in most categories are ablated, with the autoencoder's error kept,
    beside other latents of equal firing rate. Stopped at any moment, the same command goes on.

    Examples:

      refusal-lens features

      refusal-lens features runs/mine --sae my-sae
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.report.page import write_report
    from refusal_lens.sparse.shipped import shipped_folder
    from refusal_lens.study import run_features
    from refusal_lens.study.run import study_of
    from refusal_lens.study.stages.feature_effects import EFFECTS
    from refusal_lens.study.stages.features import CARDS
    from refusal_lens.tables.features import cards_table, feature_effects_table

    run = run_folder(run)
    placement = placement_of(device, dtype, batch_size, device_map)
    chosen = shipped_folder(study_of(run).source) if sae == BUILT_IN else sae
    with bars(out, err) as shown:
        results = run_features(run, shown, placement, sae=chosen)
    if (cards := results.find(CARDS)) is not None:
        out.print(to_rich(cards_table(cards)))
    if (effects := results.find(EFFECTS)) is not None:
        out.print(to_rich(feature_effects_table(effects)))
    print_path(out, "report", write_report(results))


def train_sae(
    out_folder: Annotated[
        Path, typer.Option("--out", help="Folder that is written in SAELens' format.")
    ],
    layer: Annotated[int, typer.Option(help="Its input is what the autoencoder is trained on.")],
    model: Annotated[
        str, typer.Option(help="A key of `refusal-lens models`, a hub id, or a folder.")
    ] = "qwen-coder-0.5b",
    text: Annotated[
        list[Path] | None,
        typer.Option(help="A book or other running text, UTF-8; give it several times."),
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL file or folder; the project's `adapt` split if none.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="Folder for text and residuals; <out>.work by default.")
    ] = None,
    latents: Annotated[int, typer.Option(help="Size of the dictionary.")] = 2048,
    k: Annotated[int, typer.Option(help="Latents per token.")] = 32,
    epochs: Annotated[int, typer.Option(help="Passes over the tokens.")] = 5,
    book_tokens: Annotated[
        int | None, typer.Option(help="Tokens of the books of --text, at most; 120,000 by default.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Pieces of the model's own running text.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of samples and training.")] = 0,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
) -> None:
    """Train a small top-k sparse autoencoder on a model's residuals.

    On prompts as the model reads them, its own answers to benign ones, its own running text, and
    the books given. Stopped at any moment, the same command goes on from the last part read.

    Examples:

      refusal-lens train-sae --layer 18 --out my-sae --text novel.txt --text essays.txt
    """
    from refusal_lens.cli.progress import prepare_weights
    from refusal_lens.model import load_model
    from refusal_lens.prompts.files import load_prompts
    from refusal_lens.sites import Site
    from refusal_lens.sparse import SaeJob, TextSizes, TopKRecipe, train_sae
    from refusal_lens.sparse.train import MEASURES

    asked = load_prompts(None).only(split="adapt") if prompts is None else load_prompts(prompts)
    recipe = TopKRecipe(latents=latents, k=k, epochs=epochs, seed=seed)
    folder = _work_beside(out_folder) if work is None else work
    if not text:
        check_unused({"--book-tokens": book_tokens}, "no book is read", "give books by --text")
    sizes = TextSizes(samples=samples, seed=seed)
    sizes = sizes if book_tokens is None else replace(sizes, book_tokens=book_tokens)
    job = SaeJob(Site(layer), folder, tuple(text or ()), sizes, recipe)
    prepare_weights(model, err)
    loaded = load_model(model, placement=placement_of(device, dtype, batch_size))
    sae = train_sae(loaded, asked, job, out_folder, progress=_lines("rows"), record=_steps)
    out.print(
        f"{escape(sae.name)}: {escape(str(out_folder / MEASURES))}", highlight=False, soft_wrap=True
    )


def _work_beside(out_folder: Path) -> Path:
    if out_folder.name in ("", ".."):
        raise InputError(
            f"--out {str(out_folder)!r} has no name, after which the folder for text and residuals "
            "would be called; name a folder, or give --work, too"
        )
    return out_folder.with_name(out_folder.name + ".work")


def _lines(what: str) -> Callable[[int], None]:
    """A line to the error stream for every thousand that are done."""
    done = 0

    def tick(n: int) -> None:
        nonlocal done
        if done // 1000 < (done + n) // 1000:
            err.print(f"{done + n} {what}")
        done += n

    return tick


def _steps(step: "TopKStep") -> None:
    if step.step % 100 == 0 or step.step == step.of:
        err.print(
            f"step {step.step} of {step.of}: {step.unexplained:.3f} of variance left, "
            f"{step.dead} dead"
        )
