"""`Geometry`: the pairwise cosines of the categories at every site, beside what limits them."""

from dataclasses import dataclass
from html import escape
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import MEAN_DIFFERENCE, make_estimator
from refusal_lens.errors import InputError
from refusal_lens.geometry.frame import AS_THEY_ARE, Frame, pair_differences
from refusal_lens.geometry.jackknife import CosineTable, cosine_table
from refusal_lens.geometry.products import PairProducts
from refusal_lens.intervals import finite_or_none, t_quantile
from refusal_lens.records import Estimate, Provenance, Record, digest_of
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

LEAST_PAIRS: Final = 20  # a matrix by behaviour needs as many pairs in each category
MEASURABLE: Final = 0.5  # lower 95% bound of reliability under which a direction is not measurable
_ONE_SIDED: Final = 0.90  # a two-sided interval at 90% has one-sided 95% bounds


@final
@dataclass(frozen=True, eq=False)
class Geometry(Record):
    """Cosines between the directions of all categories, one matrix per site, at one offset.

    `naive` is what publications print; `corrected` divides by noise-free lengths and has its
    jackknife bias taken off (geometry/jackknife.py), as `reliability` has; `low` and `high` are its
    interval; `ceiling` is the largest value that a naive cosine can reach at these reliabilities.
    NaN is "undefined". `length` is the noise-free length of each difference, NaN where its square
    is not positive; `share` is the mean cosine between the differences of two different pairs of
    the category: 1 if all point one way, 0 if they have nothing in common, each pair counting alike
    however long. `n` counts pairs, `pairs` names them in the order of the categories, and the
    influences (geometry/jackknife.py) say what each does, so that any two numbers can be compared
    with an interval; `asked` is a digest of what both sides of each of them ask. `frame` says what
    was done to the differences first, `estimator` what was fitted.

    >>> geometry = rl.fit_geometry(model.residuals(prompts, sites=[rl.Site(2)]))
    >>> geometry.categories, geometry.corrected.shape
    (('advice', 'humanizing', 'unsupported'), torch.Size([1, 3, 3]))
    """

    SCHEMA_VERSION: ClassVar[int] = 4

    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: tuple[int, ...]
    pairs: tuple[str, ...]
    frame: str
    naive: Float[Tensor, "site category category"]
    corrected: Float[Tensor, "site category category"]
    low: Float[Tensor, "site category category"]
    high: Float[Tensor, "site category category"]
    ceiling: Float[Tensor, "site category category"]
    reliability: Float[Tensor, "site category"]
    reliability_low: Float[Tensor, "site category"]
    reliability_high: Float[Tensor, "site category"]
    length: Float[Tensor, "site category"]
    share: Float[Tensor, "site category"]
    influence: Float[Tensor, "site pair category"]
    share_influence: Float[Tensor, "site pair"]
    provenance: Provenance
    estimator: str = MEAN_DIFFERENCE
    asked: str = ""

    def cosine(self, a: str, b: str, layer: int, control: "Geometry | None" = None) -> Estimate:
        """The corrected cosine of two categories at a block's input, with interval.

        An interval without 0 says that the two are not orthogonal. `control` is the geometry of a
        control model (for example adapter scale 0).

        >>> geometry = rl.fit_geometry(model.residuals(prompts, sites=[rl.Site(2)]))
        >>> geometry.cosine("advice", "humanizing", layer=2).n  # pairs of the category with fewer
        6

        Raises:
            InputError: a category or layer that this geometry does not hold.
        """
        s, i, j = self._at(a, b, layer)
        value, low, high = (
            finite_or_none(x[s, i, j]) for x in (self.corrected, self.low, self.high)
        )
        other = None if control is None else control.cosine(a, b, layer).value
        return Estimate(
            value, low, high, min(self.n[i], self.n[j]), "corrected cosine, jackknife", other
        )

    def apart(self, a: str, b: str, layer: int) -> Estimate:
        """1 - c, with c the corrected cosine of two categories, and its one-sided 95% bounds.

        `low` above 0 rejects at the 5% level that the two are one direction (c = 1); otherwise no
        difference has been shown, which is not evidence of equality. Raises like `cosine`.

        >>> geometry = rl.fit_geometry(model.residuals(prompts, sites=[rl.Site(2)]))
        >>> geometry.apart("advice", "humanizing", layer=2).method
        '1 - corrected cosine, one-sided bounds'
        """
        _, i, j = self._at(a, b, layer)
        e = self.cosine(a, b, layer)
        if e.value is None or e.high is None:
            return Estimate(None, None, None, e.n, "1 - corrected cosine, one-sided bounds")
        df = torch.tensor([self.n[i] + self.n[j] - 2.0])
        narrower = float(t_quantile(df, _ONE_SIDED) / t_quantile(df))
        half = (e.high - e.value) * narrower
        apart = 1.0 - e.value
        return Estimate(
            apart, apart - half, apart + half, e.n, "1 - corrected cosine, one-sided bounds"
        )

    def measurable(self) -> Float[Tensor, "site category"]:
        """1 where the lower 95% bound of reliability is at least .5, 0 where it is below.

        >>> geometry = rl.fit_geometry(model.residuals(prompts, sites=[rl.Site(2)]))
        >>> geometry.measurable().shape
        torch.Size([1, 3])
        """
        return (self.reliability_low >= MEASURABLE).float()

    def __repr__(self) -> str:
        frame = "" if self.frame == str(AS_THEY_ARE) else f", {self.frame}"
        return (
            f"Geometry({len(self.categories)} categories, {len(self.sites)} sites, offset "
            f"{self.offset}, n {min(self.n)} to {max(self.n)} pairs, {self.provenance.model}"
            f"{frame})"
        )

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        """The matrix where most directions are measurable: corrected cosines, reliability, n."""
        s = int(self.reliability_low.nan_to_num(-1.0).mean(1).argmax())
        head = "".join(f"<th>{escape(c)}</th>" for c in self.categories)
        rows: list[str] = []
        for i, name in enumerate(self.categories):
            cells = "".join(f"<td>{_cell(v)}</td>" for v in self.corrected[s, i])
            rel = f"{_cell(self.reliability[s, i])} (n = {self.n[i]})"
            rows.append(f"<tr><th>{escape(name)}</th>{cells}<td>{rel}</td></tr>")
        return (
            f"<p>{escape(repr(self))}</p><p>Corrected cosines at {self.sites[s]}, where the "
            f"directions are most reliable:</p><table><tr><th></th>{head}<th>reliability</th></tr>"
            f"{''.join(rows)}</table>"
        )

    def _at(self, a: str, b: str, layer: int) -> tuple[int, int, int]:
        for name in (a, b):
            if name not in self.categories:
                raise InputError(f"category {name!r} is not in {list(self.categories)}")
        if Site(layer) not in self.sites:
            raise InputError(f"layer {layer} is not in {[str(s) for s in self.sites]}")
        index = self.categories.index
        return self.sites.index(Site(layer)), index(a), index(b)


