"""Where refusal can be decoded: a linear probe by layer, tested on a held-out category.

A regularised logistic regression on the stream is fitted on all categories but one and tested on
that one, so that it can't pass by knowing topics (leave-one-category-out). With the same split: a
one-dimensional classifier on the difference of means, and, as control, the probe fitted on
shuffled labels: independent coins, one draw of what chance gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import numpy as np
import torch
from jaxtyping import Int64
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.intervals import wilson
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.exchange import exchange_labels
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.sites import Site

_PENALTY: Final = 0.01  # inverse strength; standardised inputs, more dimensions than pairs
_ITERATIONS: Final = 300


@final
@dataclass(frozen=True, eq=False)
class ProbeProfile(Record):
    """Accuracy on each held-out category by layer; chance is .5 where the sides are balanced.

    `hits` counts correct predictions of the probe among `count` prompts; `direction_hits` those of
    the difference of means, cut half-way between the classes; `shuffled_hits` those of the probe
    fitted on labels exchanged within pairs by independent coins (control).

    >>> probes = probe_layers(model, prompts, layers=[2])
    >>> 0 <= probes.accuracy(2, "advice").value <= 1, probes.count.tolist()
    (True, [12, 12, 12])
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    layers: tuple[int, ...]
    offset: int
    categories: tuple[str, ...]
    count: Int64[Tensor, " category"]
    hits: Int64[Tensor, "layer category"]
    direction_hits: Int64[Tensor, "layer category"]
    shuffled_hits: Int64[Tensor, "layer category"]
    penalty: float
    provenance: Provenance

    def accuracy(self, layer: int, category: str) -> Estimate:
        """Held-out accuracy with its Wilson interval; control: shuffled labels."""
        at, c = self.layers.index(layer), self.categories.index(category)
        n = int(self.count[c])
        return wilson(int(self.hits[at, c]), n, int(self.shuffled_hits[at, c]) / n)


def probe_layers(
    model: LensModel,
    prompts: PromptSet,
    *,
    layers: Sequence[int] | None = None,
    offset: int = -1,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> ProbeProfile:
    """Probe the input of each layer (all by default). Progress counts layers.

    Raises:
        InputError: fewer than two categories, or a category with one side only.

    >>> probe_layers(model, prompts, layers=[1, 2]).hits.shape  # layer, category
    torch.Size([2, 3])
    """
    if len(prompts.categories) < 2:
        raise InputError(
            f"a probe is tested on a category that it was not fitted on; found {prompts.categories}"
        )
    category = np.array([prompts.categories.index(p.category) for p in prompts])
    refuse = np.array([p.label == "refuse" for p in prompts])
    for c, name in enumerate(prompts.categories):
        if len(set(refuse[category == c].tolist())) < 2:
            raise InputError(f"category {name!r} has one side only; a probe needs both")
    chosen = tuple(range(model.n_layers)) if layers is None else tuple(layers)
    sites = [Site(n) for n in chosen]
    resid = model.residuals(prompts, sites=sites, offsets=[offset])
    shuffled = np.array([p.label == "refuse" for p in exchange_labels(prompts, seed)])
    counts = {name: _zeros(chosen, prompts) for name in ("probe", "direction", "shuffled")}
    for k in range(len(chosen)):
        x = resid.at(sites[k], offset).double().numpy()
        for c in range(len(prompts.categories)):
            test = category == c
            truth = refuse[test]
            guesses = {
                "probe": _probe(x, refuse, test),
                "direction": _one_direction(x, refuse, test),
                "shuffled": _probe(x, shuffled, test),
            }
            for name, guess in guesses.items():
                counts[name][k, c] = int((guess == truth).sum())
        progress(1)
    return ProbeProfile(
        layers=chosen,
        offset=offset,
        categories=prompts.categories,
        count=torch.tensor(np.bincount(category)),
        hits=counts["probe"],
        direction_hits=counts["direction"],
        shuffled_hits=counts["shuffled"],
        penalty=_PENALTY,
        provenance=model.provenance(prompts, seed),
    )


def _probe(x: Any, y: Any, test: Any) -> Any:
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=_ITERATIONS)
    )
    return classifier.fit(x[~test], y[~test]).predict(x[test])


def _one_direction(x: Any, y: Any, test: Any) -> Any:
    high, low = x[~test & y].mean(0), x[~test & ~y].mean(0)
    return (x[test] - (high + low) / 2) @ (high - low) > 0


def _zeros(layers: Sequence[int], prompts: PromptSet) -> Int64[Tensor, "layer category"]:
    return torch.zeros(len(layers), len(prompts.categories), dtype=torch.int64)
