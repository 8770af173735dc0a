"""Where the prompts of a set stand on the axes of tensors and statistics."""

from collections import Counter
from os.path import commonprefix

import torch
from jaxtyping import Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.prompts import LABELS, PromptSet, labelled
from refusal_lens.records import Provenance


def index_axes(prompts: PromptSet) -> tuple[Int64[Tensor, " prompt"], Int64[Tensor, " prompt"]]:
    """Each prompt's index on the category axis and on the label axis.

    >>> category, label = index_axes(prompts.only(category="advice").first(1))
    >>> category, label
    (tensor([0, 0]), tensor([0, 1]))
    """
    labelled(prompts)
    index = {name: i for i, name in enumerate(prompts.categories)}
    category = torch.tensor([index[p.category] for p in prompts])
    return category, torch.tensor([LABELS.index(p.label) for p in prompts])


def pair_rows(prompts: PromptSet) -> Int64[Tensor, "pair 2"]:
    """Rows (refuse, comply) of each pair in the order of `PromptSet.pairs`.

    >>> pair_rows(prompts.only(category="advice").first(2))
    tensor([[0, 1],
            [2, 3]])
    """
    row = {key: i for i, key in enumerate(labelled(prompts).ids)}
    rows = [(row[refuse.id], row[comply.id]) for refuse, comply in prompts.pairs()]
    return torch.tensor(rows, dtype=torch.int64).reshape(-1, 2)


def half_pairs(prompts: PromptSet) -> tuple[str, ...]:
    """Pairs of which one side alone is in the set, as their `Prompt.unit_name`.

    >>> half_pairs(prompts.only(category="advice", label="refuse").first(1))
    ('advice/advice-1',)
    """
    sides = Counter(p.unit for p in prompts)
    half = [p for p in prompts if p.pair is not None and sides[p.unit] < len(LABELS)]
    return tuple(p.unit_name for p in half)


def check_read_alike(ours: Provenance, theirs: Provenance, what: str) -> None:
    """Parts of one whole are read from one model, in one precision, template and under one edit.

    `what` names the parts and what can't be done with them, for the message.

    >>> check_read_alike(model.provenance(), model.provenance(), "residuals can't be joined")

    Raises:
        InputError: the two differ in one of these.
    """
    for name in ("model_digest", "dtype", "template_digest", "rendered_prefix", "edits"):
        a, b = getattr(ours, name), getattr(theirs, name)
        if a != b:
            start = max(0, len(commonprefix([a, b])) - 20)
            raise InputError(
                f"{what}, as {ours.model} and {theirs.model} differ in {name} "
                f"({a[start:][:60]!r} and {b[start:][:60]!r}); read all of it from one model, "
                "under the same edits"
            )
