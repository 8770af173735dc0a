"""Measuring suffixes in a model: verdicts on answers, and shifts of the residual stream."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.directions.direction import several_directions
from refusal_lens.errors import InputError
from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.judges import Judge
from refusal_lens.model import Decoding, LensModel, answers_unkept
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet, labelled
from refusal_lens.prompts.repeats import once_each
from refusal_lens.suffixes.analysis import analyse
from refusal_lens.suffixes.files import load_suffixes
from refusal_lens.suffixes.neutral import texts_for
from refusal_lens.suffixes.records import SuffixAnalysis, SuffixBasis, SuffixReadings
from refusal_lens.suffixes.shift import Shift, shift_along
from refusal_lens.suffixes.suffix import Suffix, append_suffix, distinct

OFFSET: Final = -1
"""The template's last token, the same with a suffix and without."""
_MOST_BYTES: Final = 1 << 28  # of residuals that are kept at a time


@final
@dataclass(frozen=True)
class Along:
    """Directions at the template's last token, one per layer; the one at `layer` is the main one.

    `controls` are directions at that layer.
    """

    directions: tuple[Direction, ...]
    layer: int
    controls: tuple[Direction, ...] = ()

    def __post_init__(self) -> None:
        several_directions(self.directions)
        if self.layer not in [d.site.layer for d in self.directions]:
            layers = [d.site.layer for d in self.directions]
            raise InputError(f"no direction at layer {self.layer}; there is one at {layers}")
        if wrong := [d for d in (*self.directions, *self.controls) if d.offset != OFFSET]:
            raise InputError(
                f"{wrong[0]!r} is not at offset {OFFSET}; suffixes are compared at the template's "
                "last token"
            )

    @property
    def control_vectors(self) -> Float[Tensor, "control d_model"]:
        """The unit controls, one per row."""
        vectors = [d.vector for d in self.controls]
        return torch.stack(vectors) if vectors else torch.zeros(0, len(self.directions[0].vector))


@final
@dataclass(frozen=True)
class AnswerSettings:
    """How answers are generated, and who reads them."""

    judge: Judge
    decoding: Decoding = Decoding(20)


def compare_suffixes(
    model: LensModel,
    prompts: PromptSet,
    direction: Direction | Along,
    how: AnswerSettings,
    suffixes: Sequence[Suffix] | None = None,
    *,
    progress: Progress = NO_PROGRESS,
) -> SuffixAnalysis:
    """What suffixes do to a model's refusals of these prompts and to its residual stream.

    By default the project's own suffixes. Each is compared with no suffix and with a neutral text
    of as many tokens; answers are generated and read, and not kept. Of prompts that say the same
    the first alone counts.

    >>> how = AnswerSettings(rl.make_judge("substring"), rl.Decoding(2))
    >>> few = rl.load_suffixes()[:2]
    >>> analysis = compare_suffixes(model, prompts.only(split="test"), direction, how, few)
    >>> [row.suffix.id for row in analysis.rows]
    ['please', 'thanks', 'neutral, ... tokens', 'neutral, ... tokens']

    Raises:
        InputError: no prompts or suffixes, a suffix that holds a special token of the model, or a
            direction at another offset than -1.
    """
    if isinstance(direction, Direction):
        along = Along((direction,), direction.site.layer, (direction.random_like(0),))
    else:
        along = direction
    chosen = load_suffixes() if suffixes is None else suffixes
    basis = prepare(model, prompts, along, how, chosen, progress=progress)
    read = measure_texts(model, prompts.only(ids=basis.ids), basis, how, progress=progress)
    return analyse(basis, [read])


