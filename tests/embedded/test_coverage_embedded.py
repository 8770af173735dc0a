"""Coverage of the cosines' intervals on residuals of the planted model."""

import pytest
import torch
from support.simulated import generator

from refusal_lens import load_prompts
from refusal_lens.geometry import PairProducts, cosine_table
from refusal_lens.geometry.frame import rows_by_category, twin_differences
from refusal_lens.sites import Site


@pytest.mark.slow
def test_coverage_on_resampled_pairs_of_the_planted_model(model):
    """30 pairs drawn again from 80 of three categories; the truth is the cosine of the 80."""
    prompts = load_prompts()
    chosen = sum(
        (prompts.only(category=c).prompts[:160] for c in ("safety", "incomplete", "advice")), ()
    )
    prompts = type(prompts)(chosen)
    residuals = model.residuals(prompts, sites=[Site(16), Site(23)])
    resid, rows = residuals.tensor[:, 0].double(), rows_by_category(residuals).values()
    random, draws = generator(1), []
    for s in range(2):
        pairs = [twin_differences(resid[:, s], r) for r in rows]
        unit = torch.stack([d.mean(0) / d.mean(0).norm() for d in pairs])
        off = torch.triu_indices(3, 3, 1)
        truth = (unit @ unit.T)[off[0], off[1]]
        for _ in range(300):
            products = PairProducts.of(
                [d[torch.randint(len(d), (30,), generator=random)] for d in pairs]
            )
            table, ratio = cosine_table(products), products.estimate().corrected[0]
            low, high, value, ratio = (
                x[off[0], off[1]] for x in (table.low, table.high, table.corrected, ratio)
            )
            covers = (low <= truth) & (truth <= high)
            draws.append(torch.stack([covers.double(), value - truth, ratio - truth]))
    covered, shown, plain = torch.stack(draws).mean((0, 2)).tolist()
    assert 0.93 <= covered <= 0.99
    assert abs(shown) < 0.004 < plain
