"""The stages that edit the model: the trade-off of steering, and answers before and after."""

from dataclasses import replace

import torch

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.evaluation import Evaluation, SideBySide, TradeOff, evaluate, trade_off_curve
from refusal_lens.evaluation.scoring import scored
from refusal_lens.evaluation.trade_off import Unedited
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.judges import PhraseJudge, ScoreTrust
from refusal_lens.model import Decoding
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.study.stages import Bench, Gap, Records


def trade_off(bench: Bench, tick: Progress) -> Records:
    """Refusal against over-refusal as strength grows: each category's direction on its own
    prompts; the pooled one and its controls (random, shuffled labels, of equal length) on all."""
    sizes = bench.study.sizes
    trust = bench.results.get("score", "trust", ScoreTrust)
    prompts = scored(bench.split("test", sizes.trade_off_pairs), trust)
    if not len(prompts):
        raise Gap("no category has a score that can be trusted; use generation and a judge")
    layer = bench.chosen_layer()
    own = bench.results.get("directions", "directions", DirectionSet)
    pooled = bench.results.get("directions", "pooled", DirectionSet).at("pooled", layer)
    plain = Unedited.measure(bench.model, prompts, trust)
    tick(len(prompts))
    cases = [(own.at(c, layer), plain.only(c)) for c in prompts.categories]
    cases += [
        (d, plain) for d in (pooled, _random(pooled, bench.study.seed), _shuffled(bench, pooled))
    ]
    curves = tuple(
        trade_off_curve(bench.model, d, chosen, trust, strengths=sizes.strengths, progress=tick)
        for d, chosen in cases
    )
    return {"trade_off": TradeOff(layer, "first-token or opening score", curves)}


def answers(bench: Bench, tick: Progress) -> Records:
    """What the model says before and after: unedited, ablated, steered by its own category."""
    sizes = bench.study.sizes
    layer = bench.chosen_layer()
    found = bench.results.get("directions", "directions", DirectionSet)
    shown = _shown(bench, sizes.shown)
    decoding = Decoding(sizes.shown_tokens)

    def read(prompts: PromptSet, condition: str, *edits: Edit) -> Evaluation:
        with bench.model.editing(*edits):
            return evaluate(
                bench.model,
                prompts,
                PhraseJudge(),
                condition=condition,
                decoding=decoding,
                progress=tick,
            )

    parts: dict[str, list[Evaluation]] = {
        "none": [read(shown, "none")],
        "ablated": [],
        "steered": [],
    }
    for category in shown.categories:
        d = found.at(category, layer)
        own = shown.only(category=category)
        parts["ablated"].append(read(own, "ablated", Ablate(d)))
        parts["steered"].append(read(own, "steered", Add(d, strength=1.0)))
    texts = tuple(p.text for p in shown)
    return {"answers": SideBySide(texts, tuple(_joined(e) for e in parts.values()))}


def _shown(bench: Bench, n: int) -> PromptSet:
    """`n` test prompts a category, refuse side and benign side in turn."""
    test = bench.prompts.only(split="test")
    sides: tuple[tuple[Label, int], ...] = (("refuse", (n + 1) // 2), ("comply", n // 2))
    chosen = [
        p
        for c in test.categories
        for label, k in sides
        for p in bench.spread(test.only(category=c), label, k)
    ]
    return PromptSet(tuple(chosen))


def _joined(parts: list[Evaluation]) -> Evaluation:
    """Evaluations of several categories under one kind of condition, as one."""
    first = parts[0]
    edits = " | ".join(dict.fromkeys(e.provenance.edits for e in parts))
    rows = ("ids", "categories", "labels", "answers", "outcomes", "manners")
    joined = {name: tuple(x for e in parts for x in getattr(e, name)) for name in rows}
    provenance = replace(first.provenance, edits=edits)
    return Evaluation(
        condition=first.condition,
        judge=first.judge,
        decoding=first.decoding,
        provenance=provenance,
        **joined,
    )


def _random(like: Direction, seed: int) -> Direction:
    """An isotropic random direction of the same length at the same site."""
    vector = torch.randn(len(like.vector), generator=torch.Generator().manual_seed(seed))
    return _of_length(vector, like, "control: random")


def _shuffled(bench: Bench, like: Direction) -> Direction:
    """The mean difference with the labels of random pairs exchanged, at the same length."""
    found = bench.results.get("geometry", "shuffled", DirectionSet)
    vector = found.at_site("pooled", like.site, like.offset).vector
    return _of_length(vector, like, "control: shuffled labels")


def _of_length(vector: torch.Tensor, like: Direction, name: str) -> Direction:
    scaled = vector / vector.norm() * like.scale
    return Direction.from_difference(
        scaled, category=name, site=like.site, offset=like.offset, provenance=like.provenance
    )
