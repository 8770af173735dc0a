"""The order of the stages, and what each costs."""

from typing import Final

from refusal_lens.attribution import TokenMap
from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import Evaluation, SideBySide, TradeOff
from refusal_lens.geometry import (
    BehaviourContrasts,
    Comparison,
    Geometry,
    Separability,
    SharedPool,
    Structure,
)
from refusal_lens.judges import ScoreTrust
from refusal_lens.model.load import EMBEDDED
from refusal_lens.residuals import ResidualStats
from refusal_lens.selection import LayerCurve, Selection
from refusal_lens.study import effects, geometry_stages, stages
from refusal_lens.study.stages import Bench, Stage

# A generated token costs about this share of a forward pass over one prompt's own tokens, in full
# batches; in batches of two or three prompts six times as much.
_TOKEN: Final = 0.1
_FEW: Final = 6


def _n_train(bench: Bench) -> int:
    return len(bench.train)


def _n_val(bench: Bench) -> int:
    return len(bench.split("val", bench.study.sizes.fit_pairs))


def _n_trade_off(bench: Bench) -> int:
    test = len(bench.split("test", bench.study.sizes.trade_off_pairs))
    # Each strength on a category's own prompts, and on all with the pooled direction and two
    # controls; strength 0 once.
    return test + 4 * test * len(set(bench.study.sizes.strengths) - {0.0})


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
        _n_train,
        lambda b: 1,
    ),
    Stage(
        "control",
        "the same in the control model, and what differs",
        ("geometry",),
        (Geometry, Comparison, DirectionSet),
        geometry_stages.control,
        lambda b: 2 * _n_train(b) if b.study.control or b.study.source == EMBEDDED else 0,
        lambda b: 1,
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
    ),
    Stage(
        "layers",
        "refusal score by layer (pooled)",
        ("directions", "score"),
        (LayerCurve,),
        stages.layers,
        lambda b: len(stages.curve_layers(b)),
        lambda b: 3 * b.study.sizes.curve_prompts,
    ),
    Stage(
        "structure",
        "separable or not; clusters, dimension, subspaces",
        ("geometry",),
        (Separability, Structure, SharedPool),
        geometry_stages.structure,
        lambda b: 2 * _n_train(b),
        lambda b: 1,
        after=("selection",),
    ),
    Stage(
        "contrasts",
        "what the model did against what was asked",
        (),
        (Evaluation, BehaviourContrasts),
        geometry_stages.contrasts,
        lambda b: len(b.split("train", b.study.sizes.contrast_pairs)),
        lambda b: 2 + _TOKEN * b.study.sizes.behaviour_tokens,
    ),
    Stage(
        "trade_off",
        "refusal against over-refusal as strength grows",
        ("directions", "geometry", "score", "selection"),
        (TradeOff,),
        effects.trade_off,
        _n_trade_off,
        lambda b: 1,
    ),
    Stage(
        "answers",
        "answers before and after",
        ("directions", "geometry", "selection"),
        (SideBySide,),
        effects.answers,
        lambda b: 3 * b.study.sizes.shown * len(b.prompts.categories),
        lambda b: 1 + _FEW * _TOKEN * b.study.sizes.shown_tokens,
    ),
    Stage(
        "tokens",
        "tokens by layer",
        ("directions",),
        (TokenMap,),
        stages.tokens,
        lambda b: 1,
        lambda b: 1,
    ),
)
