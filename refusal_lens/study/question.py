"""The frozen question of a study: which model, which prompts, how much of each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal, final

from pydantic import TypeAdapter, ValidationError

from refusal_lens.directions import MEAN_DIFFERENCE, make_estimator
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.embedded.registry import STUDIED, find_embedded
from refusal_lens.errors import InputError
from refusal_lens.judges import Judge, make_judge
from refusal_lens.judges.registry import DEFAULT, Setting, how_it_reads
from refusal_lens.placement import Placement

CONTROL_SCALE: Final = 0.0
_ALL: Final = 1_000_000
# What earlier versions did not ask, with the answer that they took for granted.
_LATER: Final[dict[str, Any]] = {
    "refuse": None,
    "comply": None,
    "thinking": None,
    "estimator": MEAN_DIFFERENCE,
    "judge": DEFAULT,
    "judge_settings": {},
}

Labels = Literal["behaviour", "intended"]


@final
@dataclass(frozen=True)
class Sizes:
    """How many prompts, layers, tokens and strengths a study uses.

    Pairs are counted per category, those of `trade_off`, `manner` and `effect` over all categories
    in turn (200 resolve a difference of about .05; 99 give a rate to within .10); `selection` and
    `curve` prompts are pooled over the categories, as many of the refuse side as of the benign one,
    `cost` prompts are benign. Tokens are the length of judged answers.
    """

    fit_pairs: int = 30
    val_pairs: int = 30
    behaviour_tokens: int = 24
    contrast_pairs: int = 20
    selection_prompts: int = 32
    selection_layers: int = 7
    all_offsets: bool = False
    curve_prompts: int = 24
    curve_layers: int = 15
    trade_off_pairs: int = 32
    # At 2 even a short direction reaches the rates at which directions are compared.
    strengths: tuple[float, ...] = (-1.0, 0.0, 0.5, 1.0, 2.0)
    effect_pairs: int = 99
    effect_tokens: int = 20
    manner_pairs: int = 12
    manner_tokens: int = 20
    cost_prompts: int = 12
    cost_tokens: int = 16
    cost_windows: int = 6
    cost_categories: int = _ALL
    shown: int = 3
    shown_tokens: int = 40

    @classmethod
    def full(cls) -> "Sizes":
        """The whole grid: every prompt, layer and offset."""
        return cls(
            fit_pairs=_ALL,
            val_pairs=_ALL,
            behaviour_tokens=48,
            contrast_pairs=_ALL,
            selection_prompts=64,
            selection_layers=_ALL,
            all_offsets=True,
            curve_prompts=64,
            curve_layers=_ALL,
            trade_off_pairs=200,
            strengths=(-2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
            effect_pairs=297,
            effect_tokens=48,
            manner_pairs=44,
            manner_tokens=48,
            cost_prompts=44,
            cost_tokens=48,
            cost_categories=_ALL,
            shown=6,
            shown_tokens=64,
        )

    @classmethod
    def quick(cls) -> "Sizes":
        """Every stage on few prompts: enough to see that it runs, not to say what it found."""
        return cls(
            fit_pairs=40,  # of a few categories; fewer leave no direction by behaviour
            behaviour_tokens=16,
            val_pairs=16,
            contrast_pairs=8,
            selection_prompts=8,
            selection_layers=4,
            curve_prompts=6,
            curve_layers=4,
            trade_off_pairs=6,
            strengths=(0.0, 1.0, 2.0),
            effect_pairs=9,
            manner_pairs=4,
            manner_tokens=16,
            cost_prompts=3,
            cost_tokens=12,
            cost_windows=2,
            cost_categories=1,
            shown=2,
            shown_tokens=24,
        )

    @classmethod
    def fitting(cls, source: str) -> "Sizes":
        """The default sizes for a model: an embedded one may bring its own."""
        entry = find_embedded(source)
        return cls() if entry is None else cls(**entry.sizes)


@final
@dataclass(frozen=True)
class Study:
    """What is asked, fixed before anything is measured.

    `prompts` is a JSONL file or folder; `refuse` and `comply` are two plain lists in its place.
    `categories` and `layers` None mean all. `layers` are the inputs of blocks at which selection
    and layer curves may look. `control` names the model that tells content from refusal, by default
    that of planted refusals without its adapter, and none for other models. `labels` says what
    tells the two sides of a direction that is used in an edit: what the model did, by default, or
    what was intended, by default where refusals are planted. Cosines are shown of both. `estimator`
    names what fits directions, in edits and cosines (`refusal_lens.directions.ESTIMATORS`). `judge`
    reads the answers, with `judge_settings` of its own (`refusal_lens.judges.JUDGES`); another
    judge, or other settings of how it reads, are another question.

    >>> study = rl.Study("smollm2-planted", categories=("advice", "humanizing", "safety_core"))
    >>> study.fitted_on
    'intended'
    """

    source: str = STUDIED
    revision: str | None = None
    prompts: str | None = None
    refuse: str | None = None
    comply: str | None = None
    categories: tuple[str, ...] | None = None
    layers: tuple[int, ...] | None = None
    adapter_scale: float = 1.0
    system: str | None = None
    thinking: bool | None = None
    control: str | None = None
    labels: Labels | None = None
    estimator: str = MEAN_DIFFERENCE
    judge: str = DEFAULT
    judge_settings: dict[str, Setting] = field(default_factory=dict[str, Setting])
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes)

    def __post_init__(self) -> None:
        make_estimator(self.estimator)  # an unknown name ends here, before any model is loaded

    @property
    def embedded(self) -> EmbeddedModel | None:
        """The embedded model that is studied; None for another."""
        return find_embedded(self.source)

    @property
    def planted(self) -> bool:
        """Whether refusals are planted in the model, and on."""
        entry = self.embedded
        return entry is not None and entry.planting is not None and self.adapter_scale > 0

    @property
    def fitted_on(self) -> Labels:
        """Which labels fit the directions that are used in edits."""
        return self.labels or ("intended" if self.planted else "behaviour")

    def plain(self) -> dict[str, Any]:
        """The question as plain JSON values, as it stands in the manifest."""
        values = asdict(self)
        if self.embedded is not None:
            values["source"] = self.embedded.key
        values["sizes"]["strengths"] = list(self.sizes.strengths)
        for name, default in _LATER.items():  # an earlier version's question stays the same
            if values[name] == default:
                del values[name]
        for name in ("categories", "layers"):
            values[name] = None if values[name] is None else list(values[name])
        return values

    def identity(self) -> dict[str, Any]:
        """What makes two questions one: all of `plain` but where the judge runs."""
        settings = how_it_reads(self.judge, self.judge_settings)
        return replace(self, judge_settings=settings).plain()

    def make_judge(self, placement: Placement) -> Judge:
        """Who reads the answers; a judge that is a model runs at `placement`.

        Raises:
            InputError: no such judge, or it can't be made of these settings.
        """
        return make_judge(self.judge, self.judge_settings, placement=placement)

    @classmethod
    def of(cls, plain: Any) -> "Study":
        """The question that a manifest holds.

        Raises:
            InputError: it is not whole.
        """
        try:
            return TypeAdapter(cls).validate_python(plain)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(
                f"the run's manifest holds no whole question ({where}: {first['msg']}); run the "
                "study again"
            ) from None

    def default_folder(self) -> str:
        """`runs/<model>[-scale][-estimator]-seed<seed>[-full]`.

        The same question finds its run again.
        """
        name = self.source.rstrip("/").split("/")[-1]
        entry = self.embedded
        if entry is not None:
            name = entry.key
        scale = f"-scale{self.adapter_scale:g}" if entry and entry.planting else ""
        full = "-full" if self.sizes == Sizes.full() else ""
        full = "-quick" if self.sizes == Sizes.quick() else full
        way = "" if self.estimator == MEAN_DIFFERENCE else f"-{self.estimator}"
        return f"runs/{name}{scale}{way}-seed{self.seed}{full}"

    def layers_of(
        self, n_layers: int, most: int, among: Sequence[int] | None = None
    ) -> tuple[int, ...]:
        """At most `most` layers, evenly spread over those asked for, by default all but layer 0.

        `among` leaves out what serves no purpose, unless nothing else was asked for.

        Raises:
            InputError: a layer that the model does not have.
        """
        asked = self.layers or tuple(range(1, n_layers))
        for layer in asked:
            if not 0 <= layer < n_layers:
                raise InputError(
                    f"layer {layer} is not in this model: its layers are 0 to {n_layers - 1}"
                )
        if among is not None:
            asked = tuple(layer for layer in asked if layer in among) or asked
        if most >= len(asked):
            return tuple(sorted(asked))
        step = (len(asked) - 1) / (most - 1)
        return tuple(sorted({asked[round(i * step)] for i in range(most)}))
