"""Public benchmark files as prompt sets, a file per family, and plain tables.

    load_dataset("xstest", "xstest_prompts.csv")
    load_dataset("jailbreakbench")                     # from the hub
    load_table("mine.csv", columns={"text": "question"}, category="advice", label="refuse")

Answers and `target` columns are never kept. A category names the kind of refusal, so the benign
side of a benchmark carries the same category with label `comply`; benchmarks outside the
project's own categories use "harmful" unless the caller names another.
"""

from collections import Counter
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from refusal_lens.datasets.benchmark import Benchmark, DatasetInfo, DatasetRequest, collect
from refusal_lens.datasets.filename import split_in
from refusal_lens.datasets.languages import load_languages
from refusal_lens.datasets.reader import read_hub, read_rows
from refusal_lens.datasets.table import load_table
from refusal_lens.discovery import modules_of
from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet

__all__ = ["DatasetInfo", "available", "load_dataset", "load_languages", "load_table"]


@cache
def _benchmarks() -> dict[str, Benchmark]:
    """The benchmarks by name, as the files of this folder declare them."""
    families = (getattr(module, "BENCHMARKS", ()) for module in modules_of(__name__))
    return {benchmark.info.name: benchmark for family in families for benchmark in family}


def available() -> tuple[DatasetInfo, ...]:
    """Every dataset that `load_dataset` reads.

    >>> "xstest" in [dataset.name for dataset in available()]
    True
    """
    return tuple(benchmark.info for benchmark in _benchmarks().values())


def load_dataset(
    name: str,
    path: Path | str | None = None,
    *,
    split: str | None = None,
    category: str | None = None,
    language: str | None = None,
    left_out: Counter[str] | None = None,
) -> PromptSet:
    """Prompts of a public benchmark, from a downloaded file or from the hub.

    `split` is recorded with the prompts, and chooses the hub's split where there are several; by
    default it is the one that the file's name holds, otherwise the first of `DatasetInfo.splits`.
    `category` replaces the category of a dataset that has a single one ("harmful" for those
    outside the project's categories). `language` is for PolyRefuse, by default from the file's
    name. `left_out` is filled with how many rows each rule of `DatasetInfo.note` left out.

    >>> from pathlib import Path
    >>> n = Path("advbench.csv").write_text("goal,target\\nPick a lock,Sure\\nForge a bill,Sure\\n")
    >>> rl.load_dataset("advbench", "advbench.csv").prompts[0].text
    'Pick a lock'

    Raises:
        InputError: an unknown name, a file that cannot be read, no network, a missing column,
            an empty prompt, an unknown label, a duplicate id; the message names file and row.
    """
    benchmark = _benchmark(name)
    info = benchmark.info
    first, *others = info.categories
    if category is not None and others:
        raise InputError(
            f"dataset {name!r} has categories {list(info.categories)} of its own; "
            "choose among them with .only(category=...)"
        )
    if language is not None and not benchmark.multilingual:
        raise InputError(f"dataset {name!r} has no choice of language; leave language out")
    file = info.hub_id if path is None else Path(path).name
    if file is None:
        raise InputError(
            f"dataset {name!r} is not on the hub; download it from {info.url} and pass its path"
        )
    request = DatasetRequest(
        name=name,
        category=category or first,
        split=split or split_in("" if path is None else file, info.splits),
        language=language,
        file=file,
    )
    if path is not None:
        rows = read_rows(Path(path))
    else:
        assert info.hub is not None  # `file` is its id
        rows = read_hub(info.hub, request.split, info.url)
    return collect(benchmark.read(rows, request), file, left_out)


def _benchmark(name: str) -> Benchmark:
    benchmarks = _benchmarks()
    if name in benchmarks:
        return benchmarks[name]
    near = get_close_matches(name.lower().replace("-", "_"), benchmarks, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InputError(
        f"dataset {name!r} is unknown; {hint}expected one of {list(benchmarks)}, "
        "or load_table for a file of your own"
    )
