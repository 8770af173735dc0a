"""The stage that shows answers before and after an edit."""

from dataclasses import fields, replace

from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import Evaluation, SideBySide, evaluate
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.judges import PhraseJudge
from refusal_lens.model import Decoding
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.study.stages import Bench, Records


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
    apart = ("condition", "judge", "decoding", "provenance")
    rows = [f.name for f in fields(Evaluation) if f.name not in apart]
    joined = {name: tuple(x for e in parts for x in getattr(e, name)) for name in rows}
    provenance = replace(first.provenance, edits=edits)
    return Evaluation(
        condition=first.condition,
        judge=first.judge,
        decoding=first.decoding,
        provenance=provenance,
        **joined,
    )
