"""What one direction does: refusals read before and after, beside controls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.evaluation.effects import CONTROLS, EditName, Effect, Effects
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label
from refusal_lens.study.compared import (
    STEERED_AT,
    compared_pairs,
    compared_prompts,
    controls,
)
from refusal_lens.study.fitted import POOLED, POOLED_OF, direction_at, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, VerdictsOf, Work

EFFECTS: Final = Key("effects", "effects", Effects)
ABLATED: Final = Key("effects", "ablated", Answers)
ADDED: Final = Key("effects", "added", Answers)
_ANSWERS_OF: Final[dict[EditName, Key[Answers]]] = {"ablated": ABLATED, "added": ADDED}


@final
@dataclass(frozen=True)
class EffectSizes(StageSizes):
    """Test pairs over all categories in turn, and the longest answer in tokens.

    200 pairs resolve a difference of about .05; 99 give a rate to within .10.
    """

    effect_pairs: int = size(99, full=297, quick=9)
    effect_tokens: int = size(20, full=48)


_BESIDE: Final = ("behaviour", "within", "intended")  # sources of labels whose directions are tried


def effects(bench: Bench, tick: Progress) -> Records:
    """Refusal of harmful prompts with a direction ablated, of benign ones with it added.

    The direction pooled over categories of each source of labels that the run holds, at the chosen
    layer, and three controls of the length of the one that the run edits with. Answers are
    generated and read, so that no score stands between an edit and its effect.
    """
    sizes, layer = bench.size(EffectSizes), chosen_layer(bench.results)
    main = direction_at(pooled_set(bench.results), POOLED, layer)
    directions = {bench.study.fitted_on: main} | _others(bench, layer)
    directions |= {d.category: d for d in controls(bench, main)}
    tried = {name: directions[name] for name in _tried(bench) if name in directions}
    pairs = compared_pairs(bench, sizes.effect_pairs)
    decoding = Decoding(sizes.effect_tokens)
    sides: dict[Label, tuple[EditName, Callable[[Direction], Edit]]] = {
        "refuse": ("ablated", Ablate),
        "comply": ("added", _added),
    }
    records, rows = Records(), list[Effect]()
    judged: list[Answers] = []
    for label, (name, edit_of) in sides.items():
        prompts = pairs.only(label=label)
        conditions: list[tuple[str, Edit | None]] = [(UNEDITED, None)]
        conditions += [(source, edit_of(d)) for source, d in tried.items()]
        unread = answer_under(bench.model, prompts, conditions, decoding=decoding, progress=tick)
        records[_ANSWERS_OF[name]] = answers = unread.judge(bench.judge)
        judged.append(answers)
        rows.append(Effect("none", UNEDITED, label, answers.rate(UNEDITED, label=label)))
        rows += [
            Effect(name, source, label, answers.rate(source, label=label, control=UNEDITED))
            for source in tried
        ]
    provenance = bench.model.provenance(pairs, bench.study.seed)
    judge, how = judged[-1].judge_name, judged[-1].decoding
    return records | {EFFECTS: Effects(layer, judge, how, tuple(rows), provenance)}


def _tried(bench: Outline) -> tuple[str, ...]:
    """The directions that are tried where they are defined, the one that the run edits with first.

    What a model with planted refusals did is measured at another scale, and not edited with here.
    """
    first = bench.study.fitted_on
    others = () if bench.study.planted else tuple(name for name in _BESIDE if name != first)
    return (first, *others, *CONTROLS)


def _work(bench: Outline) -> Work:
    sizes, conditions = bench.size(EffectSizes), 1 + len(_tried(bench))
    prompts = compared_prompts(bench, sizes.effect_pairs)
    return Work(len(prompts) * conditions, 2, sizes.effect_tokens)


def _added(d: Direction) -> Edit:
    return Add(d, strength=STEERED_AT)


def _others(bench: Bench, layer: int) -> dict[str, Direction]:
    """The directions of the other sources of labels, where they are of this very model."""
    others: dict[str, Direction] = {}
    for name in _BESIDE:
        directions = bench.results.find(POOLED_OF[name])
        if directions is None or name == bench.study.fitted_on:
            continue
        if directions.provenance.model_digest != bench.model.digest:
            continue  # contrasts of a planted model are made at another scale
        try:
            others[name] = directions.at(POOLED, layer)
        except InputError:
            continue  # undefined at this layer
    return others


STAGE: Final = Stage(
    "effects",
    "refusals with one direction ablated or added, beside controls",
    run=effects,
    work=_work,
    writes=(EFFECTS, ABLATED, ADDED),
    needs=("directions", "geometry"),
    after=("contrasts", "selection"),
    uses=(EffectSizes,),
    place=90,
    verdicts=(
        VerdictsOf("effects, ablated", ABLATED, each=True),
        VerdictsOf("effects, added", ADDED, each=True),
    ),
)
