"""`Structure`: what lies behind a matrix, layer by layer and at one layer, as a record."""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.clusters import (
    best_clustering,
    dendrogram_links,
    eigenvalue_shares,
    together,
)
from refusal_lens.geometry.dimension import effective_dimension, remainders
from refusal_lens.geometry.frame import rows_by_category, twin_differences
from refusal_lens.geometry.jackknife import cosine_table
from refusal_lens.geometry.layers import self_cosines
from refusal_lens.geometry.maps import plane_map
from refusal_lens.geometry.products import PairProducts
from refusal_lens.geometry.subspaces import Subspace, fit_subspace, principal_angles
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Structure(Record):
    """Effective dimension and remainders at every site; clusters, map and subspaces at one.

    The last axis of `along`, `remainder`, `remainder_reliability` and `layer_cosines` is (value,
    low, high), as geometry/dimension.py and geometry/layers.py define them. `layer_cosines[c, s,
    t]` is the cosine of category c's direction with itself at sites s and t, `offset_cosines` that
    at `layer` between offsets. At `layer`, over the categories of `mapped` (those defined there):
    the corrected `cosines`, their eigenvalue shares, SciPy's `links` (average linkage), the
    `clusters` of largest silhouette, how often two categories are `together` when pairs are drawn
    again, `place` and `place_covariance` on the map (radians), both over the `draws` in which every
    cosine is defined, of `geometry.clusters.DRAWS`, the `rank` of each category's
    subspace and the smallest and largest principal angle (degrees) between each two, with those of
    random subspaces. NaN is "undefined".
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: tuple[int, ...]
    dimension: tuple[Estimate, ...]
    along: Float[Tensor, "site category 3"]
    remainder: Float[Tensor, "site category 3"]
    remainder_reliability: Float[Tensor, "site category 3"]
    layer_cosines: Float[Tensor, "category site site 3"]
    layer: int
    offsets: tuple[int, ...]
    offset_cosines: Float[Tensor, "category offset offset 3"]
    mapped: tuple[str, ...]
    cosines: Float[Tensor, "mapped mapped"]
    eigenvalues: Float[Tensor, " mapped"]
    links: Float[Tensor, "link 4"]
    clusters: tuple[int, ...]
    silhouette: float
    together: Float[Tensor, "mapped mapped"]
    place: Float[Tensor, "mapped 2"]
    place_covariance: Float[Tensor, "mapped 2 2"]
    place_shown: float
    draws: int
    rank: tuple[int, ...]
    least_angle: Float[Tensor, "mapped mapped"]
    largest_angle: Float[Tensor, "mapped mapped"]
    random_least_angle: Float[Tensor, "mapped mapped"]
    random_largest_angle: Float[Tensor, "mapped mapped"]
    provenance: Provenance

    def __repr__(self) -> str:
        site = self.sites.index(Site(self.layer))
        return (
            f"Structure({len(self.categories)} categories, {len(self.sites)} sites; at layer "
            f"{self.layer}: effective dimension {self.dimension[site]}, {max(self.clusters)} "
            f"clusters of silhouette {self.silhouette:.2f}, {self.provenance.model})"
        )


def fit_structure(
    residuals: Residuals,
    layer: int,
    *,
    offset: int = -1,
    at_layer: Residuals | None = None,
    seed: int = 0,
) -> Structure:
    """The structure of categories from their pair differences at every site.

    At `layer` also at every offset that was read. `at_layer` may hold those, where the residuals of
    all sites and offsets at once would take too much memory.

    >>> import torch
    >>> from dataclasses import replace
    >>> several = rl.load_prompts().only(category=["advice", "humanizing", "unsupported"])
    >>> residuals = model.residuals(several.only(split="train").first(8))
    >>> refuse = torch.tensor([float(p.label == "refuse") for p in residuals.labelled])
    >>> moved = replace(residuals, tensor=residuals.tensor + 20.0 * refuse[:, None, None, None])
    >>> len(fit_structure(moved, layer=2).mapped)  # categories with a direction
    3

    Raises:
        InputError: residuals of plain texts, a category without pairs, a layer or offset that was
            not read, fewer than three categories with a direction there, or fewer than eight pairs
            in one.
    """
    sites = residuals.sites
    if Site(layer) not in sites:
        raise InputError(f"layer {layer} is not in {[str(s) for s in sites]}")
    by_category = {c: d[:, 0] for c, d in _differences(residuals.select(offsets=(offset,))).items()}
    there = (residuals if at_layer is None else at_layer).select(sites=(Site(layer),))
    d_model = next(iter(by_category.values())).shape[-1]
    by_site = [PairProducts.of([d[:, s] for d in by_category.values()]) for s in range(len(sites))]
    parts = [remainders(products) for products in by_site]
    chosen = sites.index(Site(layer))
    cosines = cosine_table(by_site[chosen]).corrected
    mapped = [c for c, x in zip(by_category, cosines.diagonal(), strict=True) if not x.isnan()]
    if len(mapped) < 3:
        raise InputError(
            f"only {len(mapped)} categories have a direction at layer {layer}; structure needs 3"
        )
    return Structure(
        categories=tuple(by_category),
        sites=sites,
        offset=offset,
        n=tuple(len(d) for d in by_category.values()),
        dimension=tuple(effective_dimension(products, d_model) for products in by_site),
        along=torch.stack([p.along for p in parts]).float(),
        remainder=torch.stack([p.remainder for p in parts]).float(),
        remainder_reliability=torch.stack([p.reliability for p in parts]).float(),
        layer_cosines=torch.stack([_with_itself(d) for d in by_category.values()]).float(),
        layer=layer,
        offsets=there.offsets,
        offset_cosines=torch.stack(
            [_with_itself(d[:, :, 0]) for d in _differences(there).values()]
        ).float(),
        mapped=tuple(mapped),
        provenance=residuals.provenance,
        **_at_layer([by_category[c][:, chosen] for c in mapped], seed),
    )


def _differences(
    residuals: Residuals,
) -> dict[str, Float64[Tensor, "_ offset site d_model"]]:
    """Refuse minus comply of each pair of each category."""
    differences: dict[str, Tensor] = {}
    for category, pairs in rows_by_category(residuals).items():
        x = residuals.tensor[pairs.flatten()].double()  # those of one category at a time
        differences[category] = twin_differences(x, torch.arange(len(x)).reshape(-1, 2))
    return differences


def _with_itself(d: Float64[Tensor, "pair place d_model"]) -> Float64[Tensor, "place place 3"]:
    cosines = self_cosines(d)
    return torch.stack([cosines.cosine, cosines.low, cosines.high], -1)


def _at_layer(differences: list[Tensor], seed: int) -> dict[str, Any]:
    products = PairProducts.of(differences)
    cosines = cosine_table(products).corrected.numpy()
    best = best_clustering(cosines)
    drawn = plane_map(products, seed=seed)
    subspaces = [fit_subspace(d.numpy(), seed=seed) for d in differences]
    return {
        "cosines": _tensor(cosines),
        "eigenvalues": _tensor(eigenvalue_shares(cosines)),
        "links": _tensor(dendrogram_links(cosines)),
        "clusters": best.labels,
        "silhouette": best.silhouette,
        "together": _tensor(together(products, max(best.labels), seed=seed)),
        "place": _tensor(drawn.place),
        "place_covariance": _tensor(drawn.covariance),
        "place_shown": drawn.shown,
        "draws": drawn.draws,
        "rank": tuple(s.rank for s in subspaces),
        **_angles(subspaces),
    }


def _angles(subspaces: list[Subspace]) -> dict[str, Tensor]:
    names = ("least_angle", "largest_angle", "random_least_angle", "random_largest_angle")
    size = len(subspaces)
    matrices = np.full((4, size, size), np.nan)
    for i, a in enumerate(subspaces):
        for j, b in enumerate(subspaces):
            if i < j and a.rank and b.rank:
                angles = principal_angles(a, b)
                ends = (angles.degrees[[0, -1]], angles.random[[0, -1]])
                matrices[:, i, j] = matrices[:, j, i] = np.concatenate(ends)
    return {name: _tensor(matrix) for name, matrix in zip(names, matrices, strict=True)}


def _tensor(values: Float[np.ndarray, "..."]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).float()
