"""Records of refusal tokens without a model: readings with a truth that is written down."""

import math
from typing import Any

import torch

from refusal_lens.records import Estimate, Provenance
from refusal_lens.refusal_tokens import Carved, RefusalTokens, Roc, TokenReadings, measure_roc
from refusal_lens.refusal_tokens.carved import MatrixSimilarity
from refusal_lens.sites import block_inputs

TOKENS = RefusalTokens(1, ("advice", "safety"), (2, 3), ("[respond]", "[advice]", "[safety]"))
P = torch.tensor([0.9, 0.8, 0.4, 0.1, 0.7, 0.2, 0.05, 0.02])
"""Of the category's own token, four harmful prompts and then four benign ones."""
CATEGORIES = ("advice", "safety") * 4
PROVENANCE = Provenance("m", "d", "t", "", "p", "float32", "cpu", 0)


def readings(**changes: Any) -> TokenReadings:
    """All mass on respond and the category's own token; refusal tokens are followed by refusals."""
    refuse = torch.full((8, 2), -60.0)
    for i, category in enumerate(CATEGORIES):
        refuse[i, int(category == "safety")] = math.log(float(P[i]))
    fields: dict[str, Any] = {
        "tokens": TOKENS,
        "ids": tuple(map(str, range(8))),
        "pairs": tuple(f"{c}/{i % 4}" for i, c in enumerate(CATEGORIES)),
        "categories": CATEGORIES,
        "harmful": torch.tensor([True] * 4 + [False] * 4),
        "respond": (1 - P).log(),
        "refuse": refuse,
        "other": torch.full((8,), -60.0),
        "refused": torch.ones(8, dtype=torch.int8),
        "answered": torch.zeros(8, dtype=torch.int8),
        "judge": "hand",
        "decoding": "",
        "provenance": PROVENANCE,
    }
    return TokenReadings(**(fields | changes))


def roc() -> Roc:
    return measure_roc(readings())


def carved(n_layers: int = 4) -> Carved:
    """Two places, four categories whose cosines fall from .8 to .2 with depth at the second."""
    categories = ("advice", "humanizing", "safety", "unsupported")
    cosines = torch.stack([torch.full((n_layers,), 0.8), torch.linspace(0.8, 0.2, n_layers)])
    eye = torch.eye(4)
    corrected = eye + (1 - eye) * cosines[..., None, None]
    mean = torch.stack([cosines, cosines - 0.1, cosines + 0.1], -1)
    change = torch.stack([cosines - cosines[0], cosines - cosines[0] - 0.1, cosines + 0.1], -1)
    alike = Estimate(0.4, 0.1, 0.7, 6, "correlation", 0.0)
    return Carved(
        places=("before", "own token"),
        categories=categories,
        sites=block_inputs(n_layers),
        n=(9, 9, 9, 9),
        d_model=32,
        corrected=corrected,
        reliability=torch.full((2, n_layers, 4), 0.9),
        mean=mean,
        change=change,
        aligned=torch.full((2, n_layers, 4), 0.3),
        token_rows=eye,
        agreements=(MatrixSimilarity("own token", "token rows", 3, alike, 0.01, 0.02),),
        provenance=(PROVENANCE, PROVENANCE),
    )
