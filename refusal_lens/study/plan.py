"""The order of the stages, and what each costs."""

from typing import Final

from refusal_lens.attribution import TokenMap
from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import (
    Costs,
    Effects,
    Evaluation,
    Grid,
    MannerMatrix,
    Matched,
    SideBySide,
    Steered,
    TradeOff,
    whole_pairs,
)
from refusal_lens.geometry import (
    BehaviourContrasts,
    Comparison,
    Geometry,
    Separability,
    SharedPool,
    Structure,
    WithinTests,
)
from refusal_lens.judges import Agreement, ScoreTrust
from refusal_lens.residuals import ResidualStats
from refusal_lens.selection import CosmicSelection, LayerCurve, Selection, Separations
from refusal_lens.study import (
    effect_stages,
    effects,
    evaluation_stages,
    geometry_stages,
    manner_stages,
    stages,
)
from refusal_lens.study.stages import Bench, Stage

# A generated token costs about this share of a forward pass over one prompt's own tokens.
_TOKEN: Final = 0.1


def _n_train(bench: Bench) -> int:
    return len(bench.train)


def _n_read_again(bench: Bench) -> int:
    """Fitting prompts that are read anew, because their residuals could not be kept."""
    return 1 if bench.keeps_post else len(bench.train)


def _n_val(bench: Bench) -> int:
    return len(bench.split("val", bench.study.sizes.val_pairs))


def _test_pairs(bench: Bench, most: int) -> int:
    return len(whole_pairs(bench.prompts.only(split="test"), most))


