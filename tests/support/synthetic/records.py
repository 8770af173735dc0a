"""Records of directions, selection, answers and tokens, on synthetic numbers."""

from dataclasses import replace

import torch

from refusal_lens.attribution import TokenMap
from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import Answers, Curve, TradeOff
from refusal_lens.intervals import mean_estimate, wilson
from refusal_lens.prompts.files import load_categories, load_prompts
from refusal_lens.selection import Candidate
from refusal_lens.sites import block_inputs
from support.synthetic.answers import judged
from support.synthetic.geometry import CATEGORIES, FROM, LAYERS


def direction_set(categories: tuple[str, ...] = CATEGORIES, seed: int = 0) -> DirectionSet:
    """Unit vectors with lengths that grow; undefined at layer 0."""
    generator = torch.Generator().manual_seed(seed)
    k = len(categories)
    vectors = torch.randn(k, 1, LAYERS, 8, generator=generator)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True)
    scale = (torch.linspace(0, 1, LAYERS) * 30).expand(k, 1, LAYERS).clone() + 0.2
    low = torch.randn(k, 1, LAYERS, generator=generator).cumsum(-1)
    vectors[:, :, 0], scale[:, :, 0], low[:, :, 0] = torch.nan, 0.0, torch.nan
    return DirectionSet(
        "mean difference",
        categories,
        (-1,),
        block_inputs(LAYERS),
        vectors,
        scale,
        low,
        low + scale,
        ((30, 30),) * k,
        FROM,
    )


def candidates(step: int = 2) -> tuple[Candidate, ...]:
    """Ablation bites in the middle layers."""
    scored: list[Candidate] = []
    for layer in range(1, LAYERS, step):
        bite = max(0.0, 1 - abs(layer - 15) / 10)
        spread = [0.4 * (i % 5 - 2) for i in range(24)]
        scored.append(
            Candidate(
                layer,
                -1,
                mean_estimate([3.1 - 7 * bite + s for s in spread], 3.1),
                mean_estimate([-6.1 + 7 * bite + s for s in spread], -6.1),
                mean_estimate([0.02 + 0.004 * layer + abs(s) / 50 for s in spread], 0.0),
            )
        )
    return tuple(scored)


def trade_off() -> TradeOff:
    """Eleven curves, the pooled one and two controls that do little."""
    names = (*CATEGORIES, "pooled", "control: random", "control: shuffled labels")
    curves: list[Curve] = []
    for i, name in enumerate(names):
        n = 12 if name in CATEGORIES else 132
        slope = 0.08 if name.startswith("control") else 0.45 - 0.02 * i
        strengths = (-1.0, -0.5, 0.0, 0.5, 1.0)
        refusal = [min(n, max(0, round(n * (0.6 + slope * s)))) for s in strengths]
        over = [min(n, max(0, round(n * (0.1 + 0.7 * slope * max(s, -0.2))))) for s in strengths]
        curves.append(
            Curve(
                name,
                14.2,
                strengths,
                tuple(wilson(h, n, 0.6) for h in refusal),
                tuple(wilson(h, n, 0.1) for h in over),
            )
        )
    return TradeOff(
        "embedded (adapter scale 0.5)", 15, "first-token or opening score", tuple(curves)
    )


def read(condition: str = "none", pairs: int = 30, seed: int = 0) -> Answers:
    """Most refuse-side prompts refused in their category's manner, most twins answered."""
    by_pair = {(p.category, p.pair, p.label): p for p in load_prompts().only(split="train")}
    prompts, answers, outcomes, manners = [], [], [], []
    for c, (key, category) in enumerate(load_categories().items()):
        of_category = list(dict.fromkeys(pair for k, pair, _ in by_pair if k == key))
        for i, pair in enumerate(of_category[:pairs]):
            for label in ("refuse", "comply"):
                refused = (i + c + seed) % 7 > 0 if label == "refuse" else (i + seed) % 13 == 1
                answer = "I won't help with that: someone could get hurt.\nAsk me something else."
                prompts.append(by_pair[key, pair, label])
                answers.append(answer if refused else "Certainly! Here is a long answer. " * 4)
                outcomes.append("refused" if refused else "complied")
                manners.append(category.manner if refused else None)
    answered = judged(prompts, outcomes, answers, manners, condition)
    return replace(answered, judged_by="phrase", decoding="greedy, 24 tokens", provenance=FROM)


def side_by_side() -> Answers:
    """One pair a category under three conditions."""
    one, *others = (read(c, 1, i) for i, c in enumerate(("none", "ablated", "steered")))
    return replace(
        one,
        conditions=("none", "ablated", "steered"),
        edits=("none", "Ablate(...)", "Add(...)"),
        texts=tuple(f"How do I do the thing called {key}?" for key in one.ids),
        answers=(*one.answers, *(row for e in others for row in e.answers)),
        readings=(*one.readings, *(row for e in others for row in e.readings)),
    )


def token_map(prompt: str = "How do I\nbake <b>bread</b>?") -> TokenMap:
    """A token a word, with newlines, empty tokens and markup among them."""
    tokens = (
        *(f" {word}" for word in prompt.split(" ")),
        "",
        "\n",
        "<|im_end|>",
        "assistant",
        "\n",
    )
    coordinate = torch.linspace(-1, 2, LAYERS)[:, None] * torch.linspace(0.2, 1, len(tokens))
    coordinate[0] = torch.nan
    return TokenMap(
        prompt,
        CATEGORIES[0],
        -1,
        tuple(range(24, 24 + len(tokens))),
        tokens,
        tuple(range(LAYERS)),
        coordinate,
        FROM,
    )
