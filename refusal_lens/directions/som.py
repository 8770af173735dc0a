"""Directions from a self-organising map of the refuse side (arXiv 2511.08379, AAAI 2026).

A map of rows x columns neurons w_j is trained on the refuse side's residuals, with c the comply
side's mean; the directions are

    d_j = w_j - c,

of the neurons that won at least one prompt (were the nearest to it), most wins first. Training is
MiniSom's: at step t the neurons move towards a prompt x by a_t h(winner, j) (x - w_j), with
a_t = a / (1 + 2t/T) and h Gaussian in the distance on a hexagonal grid. At the paper's width of .33
a neighbour moves by 1% of the winner: nearly online k-means. The paper's settings (its code, not
the defaults of its command line) are those of `SomSettings`.

Relation to the mean difference: the 1 x 1 map is it, up to the jitter of online training. The last
steps, of size a/3, leave the neuron at a distance from the refuse side's mean of about
sqrt(a/6) = .04 of the side's spread, which is not taken away here, so that a map is what the paper
computes; more neurons have the same jitter. Neurons start on prompts, and in many dimensions every
other prompt is nearer to a neuron in the middle than to one on a prompt. So of 60 prompts in 896
dimensions of white noise one neuron wins 47 and thirteen others one each: the first direction is
nearly the mean difference, the others are single prompts minus the mean. `wins` shows it. The paper
has 4000 prompts for 16 neurons; pool the categories (`residuals.pooled()`) where each has few, or
take a smaller map.

Prompts are taken in the order of their ids and not as they are listed: MiniSom draws them by place,
so that with another order the same seed would give another map.

Layers: the paper reads the OUTPUT of block l, which is `resid_post[l]`, or `resid_pre[l + 1]`, the
input of the next block: `sites.block_output(l)`. `SomDirections.block_output` is the paper's layer.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, TypedDict, final

import numpy as np
import torch
from jaxtyping import Float64, Int64
from minisom import MiniSom
from torch import Tensor

from refusal_lens.directions.direction import Direction
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import NOISE_FLOOR, Estimator, sets_of
from refusal_lens.errors import InputError
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Provenance
from refusal_lens.residuals import Residuals, index_axes
from refusal_lens.sites import Site


@final
@dataclass(frozen=True)
class SomSettings:
    """A map's size and training; by default the paper's.

    `sigma` is the width of the neighbourhood, in units of the grid, and `seed` that of the neurons'
    first places (prompts drawn at random) and of the order of the prompts.

    >>> SomSettings(rows=1, columns=2).neurons
    2

    Raises:
        InputError: a number that is not positive, or a learning rate above 1.
    """

    rows: int = 4
    columns: int = 4
    steps: int = 10_000
    learning_rate: float = 0.01
    sigma: float = 0.33
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.steps) < 1:
            raise InputError(
                f"a map of {self.rows} x {self.columns} neurons and {self.steps} steps can't be "
                "trained; give at least 1 row, 1 column and 1 step"
            )
        if not 0 < self.learning_rate <= 1:
            raise InputError(f"learning_rate {self.learning_rate} must be above 0 and at most 1")
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise InputError(f"sigma {self.sigma} must be a positive number of grid units")

    @property
    def neurons(self) -> int:
        """How many there are."""
        return self.rows * self.columns

    def __str__(self) -> str:
        """Size and training, as the names of fitted directions give them.

        >>> str(SomSettings())
        '4 x 4 neurons, 10000 steps at rate 0.01, width 0.33'
        """
        size = f"{self.rows} x {self.columns} neurons"
        return f"{size}, {self.steps} steps at rate {self.learning_rate:g}, width {self.sigma:g}"


PAPER: Final = SomSettings()
FEW_STEPS: Final = SomSettings(steps=1000, learning_rate=0.1)
"""Those of the registered estimator: a tenth of the steps, each ten times as long."""


@final
@dataclass(frozen=True, eq=False)
class SomDirections:
    """The directions of a map's neurons, most wins first; index 0 is the most-won neuron.

    Indices are ranks and no places on the grid. There may be fewer directions than neurons.
    `quantisation_error` is the mean distance of a refuse-side prompt to its neuron, in
    residual-stream units, `spread` that to the side's mean (the 1 x 1 map's error).
    """

    directions: tuple[Direction, ...]
    wins: tuple[int, ...]
    settings: SomSettings
    quantisation_error: float
    spread: float

    @property
    def block_output(self) -> int:
        """The layer as the paper counts it: the block whose output is the site; -1 is before all.

        Raises:
            InputError: the site is inside a block.
        """
        layer, point = self.directions[0].site.vector_of_stream
        if point != "resid_pre":
            raise InputError(f"{self.directions[0].site} is not the output of a block")
        return layer - 1


def fit_som(
    residuals: Residuals,
    category: str,
    site: Site,
    offset: int = -1,
    *,
    settings: SomSettings = PAPER,
) -> SomDirections:
    """Several directions of a category from a self-organising map; see the module.

    Each direction's `scale` is the distance of its neuron to the comply side's mean; `high` and
    `low` are the coordinates of these two. Erase the first k by `AblateSubspace`: "sequential" is
    the paper's product of projections, "span" the projection off all of them;
    `selection.choose_directions` finds k. In what order the prompts are listed does not matter (the
    map takes them by their ids); other ids are another order.

    >>> from refusal_lens.directions import SomSettings, fit_som
    >>> small = SomSettings(rows=1, columns=2, steps=500)
    >>> som = fit_som(model.residuals(prompts), "advice", rl.Site(2), settings=small)
    >>> len(som.directions), sum(som.wins), som.block_output
    (2, 6, 1)
    >>> edit = rl.AblateSubspace(som.directions, "sequential")

    Raises:
        InputError: an unknown category, site or offset; a side without prompts; a neuron at the
            comply side's mean, as where all prompts are the same (layer 0).
    """
    refuse, comply = _sides(residuals, category, site, offset)
    neurons, winner, distance = _trained(refuse, settings)
    wins = winner.bincount(minlength=len(neurons))
    ranked = [j for j in wins.argsort(descending=True, stable=True).tolist() if wins[j] > 0]
    made = replace(residuals.provenance, seed=settings.seed)
    where: _Place = {"category": category, "site": site, "offset": offset, "provenance": made}
    directions = tuple(_direction(neurons[j], comply, where) for j in ranked)
    error, spread = float(distance.mean()), float((refuse - refuse.mean(0)).norm(dim=1).mean())
    won = tuple(int(wins[j]) for j in ranked)
    return SomDirections(directions, won, settings, error, spread)


class _Place(TypedDict):
    category: str
    site: Site
    offset: int
    provenance: Provenance


def _sides(
    residuals: Residuals, category: str, site: Site, offset: int
) -> tuple[Float64[Tensor, "refuse d_model"], Float64[Tensor, "comply d_model"]]:
    """A category's residuals at one place, the refuse side's and the comply side's."""
    categories = residuals.labelled.categories
    if category not in categories:
        raise InputError(
            f"category {category!r} is not in these residuals, which hold {list(categories)}; "
            "residuals.pooled() has the one category 'pooled'"
        )
    order = _by_id(residuals)
    x = residuals.at(site, offset)[order].double()
    index, label = (axis[order] for axis in index_axes(residuals.labelled))
    rows = index == categories.index(category)
    refuse, comply = x[rows & (label == REFUSE)], x[rows & (label == COMPLY)]
    if not len(refuse) or not len(comply):
        raise InputError(
            f"category {category!r} has {len(refuse)} refuse-side and {len(comply)} comply-side "
            "prompts; a map needs prompts on both sides"
        )
    return refuse, comply