def fit_geometry(
    residuals: Residuals,
    *,
    offset: int = -1,
    frame: Frame = AS_THEY_ARE,
    estimator: str = MEAN_DIFFERENCE,
) -> Geometry:
    """Pairwise cosines of the categories' directions at every site, with reliability and intervals.

    From the pairs of a prompt set (refuse side minus its matched benign prompt). `estimator` is one
    of `ESTIMATORS`: the mean difference has a closed form, others are fitted again without each
    pair (geometry/pseudo_values.py), about as often as there are pairs.

    >>> geometry = rl.fit_geometry(model.residuals(prompts))
    >>> geometry.cosine("advice", "humanizing", layer=2).method
    'corrected cosine, jackknife'

    Raises:
        InputError: residuals of plain texts, a category without pairs, or fewer than three; an
            offset that was not read; a frame that does not fit; or an estimator for which no
            interval holds (`Estimator.no_geometry`).
    """
    differences = pair_differences(residuals, make_estimator(estimator), offset=offset, frame=frame)
    products = [PairProducts.of(differences(site)) for site in residuals.sites]
    tables: list[CosineTable] = [cosine_table(p) for p in products]
    prompts = residuals.labelled
    in_order = [(a, b) for c in prompts.categories for a, b in prompts.pairs() if a.category == c]

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(table, name) for table in tables]).float()

    same = ("naive", "corrected", "low", "high", "ceiling", "share", "influence", "share_influence")
    reliability = ("reliability", "reliability_low", "reliability_high")
    return Geometry(
        categories=prompts.categories,
        sites=residuals.sites,
        offset=offset,
        n=products[0].n,
        pairs=tuple(p.pair or "" for p, _ in in_order),
        frame=str(frame),
        length=_root(stacked("sq_length")),
        provenance=residuals.provenance,
        estimator=estimator,
        asked=digest_of([[(p.before, p.text) for p in pair] for pair in in_order]),
        **{name: stacked(name) for name in (*same, *reliability)},
    )


def not_the_same_pairs(first: Geometry, second: Geometry) -> str:
    """In what two geometries differ that were not fitted on the same pairs; "" for the same ones.

    Pairs may have one name and other prompts, as where twins were drawn with another seed.

    >>> geometry = rl.fit_geometry(model.residuals(prompts))
    >>> not_the_same_pairs(geometry, geometry)
    ''
    """
    for name in ("categories", "pairs", "n"):  # names alone don't say whose pairs they are
        if getattr(first, name) != getattr(second, name):
            return "the number of pairs" if name == "n" else name
    return "" if first.asked == second.asked else "the prompts of their pairs"


def _root(sq_length: Float[Tensor, "site category"]) -> Float[Tensor, "site category"]:
    return torch.where(sq_length > 0, sq_length, torch.nan).sqrt()


def _cell(value: Float[Tensor, ""]) -> str:
    number = finite_or_none(value)
    return "undefined" if number is None else f"{number:.2f}"
