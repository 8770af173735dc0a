"""The token beside the direction: what each takes away and adds, and both at matched refusal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch

from refusal_lens.directions import Direction
from refusal_lens.directions.registry import make_estimator
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Grid, Reading, measure_grid
from refusal_lens.evaluation.grid import DirectionKind
from refusal_lens.interventions import UNEDITED, Ablate
from refusal_lens.judges import Judge, ScoreTrust
from refusal_lens.judges.first_token import Mode
from refusal_lens.model import Decoding, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.refusal_tokens.names import RefusalTokens
from refusal_lens.refusal_tokens.readings import TokenReadings, read_answers
from refusal_lens.refusal_tokens.roc import text_rate
from refusal_lens.selection import Selection, eligible_layers, score_candidates, select

BIAS: Final = "bias on the token"
ADDED: Final = "direction added"
NATS: Final = 8.0
"""What strength 1 of the bias adds to the refusal tokens' logits."""


@final
@dataclass(frozen=True)
class Answered:
    """How answers are made and read, the strengths of edits, and the seed of their control."""

    judge: Judge
    decoding: Decoding
    strengths: tuple[float, ...] = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    seed: int = 0


@final
@dataclass(frozen=True)
class TokenEffect:
    """What one edit leaves, of the harmful or the benign prompts.

    `begins` is the share whose first token is a refusal token; `text` the share of answers read as
    refusals when the model answers by itself; `behind_refusal` and `behind_respond` that of the
    answers which were made to begin with the most probable refusal token, and with respond.
    """

    edit: str
    harmful: bool
    begins: Estimate
    text: Estimate
    behind_refusal: Estimate
    behind_respond: Estimate


@final
@dataclass(frozen=True)
class TokenEffects(Record):
    """Rows by edit and side; the control of each is the unedited row's value."""

    SCHEMA_VERSION: ClassVar[int] = 1

    layer: int
    judge: str
    rows: tuple[TokenEffect, ...]
    provenance: Provenance


def choose_direction(
    model: LensModel,
    fit: PromptSet,
    choose: PromptSet,
    tokens: RefusalTokens,
    layers: Sequence[int],
    progress: Progress = NO_PROGRESS,
) -> tuple[Direction, Selection]:
    """The direction pooled over categories at the layer where it acts best, and how it was chosen.

    Fitted on `fit` by intended labels at the last token of the template; Arditi's rule on `choose`,
    with the log-odds of the refusal tokens themselves as the refusal score.

    >>> tokens = rl.refusal_tokens.RefusalTokens(7, ("advice",), (9,), ("[respond]", "[advice]"))
    >>> test = prompts.only(split="test")
    >>> choose_direction(model, prompts, test, tokens, [1, 2])[0].category
    'pooled'

    Raises:
        InputError: no layer that can be chosen, or prompts of one side only.
    """
    stats = model.residual_stats(fit, offsets=[-1])
    pooled = make_estimator("mean_difference").pooled(stats)
    usable = [layer for layer in layers if layer in eligible_layers(model.n_layers)]
    if not usable:
        raise InputError(
            f"layers {list(layers)}: none can be chosen; name some of "
            f"{list(eligible_layers(model.n_layers))}"
        )
    directions = [pooled.at(pooled.categories[0], layer) for layer in usable]
    mode: dict[str, Mode] = dict.fromkeys(choose.categories, "first token")
    trust = ScoreTrust(tokens.refuse, tokens.pieces[1:], {}, mode, {}, {}, {})
    sides = {
        "harmful": choose.only(label="refuse"),
        "harmless": choose.only(label="comply"),
    }
    candidates = score_candidates(model, directions, trust, **sides, progress=progress)
    selection = select(candidates, model.n_layers)
    return directions[usable.index(selection.choice.layer)], selection


def measure_trade_offs(
    model: LensModel,
    direction: Direction,
    readings: TokenReadings,
    pairs: PromptSet,
    how: Answered,
    progress: Progress = NO_PROGRESS,
) -> Grid:
    """The bias on the refusal tokens and the direction added, on the same pairs, by read answers.

    Strength 1 of the bias is `NATS` nats. A direction of its length drawn at random is the control.
    `pairs` must be among the prompts of `readings`.
    """
    random = direction.random_like(how.seed)
    cases: list[tuple[Direction, DirectionKind]] = [
        (replace(direction, category=ADDED), "direction"),
        (random, "control"),
    ]
    grid = measure_grid(
        model,
        cases,
        pairs,
        Reading(None, how.judge, how.decoding),
        strengths=how.strengths,
        progress=progress,
    )
    place = {key: i for i, key in enumerate(readings.ids)}
    rows = torch.tensor([place[p.id] for p in pairs])
    step = readings.step_zero
    flags = [readings.read_as(step.by_bias(NATS * s))[rows] for s in grid.strengths]
    by_bias = torch.stack(flags).unflatten(-1, (-1, 2)).mT  # strength side pair
    return replace(
        grid,
        names=(BIAS, *grid.names),
        kinds=("direction", *grid.kinds),
        lengths=(NATS, *grid.lengths),
        refused=torch.cat([by_bias[None], grid.refused]),
        generated=torch.ones_like(grid.generated),
    )


def measure_effects(
    model: LensModel,
    direction: Direction,
    prompts: PromptSet,
    plain: TokenReadings,
    how: Answered,
    progress: Progress = NO_PROGRESS,
) -> TokenEffects:
    """Unedited and with the direction ablated: the first token, and the answers behind each.

    Whether ablation acts by the token or behind it: behind a refusal token that is forced, what is
    left of refusal in the text is not the token's doing. `plain` are the readings unedited.
    """
    random = direction.random_like(how.seed)
    rows = _rows(UNEDITED, plain, None)
    for name, edit in (("direction ablated", direction), ("control: random ablated", random)):
        with model.editing(Ablate(edit)):
            edited = read_answers(model, prompts, plain.tokens, how.judge, how.decoding, progress)
        rows += _rows(name, edited, rows)
    return TokenEffects(direction.site.layer, plain.judge, tuple(rows), plain.provenance)


def _rows(name: str, read: TokenReadings, plain: list[TokenEffect] | None) -> list[TokenEffect]:
    emitted = read.step_zero.by_bias(0.0)
    begins = (emitted >= 0).to(torch.int8)
    rows: list[TokenEffect] = []
    for harmful in (True, False):
        side = read.harmful == harmful
        of = {
            "begins": text_rate(begins, side),
            "text": text_rate(read.read_as(emitted), side),
            "behind_refusal": text_rate(read.refused, side),
            "behind_respond": text_rate(read.answered, side),
        }
        if plain is not None:
            before = next(r for r in plain if r.edit == UNEDITED and r.harmful == harmful)
            of = {k: replace(e, control=getattr(before, k).value) for k, e in of.items()}
        rows.append(TokenEffect(name, harmful, **of))
    return rows