def _by_id(residuals: Residuals) -> list[int]:
    """The rows in the order of their prompts' ids."""
    ids = residuals.labelled.ids
    return sorted(range(len(ids)), key=ids.__getitem__)


def _direction(
    neuron: Float64[Tensor, " d_model"], comply: Float64[Tensor, "comply d_model"], where: _Place
) -> Direction:
    """From the comply side's mean to the neuron."""
    centre = comply.mean(0)
    difference = neuron - centre
    length = float(difference.norm())
    if length <= NOISE_FLOOR * float(comply.square().sum(1).mean().sqrt()):
        raise InputError(
            f"a neuron of {where['category']!r} at {where['site']}, offset {where['offset']}, is "
            "where the comply side's mean is and has no direction: prompts don't differ there (as "
            "at layer 0 on template tokens); choose a later layer"
        )
    low = float(centre @ difference) / length
    return Direction.from_difference(difference, low=low, **where)


def fit_most_won(residuals: Residuals, *, settings: SomSettings = FEW_STEPS) -> DirectionSet:
    """The direction of the most-won neuron by category, offset and site: the estimator "som".

    A 4 x 4 map as in `fit_som`; by default trained with a tenth of the steps at ten times the rate
    (`FEW_STEPS`; `method` says which), so that it fits every layer in seconds: its jitter is .13 of
    the side's spread instead of .04. Seed 0 unless `settings` has another. Undefined as for means.
    It is that of the neuron that won most prompts, which need not lie in the largest cluster: with
    few prompts a large cluster is split over several neurons. It jumps where one neuron overtakes
    another, so that jackknife intervals do not hold for it and geometry refuses it. Prompts are
    taken by their ids, as in `fit_som`.

    >>> from refusal_lens.directions import fit_most_won
    >>> fit_most_won(model.residuals(prompts)).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: residuals of plain texts.
    """
    order = _by_id(residuals)
    tensor, (category, label) = residuals.tensor[order], index_axes(residuals.labelled)
    category, label = category[order], label[order]
    stats = residuals.stats()
    differences = torch.full_like(stats.difference, torch.nan)
    for c in range(len(stats.categories)):
        refuse = tensor[(category == c) & (label == REFUSE)].double()
        if not len(refuse) or not int(stats.count[c, COMPLY]):
            continue
        for o, s in torch.cartesian_prod(*map(torch.arange, differences.shape[1:3])).tolist():
            neurons, winner, _ = _trained(refuse[:, o, s], settings)
            most = int(winner.bincount(minlength=len(neurons)).argmax())
            differences[c, o, s] = neurons[most] - stats.mean[c, COMPLY, o, s]
    return sets_of(differences, stats, f"som, {settings}")


def _trained(
    refuse: Float64[Tensor, "prompt d_model"], settings: SomSettings
) -> tuple[Float64[Tensor, "neuron d_model"], Int64[Tensor, " prompt"], Float64[Tensor, " prompt"]]:
    """The neurons after training; and each prompt's nearest one, with its distance."""
    x = refuse.numpy()
    som = MiniSom(
        settings.rows,
        settings.columns,
        x.shape[1],
        sigma=settings.sigma,  # pyright: ignore[reportArgumentType]  # untyped; its default is 1
        learning_rate=settings.learning_rate,
        topology="hexagonal",
        activation_distance="euclidean",
        random_seed=settings.seed,
    )
    som.random_weights_init(x)
    som.train_random(x, settings.steps)
    neurons = np.ascontiguousarray(som.get_weights()).reshape(settings.neurons, x.shape[1])
    weights = torch.from_numpy(neurons)
    exact = "donot_use_mm_for_euclid_dist"  # the stream's mean is long against its spread
    distance, winner = torch.cdist(refuse, weights, compute_mode=exact).min(1)
    return weights, winner, distance


ESTIMATOR: Final = Estimator("som", fit_most_won, smooth=False, one_sided=True)
