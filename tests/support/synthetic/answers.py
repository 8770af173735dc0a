"""Answers under edits, simulated: refusal rates and refusal styles with a known truth."""

from dataclasses import replace

import numpy as np
import torch
from scipy.special import ndtr

from refusal_lens.evaluation import Answers
from refusal_lens.evaluation.grid import Grid
from refusal_lens.evaluation.manners import Steered
from refusal_lens.judges import Verdict
from refusal_lens.records import Provenance

FROM = Provenance("simulated", "", "", "", "", "float32", "cpu")
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


REFUSAL = np.array([0.30, 0.55, 0.75, 0.88, 0.97])


OVER = np.array([0.02, 0.04, 0.08, 0.13, 0.20])


def grid(over, n, rng, refusal=None, categories=1, together=0.0):
    """Prompts with a latent level each, so that answers under all directions hang together; those
    of one category are correlated by `together` under all directions."""
    n_directions = len(over)
    shared = 0.5 if not together else 1.0
    refusal = np.tile(REFUSAL, (n_directions, 1)) if refusal is None else refusal
    flags = np.zeros((n_directions, len(STRENGTHS), 2, n))
    for side, rates in enumerate((refusal, over)):
        level = rng.uniform(size=n)
        if together:
            of_category = rng.normal(size=categories)[np.arange(n) % categories]
            level = ndtr(together**0.5 * of_category + (1 - together) ** 0.5 * rng.normal(size=n))
        for d in range(n_directions):
            # Half of a prompt's level is its own under each direction.
            drawn = np.where(rng.uniform(size=n) < shared, level, rng.uniform(size=n))
            flags[d, :, side] = drawn[None] < np.asarray(rates[d])[:, None]
    names = tuple(f"d{i}" for i in range(n_directions))
    return Grid(
        layer=1,
        judged_by="simulation",
        names=names,
        kinds=("direction",) * n_directions,
        lengths=(1.0,) * n_directions,
        strengths=STRENGTHS,
        pairs=tuple(f"category {i % categories}/{i}" for i in range(n)),
        ids=tuple((f"{i}r", f"{i}c") for i in range(n)),
        generated=torch.zeros(n, dtype=torch.bool),
        refused=torch.tensor(flags, dtype=torch.int8),
        provenance=FROM,
    )


def steered(manner_of, names=tuple(f"d{i}" for i in range(6)), judge="simulated", n=12):
    """Six directions; each of `n` prompts per side is refused in the manner of `manner_of`."""
    n *= 2
    readings = tuple(
        tuple(Verdict("refused" if m else "complied", m, ()) for m in row)
        for row in ((None,) * n, *([manner_of(d, p) for p in range(n)] for d in range(6)))
    )
    answers = Answers(
        conditions=("none", *names),
        edits=("none", *(f"Add({name})" for name in names)),
        decoding="",
        ids=tuple(f"p{p}" for p in range(n)),
        texts=("?",) * n,
        categories=("red",) * n,
        labels=("comply",) * (n // 2) + ("refuse",) * (n // 2),
        answers=(("",) * n,) * 7,
        senseless=None,
        provenance=FROM,
        judged_by=judge,
        readings=readings,
    )
    return Steered(layer=3, strength=1.0, answers=answers)


def unjudged(prompts, *rows, conditions=("none",)):
    """Answers to prompts under conditions, which nobody has read."""
    return Answers(
        conditions=conditions,
        edits=conditions,
        decoding="greedy",
        ids=tuple(p.id for p in prompts),
        texts=tuple(p.text for p in prompts),
        categories=tuple(p.category for p in prompts),
        labels=tuple(p.label for p in prompts),
        answers=tuple(map(tuple, rows)),
        senseless=None,
        provenance=FROM,
    )


def judged(prompts, outcomes, answers=None, manners=None, condition="none"):
    """One condition's answers to prompts, with outcomes and manners as given."""
    manners = manners or (None,) * len(outcomes)
    readings = tuple(Verdict(o, m, ()) for o, m in zip(outcomes, manners, strict=True))
    unread = unjudged(prompts, answers or [""] * len(outcomes), conditions=(condition,))
    return replace(unread, judged_by="stand-in", readings=(readings,))
