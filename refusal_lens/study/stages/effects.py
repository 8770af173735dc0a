"""What one direction does: refusals read before and after, beside controls."""

from collections.abc import Callable
from typing import Final

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.evaluation.effects import EditName, Effect, Effects
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label
from refusal_lens.study.compared import STEERED_AT, compared_pairs, controls, n_test_pairs
from refusal_lens.study.fitted import PLACES, POOLED, direction_at, fitted_on, pooled_set
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage

_BESIDE: Final = ("behaviour", "within", "intended")  # sources of labels whose directions are tried


def effects(bench: Bench, tick: Progress) -> Records:
    """Refusal of harmful prompts with a direction ablated, of benign ones with it added.

    The direction pooled over categories of each source of labels that the run holds, at the chosen
    layer, and three controls of the length of the one that the run edits with. Answers are
    generated and read, so that no score stands between an edit and its effect.
    """
    sizes, layer = bench.study.sizes, bench.chosen_layer()
    main = direction_at(pooled_set(bench.results), POOLED, layer)
    tried = {fitted_on(bench.results): main} | _others(bench, layer)
    tried |= {d.category: d for d in controls(bench, main)}
    pairs = compared_pairs(bench, sizes.effect_pairs)
    decoding = Decoding(sizes.effect_tokens)
    sides: dict[Label, tuple[EditName, Callable[[Direction], Edit]]] = {
        "refuse": ("ablated", Ablate),
        "comply": ("added", _added),
    }
    read, rows = dict[str, Answers](), list[Effect]()
    for label, (name, edit_of) in sides.items():
        prompts = pairs.only(label=label)
        conditions: list[tuple[str, Edit | None]] = [(UNEDITED, None)]
        conditions += [(source, edit_of(d)) for source, d in tried.items()]
        unread = answer_under(bench.model, prompts, conditions, decoding=decoding, progress=tick)
        read[name] = answers = unread.judge(bench.judge)
        rows.append(Effect("none", UNEDITED, label, answers.rate(UNEDITED, label=label)))
        rows += [
            Effect(name, source, label, answers.rate(source, label=label, control=UNEDITED))
            for source in tried
        ]
    judge, how = read["added"].judge_name, read["added"].decoding
    provenance = bench.model.provenance(pairs, bench.study.seed)
    return {**read, "effects": Effects(layer, judge, how, tuple(rows), provenance)}


def n_conditions(bench: Bench) -> int:
    """How many conditions are answered at most: unedited, each source of labels, three controls.

    What a model with planted refusals did is measured at another scale, and not edited with here.
    """
    return 1 + (1 if bench.study.planted else len(_BESIDE)) + 3


def _added(d: Direction) -> Edit:
    return Add(d, strength=STEERED_AT)


def _others(bench: Bench, layer: int) -> dict[str, Direction]:
    """The directions of the other sources of labels, where they are of this very model."""
    found: dict[str, Direction] = {}
    for name in _BESIDE:
        stage, record = PLACES[name]
        if name == fitted_on(bench.results) or not bench.results.has(stage, record):
            continue
        held = bench.results.get(stage, record, DirectionSet)
        if held.provenance.model_digest != bench.model.digest:
            continue  # contrasts of a planted model are made at another scale
        try:
            found[name] = held.at(POOLED, layer)
        except InputError:
            continue  # undefined at this layer
    return found


def _n_effects(bench: Bench) -> int:
    return n_test_pairs(bench, bench.study.sizes.effect_pairs) * n_conditions(bench)


STAGE: Final = Stage(
    "effects",
    "refusals with one direction ablated or added, beside controls",
    ("directions", "geometry"),
    (Effects, Answers),
    effects,
    _n_effects,
    lambda b: 2 + TOKEN * b.study.sizes.effect_tokens,
    after=("contrasts", "selection"),
)
