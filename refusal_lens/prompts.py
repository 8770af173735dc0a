"""Prompts: `Category`, `Prompt`, `PromptSet`; JSONL in and out; digest.

One prompt a line, UTF-8 JSON. Keys: `id`, `text`, `category`, `label` ("refuse" or "comply"),
`split`, `source`; optional `pair` (a refuse-side prompt and its benign twin share it) and
`language` (default "en").
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, final, get_args

from refusal_lens.arguments import one, several
from refusal_lens.errors import InputError
from refusal_lens.resources import data_path

Label = Literal["refuse", "comply"]
LABELS: Final[tuple[Label, ...]] = get_args(Label)
SCHEMA_VERSION: Final = 1


@final
@dataclass(frozen=True)
class Category:
    """A kind of refusal: its key, the title shown to readers, what it covers, where it is from."""

    key: str
    title: str
    refuse_side: str
    twin: str
    source: str
    manner: str


@final
@dataclass(frozen=True)
class Prompt:
    """One request to a chat model; `label` is what is intended, not what a model did."""

    id: str
    text: str
    category: str
    label: Label
    split: str
    source: str
    pair: str | None = None
    language: str = "en"

    def __post_init__(self) -> None:
        _check(vars(self))


@final
@dataclass(frozen=True)
class PromptSet:
    """An ordered set of prompts with distinct ids."""

    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        several(self.prompts, Prompt, what="prompt", write="PromptSet((Prompt(...), ...))")
        double = [key for key, n in Counter(p.id for p in self.prompts).items() if n > 1]
        if double:
            raise InputError(f"prompt id {double[0]!r} stands more than once; ids must be distinct")
        sides = Counter((p.category, p.pair, p.label) for p in self.prompts if p.pair is not None)
        if twice := [key for key, n in sides.items() if n > 1]:
            category, pair, label = twice[0]
            raise InputError(
                f"pair {pair!r} of category {category!r} has more than one prompt labelled "
                f"{label!r}; a pair is one refuse-side prompt and its twin"
            )

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __repr__(self) -> str:
        return (
            f"PromptSet({len(self)} prompts, {len(self.categories)} categories, "
            f"splits {list(self.splits)}, digest {self.digest[:12]})"
        )

    @property
    def categories(self) -> tuple[str, ...]:
        """Category keys in order of first appearance."""
        return tuple(dict.fromkeys(p.category for p in self.prompts))

    @property
    def splits(self) -> tuple[str, ...]:
        """Split names in order of first appearance."""
        return tuple(dict.fromkeys(p.split for p in self.prompts))

    @property
    def ids(self) -> tuple[str, ...]:
        """Prompt ids in order."""
        return tuple(p.id for p in self.prompts)

    @property
    def digest(self) -> str:
        """SHA-256 of the prompts in order; equal exactly when every field of every prompt is."""
        lines = (json.dumps(asdict(p), sort_keys=True, ensure_ascii=False) for p in self.prompts)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def only(
        self,
        *,
        category: str | Collection[str] | None = None,
        label: Label | None = None,
        split: str | Collection[str] | None = None,
        ids: Collection[str] | None = None,
    ) -> "PromptSet":
        """The prompts that match every criterion given, in the same order.

        Raises:
            InputError: a category, split or id that the set does not hold.
        """
        wanted = {
            "category": _names(category, self.categories, "category"),
            "split": _names(split, self.splits, "split"),
            "id": _names(ids, self.ids, "id"),
            "label": None if label is None else {label},
        }
        return PromptSet(
            tuple(
                p
                for p in self.prompts
                if all(names is None or getattr(p, key) in names for key, names in wanted.items())
            )
        )

    def first(self, n_pairs: int) -> "PromptSet":
        """The first `n_pairs` pairs of each category; unpaired prompts count one by one a label."""
        taken: dict[tuple[str, str], dict[str, None]] = {}
        kept: list[Prompt] = []
        for p in self.prompts:
            side = "pair" if p.pair else p.label
            group = taken.setdefault((p.category, side), {})
            unit = p.pair or p.id
            if unit in group or len(group) < n_pairs:
                group[unit] = None
                kept.append(p)
        return PromptSet(tuple(kept))

    def shards(self, n: int) -> tuple["PromptSet", ...]:
        """The set cut into `n` of about equal size, no pair split: for machines that share work.

        Raises:
            InputError: fewer than one shard, or more than there are pairs and unpaired prompts.
        """
        units = list(dict.fromkeys(_unit(p) for p in self.prompts))
        if not 1 <= n <= len(units):
            raise InputError(f"{n} shards; expected 1 to {len(units)}, the pairs of this set")
        place = {unit: i * n // len(units) for i, unit in enumerate(units)}
        return tuple(
            PromptSet(tuple(p for p in self.prompts if place[_unit(p)] == k)) for k in range(n)
        )

    def __add__(self, other: "PromptSet") -> "PromptSet":
        """Both sets, one behind the other; raises InputError for an id that both hold."""
        return PromptSet(self.prompts + labelled(other).prompts)

    def save(self, path: Path | str) -> None:
        """Write one prompt a line (UTF-8 JSONL)."""
        lines = (json.dumps(_plain(p), ensure_ascii=False) for p in self.prompts)
        Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _unit(prompt: Prompt) -> tuple[str, str]:
    """What must stay together: a pair of a category, or a prompt by itself."""
    return (prompt.category, f"pair {prompt.pair}") if prompt.pair else ("", f"id {prompt.id}")


def load_prompts(path: Path | str | None = None) -> PromptSet:
    """Prompts of a JSONL file, or of every `*.jsonl` of a folder; by default the project's own.

    Raises:
        InputError: a missing or empty file, bad JSON, wrong encoding, a missing or unknown key,
            a duplicate id; the message names file and line.
    """
    root = data_path("prompts") if path is None else Path(path)
    if not root.exists():
        raise InputError(f"prompt file {str(root)!r} does not exist; give a JSONL file or a folder")
    files = sorted(root.glob("*.jsonl")) if root.is_dir() else [root]
    if not files:
        raise InputError(f"folder {str(root)!r} holds no .jsonl file; expected one prompt a line")
    prompts: list[Prompt] = []
    seen: dict[str, str] = {}
    for file in files:
        for number, row in read_jsonl(file):
            prompt = _prompt(row, f"{file.name}, line {number}")
            where = seen.setdefault(prompt.id, f"{file.name}, line {number}")
            if where != f"{file.name}, line {number}":
                raise InputError(
                    f"{file.name}, line {number}: id {prompt.id!r} was used in {where}; "
                    "give every prompt its own id"
                )
            prompts.append(prompt)
    return PromptSet(tuple(prompts))


def labelled(prompts: object) -> PromptSet:
    """What was given as `prompts`, if it is a prompt set: labels and categories are needed.

    Raises:
        InputError: it is something else, for example a list of strings.
    """
    return one(prompts, PromptSet, what="prompts", write="rl.load_prompts(PATH)")


def load_categories() -> dict[str, Category]:
    """The project's categories by key, in the order in which tables show them."""
    rows = json.loads(data_path("prompts", "categories.json").read_text(encoding="utf-8"))
    return {row["key"]: Category(**row) for row in rows["categories"]}


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a UTF-8 JSONL file; blank lines are passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    empty = True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        empty = False
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path.name}, line {number}: not JSON ({error.msg} at column {error.colno}); "
                "expected one JSON object a line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number}: expected a JSON object, found {row!r}")
        yield number, row
    if empty:
        raise InputError(f"{path.name} is empty; expected one prompt a line")


