"""Ways of finding directions side by side, with invented numbers."""

import torch

from refusal_lens.evaluation.estimators import (
    EstimatorComparison,
    EstimatorRow,
    MatchedAt,
    with_paired_tests,
)
from refusal_lens.geometry.transfer import Transfer
from refusal_lens.intervals import mean_estimate, wilson
from refusal_lens.records import Estimate
from support.paired_residuals import PROVENANCE

NAMES = ("mean_difference", "linear_discriminant", "control: random")


def row(name: str, hits: int = 4, **changes) -> EstimatorRow:
    control = name.startswith("control: ")
    area = Estimate(0.9, 0.8, 0.95, 40, "AUROC", 0.5)
    values = {
        "name": name,
        "kind": "control" if control else "estimator",
        "method": f"method of {name}",
        "n_directions": 1,
        "draws": 8 if control else 1,
        "draws_at_budget": 0 if control else 1,
        "seconds": 0.1,
        "peak_mib": 3.0,
        "reliability": None if control else area,
        "cosine": None if control else area,
        "naive": None if control else 0.7,
        "separation": area,
        "left_out_separation": None if control else area,
        "removed": wilson(hits, 20, 0.5),
        "left_out_removed": None if control else wilson(hits + 1, 20, 0.5),
        "added": wilson(9, 20, 0.2),
        "length": 5.0,
        "strength": None if control else 0.8,
        "no_strength": "never reached" if control else None,
        "damage_refusal": None if control else wilson(12, 20, 0.5),
        "damage_over_refusal": None if control else wilson(8, 20, 0.2),
        "matched_over_refusal": None if control else area,
        "kl": mean_estimate([0.4, 0.6], 0.0),
        "text_change": mean_estimate([0.1, 0.3], 0.0),
    }
    return EstimatorRow(**(values | changes))


def comparison(names: tuple[str, ...] = NAMES) -> EstimatorComparison:
    ids = [f"p{i}" for i in range(20)]
    rows = [row(name, 2 + 8 * i) for i, name in enumerate(names)]
    flags = [
        {"removed": {key: j < 2 + 8 * i for j, key in enumerate(ids)}} for i in range(len(rows))
    ]
    return EstimatorComparison(
        layer=3,
        labels="behaviour",
        judge="refusal",
        decoding="greedy",
        reference=names[0],
        damage_kl=1.0,
        matched=MatchedAt(
            *("planted, scale 0.5", 0.7, 32, 4, 30, 2),
            *(((0.6, ()), (0.7, ()), (0.8, (names[1],))), 2, 0, -0.2, 0.1),
        ),
        rows=with_paired_tests(rows, flags, names[0]),
        provenance=PROVENANCE,
    )


def transfer(columns=("red", "blue")) -> Transfer:
    mean = Estimate(0.8, 0.7, 0.9, 20, "AUROC", 0.5)
    return Transfer(
        rows=("pooled", *columns),
        columns=columns,
        area=torch.tensor([[0.9, 0.8], [0.95, float("nan")], [0.4, 0.7]]),
        low=torch.zeros(3, 2),
        high=torch.ones(3, 2),
        mean=(mean,) * 3,
        left_out=mean,
        left_out_area=torch.tensor([0.85, 0.75]),
        count=((5, 5), (4, 6)),
        provenance=PROVENANCE,
    )
