"""`Residuals`: the residual stream of prompts, with what each axis of the tensor is."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.errors import InputError
from refusal_lens.prompts import Label, Prompt, PromptSet, labelled
from refusal_lens.records import Provenance
from refusal_lens.residuals.axes import check_read_alike, half_pairs, index_axes, pair_rows
from refusal_lens.residuals.stats import ResidualStats, StatsAccumulator
from refusal_lens.residuals.storage import StoredAxes, open_folder, write_folder
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False, repr=False)
class Residuals:
    """Residuals of prompts at chosen offsets and sites, with the prompts that they are of.

    `tensor` is [prompt, offset, site, d_model], float32 on the CPU, in memory or memory-mapped from
    a folder (`load`). `prompts` holds categories, labels and pairs; it is None for plain texts,
    which are named by their place, "1" the first. `LensModel.residuals` makes them.

    >>> residuals = model.residuals(prompts)
    >>> residuals
    Residuals(36 prompts, 3 categories x 1 offsets x 3 sites x d_model 32; ...)
    >>> residuals.only(category="advice", label="refuse").at(rl.Site(2), -1).shape
    torch.Size([6, 32])

    Raises:
        InputError: the tensor's shape is not that of ids, offsets and sites, or an id twice.
    """

    tensor: Float[Tensor, "prompt offset site d_model"]
    ids: tuple[str, ...]
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    provenance: Provenance
    prompts: PromptSet | None = None

    def __post_init__(self) -> None:
        one(
            self.tensor, Tensor, what="the tensor of residuals", write="Residuals(tensor, ids, ...)"
        )
        expected = (len(self.ids), len(self.offsets), len(self.sites))
        if self.tensor.dim() != 4 or self.tensor.shape[:3] != expected:
            raise InputError(
                f"residuals have shape {list(self.tensor.shape)}; expected {expected[0]} prompts x "
                f"{expected[1]} offsets x {expected[2]} sites x d_model"
            )
        if len(set(self.ids)) < len(self.ids):
            raise InputError("residuals hold a prompt id more than once; ids must be distinct")
        if self.prompts is not None and self.prompts.ids != self.ids:
            raise InputError("the ids of residuals are not those of their prompts, in their order")

    @classmethod
    def of(
        cls,
        tensor: Float[Tensor, "prompt offset site d_model"],
        prompts: PromptSet | Sequence[str | Prompt],
        *,
        sites: Sequence[Site],
        offsets: Sequence[int],
        provenance: Provenance,
    ) -> "Residuals":
        """The residuals of prompts, whose digest goes into the provenance.

        Labels are kept of a `PromptSet`, and of a sequence of `Prompt`s with distinct ids.

        >>> import torch
        >>> made = model.residuals(["Why?"]).provenance
        >>> axes = {"sites": [rl.Site(2)], "offsets": [-1], "provenance": made}
        >>> rl.Residuals.of(torch.zeros(2, 1, 1, 32), ["Why?", "Who?"], **axes).ids
        ('1', '2')
        """
        rows = tuple(prompts)
        asked = tuple(p for p in rows if isinstance(p, Prompt))
        whole = prompts if isinstance(prompts, PromptSet) else None
        if whole is None and len({p.id for p in asked}) == len(rows):
            whole = PromptSet(asked)
        ids = tuple(map(str, range(1, len(rows) + 1))) if whole is None else whole.ids
        digest = "none" if whole is None else whole.digest
        made = replace(provenance, prompts_digest=digest)
        return cls(tensor, ids, tuple(sites), tuple(offsets), made, whole)

    @classmethod
    def join(cls, parts: Iterable["Residuals"]) -> "Residuals":
        """The prompts of all parts, one part behind the other.

        >>> halves = [model.residuals(shard) for shard in prompts.shards(2)]
        >>> len(rl.Residuals.join(halves))
        36

        Raises:
            InputError: no part, or parts that differ in sites, offsets, model, precision, template,
                edits or the kind of prompts.
        """
        whole = several(parts, Residuals, what="residuals", write="Residuals.join([a, b])")
        if not whole:
            raise InputError("no residuals to join; expected one part or more")
        first = whole[0]
        for part in whole[1:]:
            for name in ("sites", "offsets"):
                if getattr(part, name) != getattr(first, name):
                    raise InputError(f"residuals with different {name} can't be joined")
            check_read_alike(
                first.provenance, part.provenance, "residuals of two models can't be joined"
            )
        prompts = PromptSet(tuple(p for part in whole for p in part.labelled))
        return cls.of(
            torch.cat([part.tensor for part in whole]),
            prompts,
            sites=first.sites,
            offsets=first.offsets,
            provenance=first.provenance,
        )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        n, n_offsets, n_sites, width = self.tensor.shape
        kind = "unlabelled"
        if self.prompts is not None:
            kind = f"{len(self.prompts.categories)} categories"
        return (
            f"Residuals({n} prompts, {kind} x {n_offsets} offsets x {n_sites} sites x d_model "
            f"{width}; {self.sites[0]} to {self.sites[-1]}, offsets {list(self.offsets)}, "
            f"{self.provenance.model})"
        )

    @property
    def labelled(self) -> PromptSet:
        """The prompts with their labels, categories and pairs.

        Raises:
            InputError: these are residuals of plain texts.
        """
        if self.prompts is None:
            raise InputError(
                f"these {len(self)} residuals are of plain texts, without labels and categories, "
                "which are needed here; read a prompt set: "
                "model.residuals(PromptSet.from_texts(refuse, comply))"
            )
        return self.prompts

    def at(self, site: Site, offset: int = -1) -> Float[Tensor, "prompt d_model"]:
        """Residuals of every prompt at one site and offset, in the order of `ids`; a view.

        >>> model.residuals(prompts).at(rl.Site(2)).shape
        torch.Size([36, 32])

        Raises:
            InputError: a site or offset that is not here.
        """
        self._check_axes([site], [offset])
        return self.tensor[:, self.offsets.index(offset), self.sites.index(site)]

    def select(
        self, *, sites: Sequence[Site] | None = None, offsets: Sequence[int] | None = None
    ) -> "Residuals":
        """The same prompts at some of the sites and offsets, in the order asked for.

        >>> model.residuals(prompts).select(sites=[rl.Site(2)]).tensor.shape
        torch.Size([36, 1, 1, 32])

        Raises:
            InputError: a site or offset that is not here.
        """
        kept_sites = self.sites if sites is None else tuple(sites)
        kept_offsets = self.offsets if offsets is None else tuple(offsets)
        self._check_axes(kept_sites, kept_offsets)
        tensor = self.tensor
        if kept_offsets != self.offsets:
            tensor = tensor[:, [self.offsets.index(o) for o in kept_offsets]]
        if kept_sites != self.sites:
            tensor = tensor[:, :, [self.sites.index(s) for s in kept_sites]]
        return replace(self, tensor=tensor, sites=kept_sites, offsets=kept_offsets)

    def only(
        self,
        *,
        ids: Collection[str] | None = None,
        prompts: PromptSet | None = None,
        category: str | Collection[str] | None = None,
        label: Label | None = None,
    ) -> "Residuals":
        """The residuals of the prompts that match every criterion given, in the same order.

        With `prompts` they come in the order of that set, with its labels, categories and pairs: a
        set that was relabelled, for example by what the model did, relabels the residuals.

        >>> model.residuals(prompts).only(category="advice", label="refuse").tensor.shape
        torch.Size([6, 1, 3, 32])

        Raises:
            InputError: a prompt, id or category that is not here; a criterion that needs labels
                where there are none.
        """
        if ids is not None:
            ids = {ids} if isinstance(ids, str) else set(ids)
            self._check_ids(ids)
        if self.prompts is None and prompts is None and category is None and label is None:
            return self._take(tuple(key for key in self.ids if ids is None or key in ids), None)
        kept = self.labelled if prompts is None else labelled(prompts)
        self._check_ids(kept.ids)
        kept = kept.only(category=category, label=label, ids=ids)
        return self._take(kept.ids, kept)

    def pooled(self) -> "Residuals":
        """All categories taken together as one, called "pooled"; pairs stay pairs.

        >>> model.residuals(prompts).pooled().labelled.categories
        ('pooled',)

        Raises:
            InputError: residuals of plain texts.
        """
        prompts = PromptSet(
            tuple(replace(p, category="pooled", pair=p.pair and p.unit_name) for p in self.labelled)
        )
        return replace(self, prompts=prompts)

    def stats(self) -> ResidualStats:
        """Their sums by category and label, as `LensModel.residual_stats` streams them.

        >>> model.residuals(prompts.only(split="test")).stats().count  # category x (refuse, comply)
        tensor([[2, 2],
                [2, 2],
                [2, 2]])

        Raises:
            InputError: residuals of plain texts.
        """
        prompts = self.labelled
        width = self.tensor.shape[-1]
        accumulator = StatsAccumulator(prompts.categories, self.sites, self.offsets, width)
        (category, label), pairs = index_axes(prompts), pair_rows(prompts)
        place = torch.zeros_like(category)
        for c in range(len(prompts.categories)):  # float64 copies of one category at a time
            rows = (category == c).nonzero().squeeze(1)
            place[rows] = torch.arange(len(rows))
            inside = place[pairs[category[pairs[:, 0]] == c]]
            accumulator.update(self.tensor[rows], category[rows], label[rows], inside)
        return accumulator.finish(self.provenance, half_pairs=half_pairs(prompts))

    def save(self, folder: Path | str) -> None:
        """Write them to a folder, from which `load` memory-maps them.

        >>> model.residuals(prompts).save("residuals")
        """
        axes = StoredAxes(self.ids, self.sites, self.offsets, self.provenance, self.prompts)
        write_folder(folder, self.tensor, axes)

    @classmethod
    def load(cls, folder: Path | str) -> "Residuals":
        """Open what `save` wrote; a slice is read from disk when it is used.

        >>> model.residuals(prompts).save("residuals")
        >>> rl.Residuals.load("residuals").tensor.shape
        torch.Size([36, 1, 3, 32])

        Raises:
            InputError: a missing or damaged file.
        """
        tensor, axes = open_folder(folder)
        return cls(tensor, axes.ids, axes.sites, axes.offsets, axes.provenance, axes.prompts)

    def _take(self, ids: tuple[str, ...], prompts: PromptSet | None) -> "Residuals":
        row = {key: i for i, key in enumerate(self.ids)}
        tensor = self.tensor if ids == self.ids else self.tensor[[row[key] for key in ids]]
        made = self.provenance
        if prompts is not None:
            made = replace(made, prompts_digest=prompts.digest)
        return replace(self, tensor=tensor, ids=ids, prompts=prompts, provenance=made)

    def _check_ids(self, ids: Iterable[str]) -> None:
        known = set(self.ids)
        if missing := [key for key in ids if key not in known]:
            raise InputError(
                f"prompt {missing[0]!r} is not among the {len(self)} of these residuals; read the "
                "residuals of it too"
            )

    def _check_axes(self, sites: Sequence[Site], offsets: Sequence[int]) -> None:
        several(sites, Site, what="site", write="Site(15)")
        for axis, asked, known in (
            ("site", sites, self.sites),
            ("offset", offsets, self.offsets),
        ):
            if missing := [x for x in asked if x not in known]:
                raise InputError(
                    f"{axis} {missing[0]} is not in these residuals, which hold "
                    f"{[str(s) for s in self.sites]} at offsets {list(self.offsets)}; read it too"
                )
