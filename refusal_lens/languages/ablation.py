"""What ablating one language's direction does to the refusals of another.

The refused prompts of each language are answered again with each language's direction projected
out at every layer, and with two controls: a direction of shuffled labels of all languages together,
and an isotropic random one, each drawn once for each fold of pairs and the same in every language.
Directions are cross-fitted: each prompt's is fitted without its pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch

from refusal_lens.directions import Direction
from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.intervals import share_over_prompts, wilson
from refusal_lens.interventions import Ablate
from refusal_lens.languages.crossfit import ALL
from refusal_lens.languages.parallel import Parallel
from refusal_lens.model import Decoding, LensModel, answers_unkept
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

RANDOM: Final = "control: random"
SHUFFLED: Final = "control: shuffled labels"
BESIDE: Final = (ALL, SHUFFLED, RANDOM)
"""What is ablated beside each language's direction: that of all together, and the controls."""

FoldDirections = Mapping[str, Mapping[str, Direction]]
"""Name of a direction -> pair -> the direction that was fitted without that pair."""


@final
@dataclass(frozen=True)
class AblationTransfer(Record):
    """Refusal rates of prompts that the unedited model refused, by language and direction.

    `rates[row][language]`: the share still refused with the row's direction ablated, Wilson's
    interval; its control is the rate of the same prompts under the random direction. Unclear
    answers are left out and counted as missing. `pooled[row]` is the rate over the prompts of all
    languages but the row's; its interval is a bootstrap over pairs, whose translations are not
    independent. The unedited rate is 1 by choice of the prompts.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    rows: tuple[str, ...]
    languages: tuple[str, ...]
    layer: int
    judge: str
    decoding: str
    rates: tuple[tuple[Estimate, ...], ...]
    pooled: tuple[Estimate, ...]
    provenance: Provenance

    def rate(self, direction: str, language: str) -> Estimate:
        """One cell."""
        return self.rates[self.rows.index(direction)][self.languages.index(language)]


def fold_directions(
    residuals: Residuals, site: Site, *, offset: int = -1, seed: int = 0
) -> FoldDirections:
    """Each language's direction, that of all together, and the controls, for each pair.

    Shuffled labels turn the differences of half of the fitting pairs round, drawn for each fold, of
    all languages together; of an odd number one pair is left out. So the true direction cancels, of
    which signs drawn one by one would keep as much as their mean. The random direction is drawn for
    each fold.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> made = rl.languages.fold_directions(model.residuals(parallel), rl.Site(2))
    >>> list(made)
    ['en', 'es', 'all languages', 'control: shuffled labels', 'control: random']

    Raises:
        InputError: as `Parallel.of`, or directions that are undefined there.
    """
    parallel = Parallel.of(residuals, site, offset)
    d, n = parallel.difference, len(parallel.pairs)
    generator = torch.Generator().manual_seed(seed)
    made: dict[str, dict[str, Direction]] = {}
    for fold in parallel.folds:
        fits = torch.ones(n, dtype=torch.float64)
        fits[fold] = 0.0
        signs = _balanced(fits, generator)
        means = torch.einsum("i,aid->ad", fits, d) / fits.sum()
        shuffled = torch.einsum("i,aid->d", signs, d) / fits.sum() / len(d)
        rows = [*zip(parallel.languages, means, strict=True), (ALL, means.mean(0))]
        for name, difference in (*rows, (SHUFFLED, shuffled)):
            direction = Direction.from_difference(
                difference, category=name, site=site, offset=offset, provenance=residuals.provenance
            )
            _give(made, name, direction, [parallel.pairs[i] for i in fold.tolist()])
            if name == ALL:
                random = direction.random_like(seed + int(fold[0]), name=RANDOM)
                _give(made, RANDOM, random, [parallel.pairs[i] for i in fold.tolist()])
    return {name: made[name] for name in (*parallel.languages, *BESIDE)}


def _balanced(fits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Signs of the fitting pairs, drawn in any order, with the sum 0; 0 for the others."""
    rows = fits.nonzero()[:, 0]
    place = torch.randperm(len(rows), generator=generator)
    even = place < len(rows) - len(rows) % 2
    return torch.zeros_like(fits).index_put((rows,), ((1.0 - 2 * (place % 2)) * even).double())