def _n_trade_off(bench: Bench) -> int:
    # The categories' directions, the pooled one and three controls, at each strength but 0.
    categories, sizes = len(bench.prompts.categories), bench.study.sizes
    prompts = _test_pairs(bench, sizes.trade_off_pairs)
    scores = prompts * (1 + (categories + 4) * len(set(sizes.strengths) - {0.0}))
    if not bench.study.planted:
        return scores
    # At another scale the scores are calibrated, and some answers are read.
    answers = min(prompts, 2 * (sizes.manner_pairs // 2)) * (1 + categories)
    return scores + len(bench.split("train", sizes.contrast_pairs)) + 2 * answers


def _n_rules(bench: Bench) -> int:
    offsets = bench.model.chat.n_post if bench.study.sizes.all_offsets else 1
    return len(stages.selection_layers(bench)) * offsets


def _n_manners(bench: Bench) -> int:
    prompts = _test_pairs(bench, bench.study.sizes.manner_pairs)
    models = 2 if manner_stages.is_planted(bench) else 1
    return models * prompts * (1 + len(bench.prompts.categories))


def _n_costs(bench: Bench) -> int:
    own = min(len(bench.prompts.categories), bench.study.sizes.cost_categories)
    return 1 + 2 * (own + 2)


def _n_effects(bench: Bench) -> int:
    return _test_pairs(bench, bench.study.sizes.effect_pairs) * effect_stages.n_conditions(bench)


def _n_contrasts(bench: Bench) -> int:
    if not bench.study.planted:
        return 1  # the answers to the fitting prompts are there already
    return len(bench.split("train", bench.study.sizes.contrast_pairs))


STAGES: Final[tuple[Stage, ...]] = (
    Stage(
        "behaviour",
        "what the model does: answers to the fitting prompts",
        (),
        (Evaluation,),
        stages.behaviour,
        _n_train,
        lambda b: 1 + _TOKEN * b.study.sizes.behaviour_tokens,
    ),
    Stage(
        "directions",
        "directions at every layer",
        (),
        (ResidualStats, DirectionSet),
        stages.directions,
        _n_train,
        lambda b: 1,
    ),
    Stage(
        "geometry",
        "cosines with reliability",
        ("behaviour", "directions"),
        (Geometry, DirectionSet),
        geometry_stages.geometry,
        _n_read_again,
        lambda b: 1,
    ),
    Stage(
        "control",
        "the same in the control model, and what differs",
        ("geometry",),
        (Geometry, Comparison, DirectionSet),
        geometry_stages.control,
        lambda b: _n_train(b) if b.study.control or b.study.planted else 0,
        lambda b: 1,
    ),
    Stage(
        "contrasts",
        "what the model did against what was asked, and directions by it",
        (),
        (Evaluation, BehaviourContrasts, WithinTests, DirectionSet),
        geometry_stages.contrasts,
        _n_contrasts,
        lambda b: 2 + _TOKEN * b.study.sizes.behaviour_tokens,
        after=("behaviour", "geometry"),
    ),
    Stage(
        "score",
        "refusal tokens, and where a score can be trusted",
        ("behaviour",),
        (ScoreTrust, Evaluation),
        stages.score,
        _n_val,
        lambda b: 4 + _TOKEN * b.study.sizes.behaviour_tokens,
    ),
    Stage(
        "selection",
        "choice of the layer (pooled)",
        ("directions", "score"),
        (Selection,),
        stages.selection,
        lambda b: (
            len(stages.selection_layers(b))
            * (b.model.chat.n_post if b.study.sizes.all_offsets else 1)
        ),
        lambda b: 3 * b.study.sizes.selection_prompts,
        after=("contrasts",),
    ),
    Stage(
        "layers",
        "refusal score by layer (pooled)",
        ("directions", "score"),
        (LayerCurve,),
        stages.layers,
        lambda b: len(stages.curve_layers(b)),
        lambda b: 3 * b.study.sizes.curve_prompts,
        after=("contrasts",),
    ),
    Stage(
        "effects",
        "refusals with one direction ablated or added, beside controls",
        ("directions", "geometry"),
        (Effects, SideBySide),
        effect_stages.effects,
        _n_effects,
        lambda b: 2 + _TOKEN * b.study.sizes.effect_tokens,
        after=("contrasts", "selection"),
    ),
    Stage(
        "structure",
        "separable or not; clusters, dimension, subspaces",
        ("geometry",),
        (Separability, Structure, SharedPool),
        geometry_stages.structure,
        _n_read_again,
        lambda b: 1,
        after=("selection",),
    ),
    Stage(
        "trade_off",
        "refusal against over-refusal as strength grows",
        ("directions", "geometry"),
        (TradeOff, Grid, Matched, ScoreTrust, Steered),
        evaluation_stages.trade_off,
        _n_trade_off,
        lambda b: 1,
        after=("score", "selection", "contrasts"),
    ),
    Stage(
        "rules",
        "the layer by COSMIC, and the one that separates best",
        ("directions",),
        (CosmicSelection, Separations),
        evaluation_stages.rules,
        _n_rules,
        lambda b: 3 * b.study.sizes.selection_prompts,
        after=("contrasts",),
    ),
    Stage(
        "manners",
        "how it refuses under each direction",
        ("directions", "geometry"),
        (Steered, MannerMatrix),
        manner_stages.manners,
        _n_manners,
        lambda b: 2 + _TOKEN * b.study.sizes.manner_tokens,
        after=("contrasts", "selection", "structure"),
    ),
    Stage(
        "costs",
        "what edits cost",
        ("directions", "geometry"),
        (Costs,),
        evaluation_stages.costs,
        _n_costs,
        # Twice the windows of text, of about three prompts' length; the prompts and the answers.
        lambda b: (
            6 * b.study.sizes.cost_windows
            + b.study.sizes.cost_prompts * (4 + _TOKEN * b.study.sizes.cost_tokens)
        ),
        after=("contrasts", "selection"),
    ),
    Stage(
        "answers",
        "answers before and after",
        ("directions", "geometry", "selection"),
        (SideBySide,),
        effects.answers,
        lambda b: 3 * b.study.sizes.shown * len(b.prompts.categories),
        lambda b: 3 + _TOKEN * b.study.sizes.shown_tokens,
        after=("contrasts",),
    ),
    Stage(
        "agreement",
        "whether judges agree",
        (),
        (Agreement,),
        evaluation_stages.agreements,
        lambda b: 1,
        lambda b: 0,
        after=("behaviour", "score", "trade_off", "manners", "answers"),
    ),
    Stage(
        "tokens",
        "tokens by layer",
        ("directions",),
        (TokenMap,),
        stages.tokens,
        lambda b: 1,
        lambda b: 1,
        after=("contrasts",),
    ),
)
