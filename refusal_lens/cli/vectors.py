"""Commands that bring directions in and out of other projects' files. Argument handling only."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from refusal_lens.cli.run_options import print_path

out = Console()


def export_vectors(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help=".gguf (llama.cpp), .safetensors (steering-vectors), .svec (IBM)."
        ),
    ],
    category: Annotated[str, typer.Option(help="A category's key, or 'pooled'.")] = "pooled",
    run: Annotated[
        Path | None, typer.Option(help="Run folder with the directions; the default study's.")
    ] = None,
) -> None:
    """Write a direction at every layer, with its lengths, in a format of another project.

    A vector stands at the output of its block; positive points towards refusal. For research: no
    model's weights are written.

    Example: refusal-lens export refusal.gguf --category pooled
    """
    from refusal_lens.directions.formats import export_directions
    from refusal_lens.study import Results, Study
    from refusal_lens.study.finished import directions_of

    results = Results.open(run or Study().default_folder())
    export_directions(directions_of(results, category), path, category)
    print_path(out, "written", path)


def import_vectors(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help=".gguf, .safetensors, .svec, or Arditi's .pt files."),
    ],
    stem: Annotated[
        Path, typer.Argument(metavar="STEM", help="Written are STEM.json and STEM.safetensors.")
    ],
    category: Annotated[
        str | None, typer.Option(help="What to call the direction; the file's name by default.")
    ] = None,
) -> None:
    """Read another project's vectors and save them as a set of directions.

    In Python: DirectionSet.load(STEM).at_site(category, Site(l, "resid_post"))

    Example: refusal-lens import runs/gemma-2b-it/direction.pt gemma --category refusal
    """
    from refusal_lens.directions.formats import import_directions

    directions = import_directions(path, category=category)
    directions.save(stem)
    sites = ", ".join(str(site) for site in directions.sites)
    out.print(f"{directions.categories[0]}: {sites}", markup=False, highlight=False)
    print_path(out, "written", f"{stem}.json")