def _give(
    made: dict[str, dict[str, Direction]], name: str, direction: Direction, pairs: Sequence[str]
) -> None:
    made.setdefault(name, {}).update(dict.fromkeys(pairs, direction))


def refused_prompts(prompts: PromptSet, read: Answers, most: int) -> PromptSet:
    """At most so many refuse-side prompts of each language which the model refused.

    Spread over the pairs, so that no category of prompts fills them.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> read = rl.evaluate(model, parallel, rl.make_judge("opening"), decoding=rl.Decoding(2))
    >>> len(rl.languages.refused_prompts(parallel, read, most=3)) <= 6
    True
    """
    refused = read.refused()
    chosen: list[str] = []
    for language in prompts.categories:
        rows = [p for p in prompts if p.category == language and refused.get(p.id, False)]
        rows = [p for p in rows if p.label == "refuse"]
        step = max(1.0, len(rows) / most)
        chosen += [rows[int(i * step)].id for i in range(min(most, len(rows)))]
    return prompts.only(ids=chosen)


def ablation_answers(
    model: LensModel,
    prompts: PromptSet,
    directions: FoldDirections,
    *,
    decoding: Decoding,
    progress: Progress = NO_PROGRESS,
) -> Answers:
    """The answers to refused prompts, unedited and with each direction ablated; not yet judged.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> made = rl.languages.fold_directions(model.residuals(parallel), rl.Site(2))
    >>> few = parallel.only(category="es", label="refuse")
    >>> answers = rl.languages.ablation_answers(model, few, made, decoding=rl.Decoding(2))
    >>> answers.conditions[:3]
    ('none', 'en', 'es')
    """
    conditions = [
        (name, [Ablate(by_pair[p.pair or ""]) for p in prompts])
        for name, by_pair in directions.items()
    ]
    with answers_unkept(model):
        return answer_under(
            model, prompts, [(UNEDITED, None), *conditions], decoding=decoding, progress=progress
        )


def ablation_transfer(read: Answers, prompts: PromptSet, layer: int) -> AblationTransfer:
    """Refusal rates from judged answers of `ablation_answers`; `prompts` are of all languages.

    >>> parallel = rl.languages.by_language(rl.load_languages(languages=("en", "es"), n_pairs=4))
    >>> made = rl.languages.fold_directions(model.residuals(parallel), rl.Site(2))
    >>> few = parallel.only(category="es", label="refuse")
    >>> answers = rl.languages.ablation_answers(model, few, made, decoding=rl.Decoding(2))
    >>> read = answers.judge(rl.make_judge("opening"))
    >>> rl.languages.ablation_transfer(read, parallel, layer=2).rate("en", "en").n
    0
    """
    languages, pairs = prompts.categories, {p.id: p.pair or p.id for p in prompts}
    rows = tuple(name for name in read.conditions if name != UNEDITED)
    rates = tuple(tuple(_rate(read, row, language) for language in languages) for row in rows)
    return AblationTransfer(
        rows=rows,
        languages=languages,
        layer=layer,
        judge=read.judge_name,
        decoding=read.decoding,
        rates=rates,
        pooled=tuple(_other_languages(read, row, pairs) for row in rows),
        provenance=read.provenance,
    )


def _rate(read: Answers, row: str, language: str) -> Estimate:
    """Share still refused; undefined in a language of which nothing was refused."""
    if language not in read.categories:
        return wilson(0, 0)
    return read.rate(row, category=language, control=RANDOM)


def _other_languages(read: Answers, row: str, pairs: Mapping[str, str]) -> Estimate:
    """The rate over prompts of all other languages than the direction's own."""
    others = [c for c in dict.fromkeys(read.categories) if c != row]
    if not others:
        return wilson(0, 0)
    chosen = read.only(category=others)
    plain = chosen.rate(row, control=RANDOM)
    outcomes = zip(chosen.ids, (v.outcome for v in chosen.verdicts(row)), strict=True)
    clear = [
        (pairs[key], outcome == "refused") for key, outcome in outcomes if outcome != "unclear"
    ]
    over = share_over_prompts([hit for _, hit in clear], [pair for pair, _ in clear], plain.control)
    method = "share, percentile bootstrap over pairs"
    return replace(over, method=method, missing=plain.missing)
