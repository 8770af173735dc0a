"""What a stage of a study is, and what all stages work with."""

from collections.abc import Callable, Generator, Iterable, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, final

from refusal_lens.directions import Direction, DirectionSet, Estimator, make_estimator
from refusal_lens.judges import Judge
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Record
from refusal_lens.residuals import Residuals, ResidualStats
from refusal_lens.sites import Site
from refusal_lens.study.fitted import FitSizes, at_layer, category_set
from refusal_lens.study.fitted import Gap as Gap
from refusal_lens.study.key import Key, declare
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.sizes import S, StageSizes

Records = dict[Key[Any], Record]
Plan = Literal["study", "attribution", "full evaluation"]
TOKEN: Final = 0.1  # a generated token costs about this share of a forward pass over one prompt
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
    _uses: tuple[type[StageSizes], ...] | None = None
    _resid: Residuals | None = None
    _post: Residuals | None = None

    def size(self, kind: type[S]) -> S:
        """The sizes of one kind, as the question has them.

        Raises:
            ValueError: the stage that runs does not say that it `uses` them, so that it would not
                be made again when they change.
        """
        if self._uses is not None and kind not in self._uses:
            raise ValueError(f"add {kind.__name__} to what the stage `uses`: its digest needs it")
        return self.study.sizes.of(kind)

    @contextmanager
    def using(self, kinds: tuple[type[StageSizes], ...]) -> Generator[None]:
        """While a stage runs: no other sizes than these may be read."""
        before, self._uses = self._uses, kinds
        try:
            yield
        finally:
            self._uses = before

    @cached_property
    def judge(self) -> Judge:
        """Who reads answers: the study's choice, made once; set it before it is first asked for."""
        return self.study.make_judge(self.model.placement)

    def split(self, name: str, pairs: int) -> PromptSet:
        """The first pairs of each category in a split."""
        return self.prompts.only(split=name).first(pairs)

    @property
    def train(self) -> PromptSet:
        """The pairs that directions are fitted on."""
        self.size(FitSizes)
        return self._train

    @cached_property
    def _train(self) -> PromptSet:
        return self.split("train", self.size(FitSizes).fit_pairs)

    @property
    def estimator(self) -> Estimator:
        """What fits directions in this study."""
        return make_estimator(self.study.estimator)

    def fit(self, data: Residuals | ResidualStats) -> DirectionSet:
        """Directions of each category by the study's estimator."""
        return self.estimator(data)

    def fitting_data(
        self, model: LensModel, prompts: PromptSet, *, sites: Sequence[Site], offsets: Sequence[int]
    ) -> Residuals | ResidualStats:
        """What the estimator fits from: sums of the prompts' residuals where these suffice."""
        read = model.residual_stats if self.estimator.from_sums else model.residuals
        return read(prompts, sites=sites, offsets=offsets)

    def post_resid(self, tick: Progress = NO_PROGRESS) -> Residuals | None:
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

    def train_resid(self, tick: Progress = NO_PROGRESS) -> Residuals:
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
        turns = [p for i in range(n) for group in rows.values() for p in group[i : i + 1]]
        return PromptSet(tuple(turns[:n]))


@final
@dataclass(frozen=True)
class Work:
    """How much a stage has to do: what its progress counts, and prompt passes per count."""

    ticks: int
    passes: float | int = 1

    @classmethod
    def over(cls, tasks: Sized, passes: float | int = 1) -> "Work":
        """One count for each of the tasks, the very list that the stage goes through."""
        return cls(len(tasks), passes)


@final
@dataclass(frozen=True)
class VerdictsOf:
    """A record of read answers, and what they are answers to, for the table of all verdicts.

    With `each`, every condition is counted by itself.
    """

    answers: str
    key: Key[Any]
    each: bool = False


def always(full: bool, shown: bool) -> bool:
    """A stage of attribution that every call of it asks for."""
    del full, shown
    return True


@final
@dataclass(frozen=True)
class Stage:
    """A part of a study: what it measures, writes and needs, and how much work it is.

    It can't run without what it `needs`; of the stages it comes `after` it takes what is there.
    `writes` are the keys of its records: another schema of one of them makes it stale, and so do
    other values of the sizes that it `uses`, or other `parameters`. `place` orders stages of which
    none needs the other. `verdicts` are its records of read answers.

    Stages of one `family` write the same keys: one of each category, or the whole maps beside a
    few. `asked_for` says of a stage of attribution whether a call runs it: one that wants the
    `full` maps, or one where its category is the one that is `shown`.
    """

    name: str
    title: str
    run: Callable[[Bench, Progress], Records]
    work: Callable[[Bench], Work]
    writes: tuple[Key[Any], ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    uses: tuple[type[StageSizes], ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    place: int = 1000
    plan: Plan = "study"
    family: str = ""
    category: str | None = None
    asked_for: Callable[[bool, bool], bool] = always
    verdicts: tuple[VerdictsOf, ...] = ()

    def __post_init__(self) -> None:
        strange = [key.name for key in self.writes if key.stage != (self.family or self.name)]
        if strange:
            raise ValueError(f"stage {self.name!r} writes keys of another stage: {strange}")
        declare(self.writes)

    @property
    def schemas(self) -> dict[str, int]:
        """Schema versions of the records that the stage writes."""
        return {key.kind.__name__: key.kind.SCHEMA_VERSION for key in self.writes}

    def check_writes(self, records: Iterable[Key[Any]]) -> None:
        """Refuse records that the stage does not declare.

        Raises:
            ValueError: one is not among what it `writes`.
        """
        known = {key.identity for key in self.writes}
        if strange := [key.name for key in records if key.identity not in known]:
            raise ValueError(f"stage {self.name!r} made records it does not declare: {strange}")


@final
@dataclass(frozen=True)
class PerCategory:
    """A stage of each category: `of` makes the one of the category with a number and a name."""

    of: Callable[[int, str], Stage]

    def __post_init__(self) -> None:
        self.of(0, "")  # its keys are declared, whatever the categories of a run

    @property
    def uses(self) -> tuple[type[StageSizes], ...]:
        """The sizes that each of them uses."""
        return self.of(0, "").uses


def category_directions(bench: Bench, layer: int) -> list[Direction]:
    """Each category's direction where it is defined.

    Raises:
        Gap: no category has one.
    """
    return at_layer(category_set(bench.results), layer)


def reading_again(bench: Bench) -> Work:
    """Reading the fitting prompts anew, where their residuals could not be kept."""
    return Work(1 if bench.keeps_post else len(bench.train))
