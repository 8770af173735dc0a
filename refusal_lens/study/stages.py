"""The stages of a study: what each measures, from which prompts, and what it needs before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

from refusal_lens.attribution import token_map
from refusal_lens.directions import Direction, DirectionSet, Estimator, make_estimator
from refusal_lens.embedded.adapter import scale_nearest_half
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Evaluation, evaluate, fit_score
from refusal_lens.evaluation.scoring import scored
from refusal_lens.geometry import Geometry
from refusal_lens.judges import RefusalJudge, ScoreTrust
from refusal_lens.model import Decoding, LensModel, load_model
from refusal_lens.model.forward import Progress
from refusal_lens.model.lens import Offsets
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Record
from refusal_lens.residuals import Residuals, ResidualStats
from refusal_lens.selection import (
    LayerCurve,
    Selection,
    eligible_layers,
    score_candidates,
    select,
)
from refusal_lens.sites import Site
from refusal_lens.study.fitted import Gap as Gap
from refusal_lens.study.fitted import at_layer, category_set, defined, pooled_set
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results

Records = dict[str, Record]
_BYTES_A_VALUE: Final = 4
_MOST_KEPT: Final = 1 << 30  # bytes


@final
@dataclass(eq=False)
class Bench:
    """What every stage works with."""

    study: Study
    model: LensModel
    prompts: PromptSet
    results: Results
    _resid: Residuals | None = None
    _post: Residuals | None = None

    def split(self, name: str, pairs: int) -> PromptSet:
        """The first pairs of each category in a split."""
        return self.prompts.only(split=name).first(pairs)

    @cached_property
    def train(self) -> PromptSet:
        """The pairs that directions are fitted on."""
        return self.split("train", self.study.sizes.fit_pairs)

    @property
    def estimator(self) -> Estimator:
        """What fits directions in this study."""
        return make_estimator(self.study.estimator)

    def fit(self, data: Residuals | ResidualStats) -> DirectionSet:
        """Directions of each category by the study's estimator."""
        return self.estimator(data)

    def fitting_data(
        self,
        model: LensModel,
        prompts: PromptSet,
        *,
        sites: Sequence[Site] | None = None,
        offsets: Offsets = "post",
        tick: Progress = lambda n: None,
    ) -> Residuals | ResidualStats:
        """What the estimator fits from: sums of the prompts' residuals where these suffice."""
        read = model.residual_stats if self.estimator.from_sums else model.residuals
        return read(prompts, sites=sites, offsets=offsets, progress=tick)

    def post_resid(self, tick: Progress = lambda n: None) -> Residuals | None:
        """Residuals of the fitting prompts at every block's input and offset of the template.

        Read once and kept, since several stages ask for them; None where they take too much memory.
        """
        if not self.keeps_post:
            return None
        if self._post is None:
            self._post = self.model.residuals(self.train, offsets="post", progress=tick)
        return self._post

    @property
    def keeps_post(self) -> bool:
        """Whether the residuals of `post_resid` are few enough to be kept."""
        model = self.model
        values = len(self.train) * model.chat.n_post * model.n_layers * model.d_model
        return _BYTES_A_VALUE * values <= _MOST_KEPT

    def train_resid(self, tick: Progress = lambda n: None) -> Residuals:
        """Residuals of the fitting prompts' last token at every block's input, read once."""
        if (post := self.post_resid(tick)) is not None:
            return post.select(offsets=(-1,))
        if self._resid is None:
            self._resid = self.model.residuals(self.train, progress=tick)
        return self._resid

    def spread(self, prompts: PromptSet, label: Label, n: int) -> PromptSet:
        """`n` prompts of one side, taken in turn from each category."""
        rows = {
            c: [p for p in prompts if p.category == c and p.label == label]
            for c in prompts.categories
        }
        turns = [p for i in range(n) for own in rows.values() for p in own[i : i + 1]]
        return PromptSet(tuple(turns[:n]))

    def chosen_layer(self) -> int:
        """The selected layer; without a selection, the most reliable one of the pooled set."""
        return chosen_layer(self.results)


def half_refusing(bench: Bench) -> LensModel:
    """The model in which contrasts and comparisons at equal refusal are made.

    The embedded model at the adapter scale whose refusal of the refuse side is nearest one half;
    the study's own model where it is that one, has no adapter on, or is another.
    """
    study = bench.study
    if (entry := study.embedded) is None or not study.planted:
        return bench.model
    if (scale := scale_nearest_half(entry)) == study.adapter_scale:
        return bench.model
    own = bench.model.placement
    return load_model(entry.key, adapter_scale=scale, system=study.system, placement=own)


def chosen_layer(results: Results) -> int:
    """The selected layer; without a selection, the most reliable one of the pooled set.

    Raises:
        InputError: the run has neither a selection nor a geometry.
    """
    if results.has("selection", "selection"):
        return results.get("selection", "selection", Selection).choice.layer
    geometry = results.get("geometry", "intended", Geometry)
    best = int(geometry.reliability.nan_to_num(-1.0).mean(1).argmax())
    return geometry.sites[best].layer


