"""Records of the evaluation, made by the real statistics from simulated answers."""

from dataclasses import replace

import numpy as np

from refusal_lens.evaluation import (
    Costs,
    Effect,
    Effects,
    Matched,
    Taught,
    manner_matrix,
    match_refusal,
)
from refusal_lens.evaluation.costs import Cost
from refusal_lens.evaluation.effects import CONTROLS
from refusal_lens.evaluation.grid import Grid
from refusal_lens.intervals import mean_estimate, wilson
from refusal_lens.judges import JudgeAgreement, Verdict, VerdictCounts, agreement, count_verdicts
from refusal_lens.prompts import LABELS
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.selection import CosmicSelection, Separations
from refusal_lens.selection.cosmic import CosmicCandidate
from refusal_lens.selection.separation import Separation
from support.synthetic.answers import OVER, REFUSAL, grid, steered
from support.synthetic.geometry import CATEGORIES, FROM, LAYER


def matched(categories: tuple[str, ...] = CATEGORIES) -> Matched:
    """Curves of equal shape, and a control that never refuses more than it did."""
    names = (*categories, "pooled", "control: random")
    flat = np.full(5, 0.3)
    drawn = grid(
        (*[OVER] * (len(names) - 1), flat),
        64,
        np.random.default_rng(0),
        (*[REFUSAL] * (len(names) - 1), flat),
    )
    kinds = (*["direction"] * len(categories), "pooled", "control")
    return match_refusal(Grid(**{**vars(drawn), "names": names, "kinds": kinds}), draws=60)


def manners(
    categories: tuple[str, ...] = CATEGORIES,
    styles: tuple[str, ...] = ("harm", "law", "no_self"),
    judge: str = "phrases",
) -> dict[str, Record]:
    """Six directions in two clusters, the first two in the manner that they were taught."""
    names = (*categories, *(f"more {i}" for i in range(6)))[:6]
    answers = steered(lambda d, p: styles[min(d, 2)] if p % 4 else None, names, judge)
    records: dict[str, Record] = {"steered": answers}
    taught = Taught(
        {names[0]: styles[0], names[1]: styles[1]}, {names[0]: styles[1], names[1]: styles[2]}
    )
    for side in ("refuse", "comply"):
        records[side] = manner_matrix(
            answers,
            side,
            clusters={name: 1 + (i > 1) for i, name in enumerate(names)},
            taught=taught,
            draws=29,
        )
    other = Provenance("embedded (adapter deranged, scale 1)", "", "", "", "", "float32", "cpu")
    moved = replace(answers, answers=replace(answers.answers, provenance=other))
    records["control_steered"] = moved
    for side in ("refuse", "comply"):
        records[f"control_{side}"] = manner_matrix(
            moved, side, taught=Taught(taught.other, taught.this), draws=29
        )
    return records


def costs(categories: tuple[str, ...] = CATEGORIES) -> Costs:
    """Ablation and addition of each direction."""
    rows = tuple(
        Cost(
            f"{name} | {what}",
            "Add(...)",
            mean_estimate([0.1, 0.2, 0.1, 0.3], 0.0),
            mean_estimate([3.0, 3.1, 3.2, 3.0, 3.1, 3.2], 3.0),
            mean_estimate([0.1, 0.1, 0.2, 0.0, 0.1, 0.1], 0.0),
            mean_estimate([3.4, 3.5, 3.6], 3.3),
            wilson(1, 12, 0.0),
            wilson(10, 12, 1.0),
            counted(),
        )
        for name in ("pooled", *categories, "control: random")
        for what in ("ablated", "added")
    )
    return Costs("phrases", "max_new_tokens=16", 12, counted(), rows, FROM)


def counted() -> VerdictCounts:
    """Twelve verdicts of every class."""
    reasons = ("loop: 45% of the answer", "unparsed", "endpoint failed: HTTP 500", "neutral: c = 0")
    clear = [Verdict("complied", None, (), flags=("not English: de",))] * 6
    clear += [Verdict("refused", "law", ()), Verdict("partial", "law", ())]
    return count_verdicts("phrases", [*clear, *(Verdict("unclear", None, (), r) for r in reasons)])


def agreed(first: str = "phrases") -> JudgeAgreement:
    """Two judges that differ now and then."""
    verdicts = [Verdict("refused" if i % 2 else "complied", None, ()) for i in range(40)]
    others = [*verdicts[5:], *verdicts[:5]][:20] + verdicts[20:]
    return agreement((first, "substring"), verdicts, others)


def rules() -> dict[str, Record]:
    """COSMIC chooses layer 13; layer 21 separates best."""
    at = Estimate(0.8, 0.7, 0.9, 32, "cosine", 0.4)
    candidate = CosmicCandidate(13, -1, at, at, mean_estimate([0.01, 0.02], 0.0))
    far, near = (Estimate(v, v - 1, v + 1, 64, "distance", 0.0) for v in (5.0, 3.0))
    return {
        "cosmic": CosmicSelection((7, 8, 9), (candidate,), (0,), 0),
        "separation": Separations((Separation(13, -1, near), Separation(21, -1, far))),
    }


def effects() -> Effects:
    """Ablation takes refusals away and addition brings them; controls do next to nothing."""
    n, plain = 60, {"refuse": 45, "comply": 6}
    rows = [Effect("none", "none", side, wilson(plain[side], n)) for side in LABELS]
    bite = {"intended": 39, "behaviour": 36, "within": 15, **dict.fromkeys(CONTROLS, 1)}
    for direction, by in bite.items():
        for side in LABELS:
            for edit, hits in (
                ("ablated", max(0, plain[side] - (by if side == "refuse" else by // 10))),
                ("added", min(n, plain[side] + by)),
            ):
                rate = wilson(hits, n, plain[side] / n)
                rows.append(Effect(edit, direction, side, rate))
    return Effects(LAYER, "simulated", "greedy", tuple(rows), FROM)
