"""`refusal-lens refusal-tokens`: what the first token of an answer decides."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from refusal_lens.cli.judge_options import (
    EndpointModel,
    JudgeEndpoint,
    JudgeName,
    JudgeSetting,
    settings_of,
)
from refusal_lens.cli.placement_options import BatchSize, Device, Dtype, placement_of
from refusal_lens.cli.progress import prepare_weights
from refusal_lens.cli.run_options import print_path
from refusal_lens.errors import InputError

if TYPE_CHECKING:  # the packages behind it take seconds to import
    from refusal_lens.model import LensModel
    from refusal_lens.placement import Placement
    from refusal_lens.study.refusal_tokens import OtherModel

out = Console()
err = Console(stderr=True)


def refusal_tokens(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="A folder or hub id of a model with refusal tokens.",
        ),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="TOML or JSON that names the tokens: respond and [refuse].")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for records and page.")] = Path(
        "runs/refusal-tokens"
    ),
    adapter: Annotated[
        Path | None,
        typer.Option(help="Instead of MODEL: an adapter of the small model, with tokens.json."),
    ] = None,
    control: Annotated[
        str | None, typer.Option(help="A model without tokens, such as MODEL's base.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="JSONL file or folder; the project's own by default.")
    ] = None,
    judge: JudgeName = None,
    endpoint: JudgeEndpoint = None,
    endpoint_model: EndpointModel = None,
    judge_setting: JudgeSetting = None,
    quick: Annotated[bool, typer.Option("--quick", help="Few prompts: minutes.")] = False,
    device: Device = None,
    dtype: Dtype = None,
    batch_size: BatchSize = None,
) -> None:
    """Measure refusal tokens: threshold, bias, the direction beside them, what training carved.

    Answers of such a model begin with a token that answers or one that refuses in a category
    (arXiv 2412.06748). Without MODEL and --adapter it is the small model with the adapter that
    comes with the project. Stopped at any moment, the same command goes on from there.

    Examples:

      refusal-lens refusal-tokens

      refusal-lens refusal-tokens my/model --tokens my/tokens.toml --control my/base

      refusal-lens refusal-tokens --adapter my/adapter --quick
    """
    from refusal_lens.cli.screen import to_rich
    from refusal_lens.embedded.registry import SMALL
    from refusal_lens.judges.registry import DEFAULT, make_judge
    from refusal_lens.model import load_model
    from refusal_lens.prompts.files import load_prompts
    from refusal_lens.refusal_tokens.names import load_tokens
    from refusal_lens.report.refusal_tokens import in_words, write_tokens_page
    from refusal_lens.resources import data_path
    from refusal_lens.study.refusal_tokens import QUICK, Asked, TokenSizes, run_refusal_tokens
    from refusal_lens.tables.refusal_tokens import token_summary_table

    placement = placement_of(device, dtype, batch_size)
    if model is not None and adapter is not None:
        raise InputError(
            f"found both MODEL {model!r} and --adapter {str(adapter)!r}: give a MODEL with "
            "--tokens, or an adapter of the small model"
        )
    if model is not None and tokens is None:
        raise InputError(f"{model!r} needs --tokens FILE, which names its refusal tokens")
    given = settings_of(endpoint, endpoint_model, judge_setting)
    reader = make_judge(judge or DEFAULT, given, placement=placement)
    if model is None:
        adapter = adapter or data_path("refusal_tokens")
        prepare_weights(SMALL, err)
        loaded = load_model(SMALL, adapter=adapter, placement=placement)
    else:
        loaded = load_model(model, placement=placement)
    named = load_tokens(tokens or adapter or "", loaded.chat.tokenizer)
    asked = Asked(
        QUICK if quick else TokenSizes(),
        _others(model, control, loaded, placement),
        lambda line: err.print(line, markup=False, highlight=False),
        planted=model is None,
    )
    run = run_refusal_tokens(loaded, named, load_prompts(prompts), reader, out_folder, asked)
    out.print(to_rich(token_summary_table(run.roc)))
    for sentence in in_words(run):
        out.print(sentence, markup=False, highlight=False)
    print_path(out, "page", write_tokens_page(run))


def _others(
    model: str | None, control: str | None, loaded: "LensModel", placement: "Placement"
) -> "dict[str, OtherModel]":
    """The models without tokens that stand beside it."""
    from refusal_lens.embedded.registry import SMALL
    from refusal_lens.model import load_control, load_model
    from refusal_lens.model.source_digest import source_digest
    from refusal_lens.study.refusal_tokens import OtherModel

    if control is not None:
        load = partial(load_control, control, loaded, placement=placement)
        return {"control": OtherModel(load, source_digest(control))}
    if model is not None:
        return {}
    base = partial(load_model, SMALL, adapter_scale=0.0, placement=placement)
    plain = partial(load_model, SMALL, placement=placement)
    return {
        "base": OtherModel(base),
        "planted without tokens": OtherModel(plain),
    }