@final
@dataclass(frozen=True)
class Stage:
    """A part of a study. `ticks` counts what its progress counts, `cost` prompt passes a tick.

    It can't run without what it `needs`; of the stages it comes `after` it takes what is there.
    `writes` names the kinds of records it makes: a new schema of one of them makes it stale, and
    so do other `sizes` than the question's own.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    writes: tuple[type[Any], ...]
    run: Callable[[Bench, Progress], Records]
    ticks: Callable[[Bench], int]
    cost: Callable[[Bench], float]
    after: tuple[str, ...] = ()
    sizes: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def schemas(self) -> dict[str, int]:
        """Schema versions of the records that the stage writes."""
        return {kind.__name__: kind.SCHEMA_VERSION for kind in self.writes}


def behaviour(bench: Bench, tick: Progress) -> Records:
    """What the model does with the fitting prompts."""
    decoding = Decoding(bench.study.sizes.behaviour_tokens)
    read = evaluate(bench.model, bench.train, RefusalJudge(), decoding=decoding, progress=tick)
    return {"train": read}


def directions(bench: Bench, tick: Progress) -> Records:
    """Directions of each category and of all pooled, at every layer and offset."""
    resid, estimator = bench.post_resid(tick), bench.estimator
    if resid is None and not estimator.from_sums:
        raise Gap(
            f"the estimator {estimator.name!r} needs the residuals of all fitting prompts at once, "
            "which take too much memory here; give fewer prompts, or use mean_difference"
        )
    if resid is None:
        data = stats = bench.model.residual_stats(bench.train, progress=tick)
    else:
        stats = resid.stats()
        data = stats if estimator.from_sums else resid
    return {"stats": stats, "directions": bench.fit(data), "pooled": bench.estimator.pooled(data)}


def score(bench: Bench, tick: Progress) -> Records:
    """Refusal tokens from `train`; where the scores can be trusted, from `val`."""
    val = bench.split("val", bench.study.sizes.val_pairs)
    decoding = Decoding(bench.study.sizes.behaviour_tokens)
    val_read = evaluate(bench.model, val, RefusalJudge(), decoding=decoding, progress=tick)
    read = bench.results.get("behaviour", "train", Evaluation)
    try:
        trust = fit_score(bench.model, bench.train, read, val, val_read)
    except InputError as error:
        raise Gap(str(error)) from None
    return {"trust": trust, "val": val_read}


def selection_layers(bench: Bench) -> tuple[int, ...]:
    """Layers of the candidates: those that can be chosen, where any of them was asked for."""
    n = bench.model.n_layers
    return bench.study.layers_of(n, bench.study.sizes.selection_layers, eligible_layers(n))


def curve_layers(bench: Bench) -> tuple[int, ...]:
    """Layers of the curves, the last ones included."""
    return bench.study.layers_of(bench.model.n_layers, bench.study.sizes.curve_layers)


def selection(bench: Bench, tick: Progress) -> Records:
    """Layer and offset by Arditi's rule, with the direction pooled over categories."""
    sizes = bench.study.sizes
    pooled = pooled_set(bench.results)
    offsets = pooled.offsets if sizes.all_offsets else (-1,)
    found = score_candidates(
        bench.model,
        defined(pooled, selection_layers(bench), offsets),
        _trust(bench),
        harmful=_asked(bench, "refuse", sizes.selection_prompts),
        harmless=_asked(bench, "comply", sizes.selection_prompts),
        progress=tick,
    )
    try:
        return {"selection": select(found, bench.model.n_layers)}
    except ValueError as error:
        raise Gap(f"no layer can be selected: {error}") from None


def layers(bench: Bench, tick: Progress) -> Records:
    """The refusal score by layer, under ablation and under addition."""
    sizes = bench.study.sizes
    pooled = pooled_set(bench.results)
    found = score_candidates(
        bench.model,
        defined(pooled, curve_layers(bench), (-1,)),
        _trust(bench),
        harmful=_asked(bench, "refuse", sizes.curve_prompts),
        harmless=_asked(bench, "comply", sizes.curve_prompts),
        progress=tick,
    )
    return {"curve": LayerCurve("pooled", found)}


def tokens(bench: Bench, tick: Progress) -> Records:
    """One prompt's tokens by layer, along its own category's directions."""
    found = category_set(bench.results)
    asked = bench.prompts.only(split="test", label="refuse")
    prompt = next((p for p in asked if p.category in found.categories), None)
    if prompt is None:
        raise Gap("no category with a direction has a harmful prompt in `test`")
    tick(1)
    return {"tokens": token_map(bench.model, prompt, found, prompt.category)}


def _trust(bench: Bench) -> ScoreTrust:
    return bench.results.get("score", "trust", ScoreTrust)


def _asked(bench: Bench, label: Label, n: int) -> PromptSet:
    """Held-out prompts that the unedited model treats as intended, in categories with a score."""
    val = bench.prompts.only(split="val")
    read = bench.results.get("score", "val", Evaluation)
    kept = scored(
        read.as_intended(PromptSet(tuple(p for p in val if p.id in set(read.ids)))), _trust(bench)
    )
    chosen = bench.spread(kept, label, n)
    if len(chosen) < 2:
        raise Gap(
            f"only {len(chosen)} {label}-side prompts of `val` are treated as intended in a "
            "category whose score can be trusted; at least 2 are needed"
        )
    return chosen


def own_directions(bench: Bench, layer: int) -> list[Direction]:
    """Each category's direction where it is defined.

    Raises:
        Gap: no category has one.
    """
    return at_layer(category_set(bench.results), layer)
