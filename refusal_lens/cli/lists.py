"""Commands that list what there is: models and public prompt sets. Argument handling only."""

from rich.console import Console
from rich.table import Table

out = Console()


def datasets() -> None:
    """List the public prompt sets that can be loaded, with their labels and licences.

    Load one in Python: refusal_lens.datasets.load_dataset("xstest", "xstest_prompts.csv")
    """
    from refusal_lens.datasets import available

    table = Table()
    for heading in ("name", "title", "from the hub", "licence"):
        table.add_column(heading, overflow="fold")
    for info in available():
        hub = "local file only" if info.hub_id is None else info.hub_id
        table.add_row(info.name, info.title, hub + (" (gated)" if info.gated else ""), info.licence)
    out.print(table)


def models() -> None:
    """List the models that can be studied without a hub, and what else can be named."""
    from refusal_lens.embedded.folder import ready_folder
    from refusal_lens.embedded.registry import EMBEDDED_MODELS, SMALL, STUDIED

    table = Table()
    for heading in ("key", "model, and what it is for", "weights"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "key")
    for m in EMBEDDED_MODELS:
        here = "here" if ready_folder(m.weights) is not None else "fetched when first loaded"
        size = f"{m.weights.tensors_bytes / 1e9:.1f} GB on disk"
        table.add_row(m.key, f"{m.title}: {m.purpose}", f"{m.licence}, {size}, {here}")
    out.print(table)
    note = f"`refusal-lens study` studies {STUDIED}; `load_model()` loads {SMALL}."
    out.print(note, markup=False)
    out.print(
        "Also: a hub id of any chat model that TransformerLens bridges, a Hugging Face folder, a "
        ".gguf file; each needs a chat template.",
        markup=False,
    )
