"""The frozen question of a study: which model, which prompts, how much of each."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal, cast, final

from pydantic import TypeAdapter, ValidationError

from refusal_lens.arguments import check_seed
from refusal_lens.directions import MEAN_DIFFERENCE, make_estimator
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.embedded.registry import STUDIED, find_embedded
from refusal_lens.errors import InputError
from refusal_lens.judges import Judge, make_judge
from refusal_lens.judges.first_token import SCORE_KINDS, ScoreKind
from refusal_lens.judges.registry import DEFAULT, JudgeSettings, Setting, check_judge, how_it_reads
from refusal_lens.placement import Placement
from refusal_lens.records import Brief
from refusal_lens.study.sizes import Sizes as Sizes

CONTROL_SCALE: Final = 0.0
# What earlier versions did not ask, with the answer that they took for granted.
_LATER: Final[dict[str, Any]] = {
    "refuse": None,
    "comply": None,
    "thinking": None,
    "estimator": MEAN_DIFFERENCE,
    "score": "either",
    "judge": DEFAULT,
    "judge_settings": {},
}

Labels = Literal["behaviour", "intended"]


@final
@dataclass(frozen=True)
class Study(Brief):
    """What is asked, fixed before anything is measured.

    `prompts` is a JSONL file or folder; `refuse` and `comply` are two plain lists in its place.
    `categories` and `layers` None mean all. `layers` are the inputs of blocks at which selection
    and layer curves may look. `control` names the model that tells content from refusal, by default
    that of planted refusals without its adapter, and none for other models. `labels` names the
    labels that define the two classes of a direction that is used in an edit: what the model did
    ("behaviour", the default), or what was intended ("intended", the default where refusals are
    planted). Cosines are shown of both. `estimator`
    names what fits directions, in edits and cosines: one of `refusal_lens.directions.ESTIMATORS`
    that geometry takes (`Estimator.no_geometry`). `score` names which score may stand for reading
    answers, where it agrees with the judge: of the "first token", of the "opening", or "either".
    `judge` reads the answers, with `judge_settings` of its own (`refusal_lens.judges.JUDGES`);
    another judge, or other settings of how it reads, are another question.

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
    score: ScoreKind = "either"
    judge: str = DEFAULT
    judge_settings: dict[str, Setting] = field(default_factory=dict[str, Setting])
    seed: int = 0
    sizes: Sizes = field(default_factory=Sizes.default)

    def __post_init__(self) -> None:
        if self.score not in SCORE_KINDS:
            raise InputError(f"score {self.score!r} is unknown; use one of {list(SCORE_KINDS)}")
        check_seed(self.seed)
        if self.layers == ():
            raise InputError("layers is empty; name at least one, or give None for all")
        # An estimator that is unknown, or fails later, ends here, before any model is loaded.
        if (why := make_estimator(self.estimator).no_geometry) is not None:
            raise InputError(
                f"the estimator {self.estimator!r} {why}; a study needs another one, as "
                f"{MEAN_DIFFERENCE!r} (compare-estimators takes it beside)"
            )

    @property
    def embedded(self) -> EmbeddedModel | None:
        """The embedded model that is studied; None for another."""
        return find_embedded(self.source)

    @property
    def planted(self) -> bool:
        """Whether refusals are planted in the model, and on."""
        return refusals_planted(self.source, self.adapter_scale)

    @property
    def fitted_on(self) -> Labels:
        """Which labels fit the directions that are used in edits."""
        return self.labels or ("intended" if self.planted else "behaviour")

    def plain(self) -> dict[str, Any]:
        """The question as plain JSON values, as it stands in the manifest.

        >>> rl.Study("my-model", layers=(1, 2)).plain()["layers"]
        [1, 2]
        """
        values = asdict(replace(self, sizes=Sizes(()))) | {"sizes": self.sizes.plain()}
        if self.embedded is not None:
            values["source"] = self.embedded.key
        for name, default in _LATER.items():  # an earlier version's question stays the same
            if values[name] == default:
                del values[name]
        for name in ("categories", "layers"):
            values[name] = None if values[name] is None else list(values[name])
        return values

    def identity(self) -> dict[str, Any]:
        """What makes two questions one: `plain` without where the judge runs, and without sizes,
        which belong to single stages.

        >>> "sizes" in rl.Study("my-model").identity()
        False
        """
        settings = how_it_reads(self.judge, self.judge_settings)
        plain = replace(self, judge_settings=settings).plain()
        return {name: value for name, value in plain.items() if name != "sizes"}

    def is_read_by(self, judge: str, settings: JudgeSettings) -> bool:
        """Whether the study's answers were read by that judge with settings that read alike.

        >>> study = rl.Study(judge="llm", judge_settings={"endpoint": "http://127.0.0.1:1/v1"})
        >>> other = {"endpoint": "http://127.0.0.1:2/v1"}
        >>> study.is_read_by("llm", other | {"samples": 5}), study.is_read_by("llm", {"samples": 1})
        (True, False)

        Raises:
            InputError: no judge of the two has that name, or it has no such setting.
        """
        reads = [
            (name, how_it_reads(name, check_judge(name, given)))
            for name, given in ((judge, settings), (self.judge, self.judge_settings))
        ]
        return reads[0] == reads[1]

    def make_judge(self, placement: Placement) -> Judge:
        """Who reads the answers; a judge that is a model runs at `placement`.

        >>> rl.Study("my-model", judge="substring").make_judge(rl.Placement()).name
        'substring'

        Raises:
            InputError: no such judge, or it can't be made of these settings.
        """
        return make_judge(self.judge, self.judge_settings, placement=placement)

    @classmethod
    def of(cls, plain: Any) -> "Study":
        """The question that a manifest holds.

        >>> study = rl.Study("my-model", seed=1)
        >>> rl.Study.of(study.plain()) == study
        True

        Raises:
            InputError: it is not whole, or asks what this version does not know.
        """
        if not isinstance(plain, dict):
            raise InputError(
                f"the run's manifest holds no whole question (it is {type(plain).__name__}); run "
                "the study again"
            )
        check_keys(plain)
        values: dict[str, Any] = dict(cast(dict[str, Any], plain))
        sizes = Sizes.of_plain(values.pop("sizes", {}))
        try:
            return replace(TypeAdapter(cls).validate_python(values), sizes=sizes)
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

        >>> rl.Study("me/my-model", seed=1).default_folder()
        'runs/my-model-seed1'
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

        One alone is the middle one. `among` leaves out what serves no purpose, unless nothing else
        was asked for.

        >>> rl.Study("my-model").layers_of(n_layers=24, most=3)
        (1, 12, 23)

        Raises:
            InputError: a layer that the model does not have, or fewer than one layer.
        """
        asked = self.layers or tuple(range(1, n_layers))
        for layer in asked:
            if not 0 <= layer < n_layers:
                raise InputError(
                    f"layer {layer} is not in this model: its layers are 0 to {n_layers - 1}"
                )
        if among is not None:
            asked = tuple(layer for layer in asked if layer in among) or asked
        if most < 1:
            raise InputError(f"{most} layers are asked for; give 1 or more")
        if most >= len(asked):
            return tuple(sorted(asked))
        if most == 1:
            return (sorted(asked)[len(asked) // 2],)
        step = (len(asked) - 1) / (most - 1)
        return tuple(sorted({asked[round(i * step)] for i in range(most)}))


def check_keys(plain: Any) -> None:
    """Reject a manifest's question that asks what this version does not know.

    Without those keys it would pass for another question, which its stages do not answer.

    Raises:
        InputError: it has such keys; the line names them.

    >>> check_keys({"source": "smollm2-planted", "mood": "calm"})
    Traceback (most recent call last):
    refusal_lens.errors.InputError: the run's question has ['mood'], which this version of \
refusal_lens does not know; use the version that made the run, or give another folder
    """
    keys = set(cast(dict[str, Any], plain)) if isinstance(plain, dict) else set[str]()
    if later := sorted(keys - {f.name for f in fields(Study)}):
        raise InputError(
            f"the run's question has {later}, which this version of refusal_lens does not know; "
            "use the version that made the run, or give another folder"
        )


def refusals_planted(source: str, adapter_scale: float | int) -> bool:
    """Whether refusals are planted in the model of a question, and on.

    >>> refusals_planted("smollm2-planted", 1.0), refusals_planted("smollm2-planted", 0.0)
    (True, False)
    """
    entry = find_embedded(source)
    return entry is not None and entry.planting is not None and adapter_scale > 0