def _prompt(row: dict[str, Any], where: str) -> Prompt:
    known = {f.name for f in fields(Prompt)}
    required = known - {"pair", "language"}
    if missing := sorted(required - row.keys()):
        raise InputError(f"{where}: key {missing[0]!r} is missing; expected {sorted(required)}")
    if unknown := sorted(row.keys() - known):
        raise InputError(f"{where}: key {unknown[0]!r} is unknown; expected {sorted(known)}")
    try:
        _check(row)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Prompt(**row)


def _check(row: Mapping[str, object]) -> None:
    name = f"prompt {row['id']!r}"
    for key in ("id", "text", "category", "split", "source", "language"):
        value = row.get(key, "en")
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name}: {key} must be text, found {value!r}")
    pair = row.get("pair")
    if pair is not None and (not isinstance(pair, str) or not pair.strip()):
        raise InputError(f"{name}: pair must be text or absent, found {pair!r}")
    if row["label"] not in LABELS:
        raise InputError(f"{name}: label {row['label']!r} must be one of {list(LABELS)}")


def _plain(prompt: Prompt) -> dict[str, str]:
    row = asdict(prompt)
    if row["pair"] is None:
        del row["pair"]
    if row["language"] == "en":
        del row["language"]
    return row


def _names(wanted: str | Collection[str] | None, held: Iterable[str], kind: str) -> set[str] | None:
    if wanted is None:
        return None
    names = {wanted} if isinstance(wanted, str) else set(wanted)
    if unknown := sorted(names - set(held)):
        choices = list(held)[:20]
        raise InputError(f"{kind} {unknown[0]!r} is not in this prompt set; it holds {choices}")
    return names