def prepare(
    model: LensModel,
    prompts: PromptSet,
    along: Along,
    how: AnswerSettings,
    suffixes: Sequence[Suffix],
    *,
    progress: Progress = NO_PROGRESS,
) -> SuffixBasis:
    """Answers and residuals without a suffix, and the neutral texts of each suffix' length.

    Of prompts that say the same the first alone is taken.

    >>> along, judge = Along((direction,), 2), rl.make_judge("substring")
    >>> how = AnswerSettings(judge, rl.Decoding(2))
    >>> prepare(model, prompts, along, how, rl.load_suffixes()[:3]).tokens
    (8, 35, 47)
    """
    prompts = PromptSet(once_each(labelled(prompts)))
    texts = texts_for(model, prompts, distinct(suffixes))
    answers = _answers(model, prompts, how, progress)
    refused = answers.refused()
    sites = tuple(d.site for d in along.directions)
    resid = model.residuals(prompts, sites=sites, offsets=(OFFSET,), progress=progress)
    return SuffixBasis(
        suffixes=texts.suffixes,
        neutral=texts.neutral,
        tokens=texts.tokens,
        neutral_tokens=texts.neutral_tokens,
        ids=prompts.ids,
        labels=tuple(p.label for p in prompts),
        units=tuple(" ".join(p.unit) for p in prompts),
        refused=tuple(refused.get(key) for key in prompts.ids),
        layer=along.layer,
        sites=sites,
        vectors=torch.stack([d.vector for d in along.directions]),
        scale=torch.tensor([d.scale for d in along.directions]),
        centre=resid.tensor[:, 0].double().mean(0).float(),
        control_names=tuple(d.category for d in along.controls),
        controls=along.control_vectors,
        judge=answers.judge_name,
        decoding=answers.decoding,
        provenance=model.provenance(prompts),
    )


def measure_texts(
    model: LensModel,
    prompts: PromptSet,
    basis: SuffixBasis,
    how: AnswerSettings,
    *,
    progress: Progress = NO_PROGRESS,
) -> SuffixReadings:
    """Verdicts and shifts of some of the basis' prompts with every text behind them.

    `push` is [text, prompt, direction] in units of the residual stream, positive away from refusal.

    >>> along, judge = Along((direction,), 2), rl.make_judge("substring")
    >>> how = AnswerSettings(judge, rl.Decoding(2))
    >>> few = prompts.only(split="test")
    >>> basis = prepare(model, few, along, how, rl.load_suffixes()[:2])
    >>> measure_texts(model, few, basis, how).push.shape  # two suffixes, two neutral texts
    torch.Size([4, 12, 1])
    """
    without = _last_tokens(model, prompts, basis, progress)
    step = max(1, _MOST_BYTES // max(1, without.numel() * without.element_size()))
    refused: list[tuple[bool | None, ...]] = []
    shifts: list[Shift] = []
    control_push: list[Tensor] = []
    for start in range(0, len(basis.texts), step):
        sets = [append_suffix(prompts, text) for text in basis.texts[start : start + step]]
        together = PromptSet(tuple(p for one in sets for p in one))
        verdicts = _answers(model, together, how, progress).refused()
        refused += [tuple(verdicts.get(key) for key in one.ids) for one in sets]
        read = _last_tokens(model, together, basis, progress)
        suffixed = read.reshape(len(sets), *without.shape)
        shifts.append(_along_each(basis, without, suffixed))
        delta = (without[:, basis.at] - suffixed[:, :, basis.at]).double()
        control_push.append(torch.einsum("tpd,cd->ctp", delta, basis.controls.double()))
    return SuffixReadings(
        ids=prompts.ids,
        refused=tuple(refused),
        connectivity=shifts[0].connectivity.float(),
        cosine=shifts[0].cosine.float(),
        push=torch.cat([s.push for s in shifts]).float(),
        orthogonal=torch.cat([s.orthogonal for s in shifts]).float(),
        control_push=torch.cat(control_push, dim=1).float(),
    )


def _last_tokens(
    model: LensModel, prompts: PromptSet, basis: SuffixBasis, progress: Progress
) -> Float[Tensor, "prompt site d_model"]:
    sites, offsets = basis.sites, (OFFSET,)
    return model.residuals(prompts, sites=sites, offsets=offsets, progress=progress).tensor[:, 0]


def _along_each(basis: SuffixBasis, without: Tensor, suffixed: Tensor) -> Shift:
    """The shift at each site along its own direction, sites last."""
    each = [
        shift_along(basis.vectors[s], without[:, s], suffixed[:, :, s], basis.centre[s])
        for s in range(len(basis.sites))
    ]
    names = ("connectivity", "cosine", "push", "orthogonal")
    return Shift(*(torch.stack([getattr(one, name) for one in each], dim=-1) for name in names))


def _answers(
    model: LensModel, prompts: PromptSet, how: AnswerSettings, progress: Progress
) -> Answers:
    """Read answers; their verdicts are kept, their words are not, here or in a store."""
    conditions = [(UNEDITED, None)]
    with answers_unkept(model):
        unread = answer_under(model, prompts, conditions, decoding=how.decoding, progress=progress)
    return unread.judge(how.judge)
