"""`PromptSet`: prompts with distinct ids, and a digest. Files are read in `files`."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, final

from refusal_lens.arguments import one, several
from refusal_lens.errors import InputError
from refusal_lens.files import write_atomic
from refusal_lens.prompts.dataframes import check_all_or_none, column_names, frame_rows
from refusal_lens.prompts.dealing import splits_dealt
from refusal_lens.prompts.notebook import prompts_html
from refusal_lens.prompts.prompt import FIELDS, row_of
from refusal_lens.prompts.prompt import LABELS as LABELS
from refusal_lens.prompts.prompt import Category as Category
from refusal_lens.prompts.prompt import Label as Label
from refusal_lens.prompts.prompt import Prompt as Prompt
from refusal_lens.prompts.prompt import prompt_of as prompt_of
from refusal_lens.prompts.turns import read_messages

SHARES: Final[Mapping[str, float]] = MappingProxyType({"train": 0.6, "val": 0.15, "test": 0.25})
"""How `PromptSet.resplit` deals prompts out by default."""


@final
@dataclass(frozen=True)
class PromptSet:
    """An ordered set of prompts with distinct ids.

    >>> prompts = rl.PromptSet.from_texts(["Pick a lock?"], ["Bake bread?"])
    >>> prompts.categories, [p.label for p in prompts]
    (('prompts',), ['refuse', 'comply'])
    >>> prompts.save("prompts.jsonl")
    >>> rl.load_prompts("prompts.jsonl").digest == prompts.digest
    True
    """

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

    @classmethod
    def from_texts(
        cls,
        refuse: Iterable[str | Sequence[Any]],
        comply: Iterable[str | Sequence[Any]],
        *,
        category: str = "prompts",
        seed: int = 0,
    ) -> "PromptSet":
        """Two plain lists: what should be refused, and what should be answered.

        An item is a text, or a conversation as chat messages, which ends with the user's turn.
        Dealt out over the splits by `resplit`. Prompts of the two lists are no pairs.

        >>> lists = ["Pick a lock?", "Forge a bill?"], ["Bake bread?", "Fix a tap?"]
        >>> PromptSet.from_texts(*lists).ids[:2]
        ('prompts-refuse-1', 'prompts-refuse-2')
        """
        write = 'PromptSet.from_texts(["first?", ...], ["second?", ...])'
        prompts: list[Prompt] = []
        for label, texts in zip(LABELS, (refuse, comply), strict=True):
            items = texts if isinstance(texts, str | Mapping) else tuple(texts)
            checked = items if isinstance(items, str | Mapping) else _texts_among(items)
            several(checked, str, what="text", write=write)
            for i, item in enumerate(items, 1):
                key = f"{category}-{label}-{i}"
                before, text = (), item
                if not isinstance(item, str):
                    before, text = read_messages(item, f"{label} prompt {i}")
                row = (key, str(text), category, label, "train", "from_texts")
                prompts.append(Prompt(*row, before=before))
        return cls(tuple(prompts)).resplit(seed=seed)

    @classmethod
    def from_dataframe(
        cls,
        frame: Any,
        *,
        columns: Mapping[str, str] | None = None,
        labels: Mapping[Any, Label] | None = None,
        category: str = "prompts",
        seed: int = 0,
    ) -> "PromptSet":
        """One prompt per row of a table: pandas, polars, pyarrow, datasets, or a dict of lists.

        Columns are a prompt's fields; `text` (or chat `messages`) and `label` are needed. `columns`
        names those that are called otherwise, `labels` translates what stands in the label column.
        Without a `category` column all rows are of `category`; without `id`, rows are numbered;
        without `split`, prompts are dealt out by `resplit`. A column of categories or splits has a
        value in every row.

        >>> table = {"prompt": ["Pick a lock?", "Bake bread?"], "harmful": [1, 0]}
        >>> names = {"text": "prompt", "label": "harmful"}
        >>> PromptSet.from_dataframe(table, columns=names, labels={1: "refuse", 0: "comply"}).ids
        ('prompts-1', 'prompts-2')

        Raises:
            InputError: no table, a column that is not there, or a row that is no prompt.
        """
        named = dict(columns or {})
        asked = "messages" if "messages" in {*named, *column_names(frame)} - {"text"} else "text"
        rows = frame_rows(frame, (asked, "label"), FIELDS, named)
        check_all_or_none(rows, ("category", "split"))
        prompts = tuple(
            prompt_of(
                {"id": f"{category}-{i}", "category": category, "split": "train"}
                | {"source": "from_dataframe"}
                | row
                | {"label": (labels or {}).get(row.get("label"), row.get("label"))},
                f"row {i} of the table",
            )
            for i, row in enumerate(rows, 1)
        )
        dealt = not rows or "split" not in rows[0]
        return cls(prompts).resplit(seed=seed) if dealt else cls(prompts)

    def __len__(self) -> int:
        return len(self.prompts)

    def __iter__(self) -> Iterator[Prompt]:
        return iter(self.prompts)

    def __repr__(self) -> str:
        return (
            f"PromptSet({len(self)} prompts, {len(self.categories)} categories, "
            f"splits {list(self.splits)}, digest {self.digest[:12]})"
        )

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        return prompts_html(self)

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
        """SHA-256 of the prompts in order; equal exactly when every field of every prompt is.

        >>> prompts.digest == prompts.only(split="train").digest
        False
        """
        # A prompt of one turn has the digest that it had before there were several.
        rows = ({k: v for k, v in asdict(p).items() if k != "before" or v} for p in self.prompts)
        lines = (json.dumps(row, sort_keys=True, ensure_ascii=False) for row in rows)
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

        >>> len(prompts.only(category="advice", label="refuse", split="test"))
        2

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

    def pairs(self) -> tuple[tuple[Prompt, Prompt], ...]:
        """Each refuse-side prompt with its matched benign one, in the order of the refuse side.

        Category and pair name together identify a pair: one name in two categories is two pairs.
        Prompts without a pair name are left out, and pairs of which one side is not in the set.

        >>> prompts.pairs()[0][0].id, prompts.pairs()[0][1].id
        ('advice-1-refuse', 'advice-1-comply')
        """
        benign = {p.unit: p for p in self.prompts if p.label == "comply"}
        refuse = [p for p in self.prompts if p.label == "refuse" and p.unit in benign]
        return tuple((p, benign[p.unit]) for p in refuse)

    def first(self, n_pairs: int) -> "PromptSet":
        """The first `n_pairs` pairs of each category, and as many unpaired prompts of each label.

        >>> len(prompts.first(1))  # a pair in each of three categories
        6
        """
        taken: dict[tuple[str, str], dict[tuple[str, str], None]] = {}
        kept: list[Prompt] = []
        for p in self.prompts:
            side = "pair" if p.pair else p.label
            group = taken.setdefault((p.category, side), {})
            unit = p.unit
            if unit in group or len(group) < n_pairs:
                group[unit] = None
                kept.append(p)
        return PromptSet(tuple(kept))

    def resplit(self, shares: Mapping[str, float] = SHARES, *, seed: int = 0) -> "PromptSet":
        """The same prompts with splits dealt out anew, pairs whole, categories and sides alike.

        Prompts that say the same, and what is paired with them, are dealt out as one.

        >>> len(prompts.resplit({"train": 0.5, "test": 0.5}).only(split="test"))
        18

        Raises:
            InputError: shares that don't add up to 1, or so many prompts that say the same that a
                split is left without any.
        """
        if abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values(), default=0) < 0:
            raise InputError(f"shares {dict(shares)} of the splits; expected parts of 1")
        split_of = splits_dealt(self.prompts, shares, seed)
        return PromptSet(tuple(replace(p, split=split_of[p.unit]) for p in self.prompts))

    def shards(self, n: int) -> tuple["PromptSet", ...]:
        """The set cut into `n` of about equal size, no pair split: for machines that share work.

        >>> [len(shard) for shard in prompts.shards(2)]
        [18, 18]

        Raises:
            InputError: fewer than one shard, or more than there are pairs and unpaired prompts.
        """
        units = list(dict.fromkeys(p.unit for p in self.prompts))
        if not 1 <= n <= len(units):
            raise InputError(f"{n} shards; expected 1 to {len(units)}, the pairs of this set")
        place = {unit: i * n // len(units) for i, unit in enumerate(units)}
        return tuple(
            PromptSet(tuple(p for p in self.prompts if place[p.unit] == k)) for k in range(n)
        )

    def __add__(self, other: "PromptSet") -> "PromptSet":
        """Both sets, one behind the other; raises InputError for an id that both hold."""
        return PromptSet(self.prompts + labelled(other).prompts)

    def save(self, path: Path | str) -> None:
        """Write one prompt per line (UTF-8 JSONL).

        >>> prompts.save("mine.jsonl")
        >>> rl.load_prompts("mine.jsonl").digest == prompts.digest
        True

        Raises:
            InputError: no file can be written there.
        """
        lines = (json.dumps(row_of(p), ensure_ascii=False) for p in self.prompts)
        write_atomic(Path(path), ("\n".join(lines) + "\n").encode())


def _texts_among(items: Sequence[Any]) -> list[Any]:
    """What is not a conversation, and must be a text."""
    return [item for item in items if not isinstance(item, list | tuple)]


def labelled(prompts: object) -> PromptSet:
    """What was given as `prompts`, if it is a prompt set: labels and categories are needed.

    >>> labelled(prompts) is prompts
    True

    Raises:
        InputError: it is something else, for example a list of strings.
    """
    return one(prompts, PromptSet, what="prompts", write="rl.load_prompts(PATH)")


def _names(
    wanted: str | Collection[str] | None, available: Iterable[str], kind: str
) -> set[str] | None:
    if wanted is None:
        return None
    names = {wanted} if isinstance(wanted, str) else set(wanted)
    if unknown := sorted(names - set(available)):
        choices = list(available)[:20]
        raise InputError(f"{kind} {unknown[0]!r} is not in this prompt set; it holds {choices}")
    return names
