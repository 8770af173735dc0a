"""Refusal tokens of a model, measured into a folder: `refusal-lens refusal-tokens`.

A folder holds one question: model, tokens, prompts, judge and sizes, in `question.json`. What is
there already is read and not measured again, so that a run that was stopped goes on.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar, cast, final

from refusal_lens.arguments import check_seed
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Grid, Matched, match_refusal, whole_pairs
from refusal_lens.files import read_file
from refusal_lens.folders import is_file
from refusal_lens.judges import Judge, try_judge
from refusal_lens.model import Decoding, LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.repeats import check_splits_apart
from refusal_lens.records import Record, write_json
from refusal_lens.refusal_tokens.carved import Carved, measure_carved
from refusal_lens.refusal_tokens.measure import (
    Answered,
    TokenEffects,
    choose_direction,
    measure_effects,
    measure_trade_offs,
)
from refusal_lens.refusal_tokens.names import RefusalTokens
from refusal_lens.refusal_tokens.readings import TokenReadings, read_answers
from refusal_lens.refusal_tokens.roc import Roc, measure_roc
from refusal_lens.selection import Selection
from refusal_lens.study.one_writer import one_writer

QUESTION: Final = "question.json"
MATCHED_AT: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of harmful prompts refused at which the token and the direction are compared."""
R = TypeVar("R", bound=Record)


@final
@dataclass(frozen=True, eq=False)
class OtherModel:
    """A model without tokens to compare with, loaded when it is needed.

    `digest` tells its weights from others without loading them (`source_digest`); the embedded
    models' are pinned and need none.
    """

    load: Callable[[], LensModel]
    digest: str = ""


@final
@dataclass(frozen=True)
class TokenSizes:
    """How much is measured: pairs per category for each purpose, layers tried, answers' tokens.

    `curve_pairs` counts pairs over all categories, `layers` how many are tried, evenly spaced.
    """

    fit_pairs: int = 30
    choose_pairs: int = 3
    layers: int = 8
    test_pairs: int = 27
    curve_pairs: int = 66
    effect_pairs: int = 9
    answer_tokens: int = 24
    strengths: tuple[float, ...] = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)


QUICK: Final = TokenSizes(
    fit_pairs=8,
    choose_pairs=1,
    layers=3,
    test_pairs=6,
    curve_pairs=22,
    effect_pairs=2,
    answer_tokens=16,
    strengths=(-1.0, 0.0, 1.0),
)
"""A try, no result."""


@final
@dataclass(frozen=True)
class TokenRun:
    """What a folder holds."""

    folder: Path
    question: dict[str, Any]
    roc: Roc
    selection: Selection
    grid: Grid
    matched: Matched | None
    effects: TokenEffects
    carved: Carved | None

    @classmethod
    def open(cls, folder: Path | str) -> "TokenRun":
        """A finished folder; raises InputError where there is none."""
        folder = Path(folder)
        question = _question(folder)
        if question is None:
            raise InputError(
                f"{folder} holds no {QUESTION}; make it with refusal-lens refusal-tokens"
            )
        matched = Matched.load(folder / "matched") if (folder / "matched.json").is_file() else None
        carved = Carved.load(folder / "carved") if (folder / "carved.json").is_file() else None
        return cls(
            folder,
            question,
            Roc.load(folder / "roc"),
            Selection.load(folder / "selection"),
            Grid.load(folder / "grid"),
            matched,
            TokenEffects.load(folder / "effects"),
            carved,
        )


@one_writer
def run_refusal_tokens(
    model: LensModel,
    tokens: RefusalTokens,
    prompts: PromptSet,
    judge: Judge,
    folder: Path | str,
    asked: "Asked | None" = None,
) -> TokenRun:
    """Measure what is missing of a folder, and return all of it.

    Directions are fitted on the split "train", the layer is chosen on "val", everything else is
    read on "test".

    Raises:
        InputError: another question's folder, prompts without one of the splits, or a judge that
            can't be asked.
    """
    asked = asked or Asked()
    run = _Run(model, tokens, prompts, judge, Path(folder), asked)
    run.check()
    run.measure()
    return TokenRun.open(folder)


@final
@dataclass(frozen=True)
class Asked:
    """The sizes, the models to compare with, and who is told how it goes on.

    `planted` says that the model is one that comes with the project, whose tokens were planted.
    """

    sizes: TokenSizes = TokenSizes()
    others: Mapping[str, OtherModel] = field(default_factory=dict[str, OtherModel])
    tell: Callable[[str], None] = lambda line: None
    planted: bool = False


@final
@dataclass(frozen=True)
class _Run:
    model: LensModel
    tokens: RefusalTokens
    prompts: PromptSet
    judge: Judge
    folder: Path
    asked: Asked

    def check(self) -> None:
        """The folder is new or asks the same; the prompts have what is needed."""
        splits = ("train", "val", "test")
        for split in splits:
            if not self.prompts.only(split=split).pairs():
                raise InputError(
                    f"the prompts have no pair in split {split!r}; directions are fitted on "
                    "'train', the layer is chosen on 'val' and everything else read on 'test'"
                )
        check_splits_apart(self.prompts.only(split=splits))
        asked = json.loads(json.dumps(self._asked()))
        before = _question(self.folder)
        # The digest tells models apart, whatever the folder of one was called.
        if before is not None and before | {"model": asked["model"]} != asked:
            other = next(k for k in asked if k != "model" and before.get(k) != asked[k])
            raise InputError(
                f"{self.folder} was made with another {other} ({str(before.get(other))[:60]}); "
                "give another folder, or remove it"
            )
        write_json(self.folder / QUESTION, asked)

    def measure(self) -> None:
        """Every part that is not there yet."""
        sizes, model = self.asked.sizes, self.model
        if not self._there("readings", "effects", "grid"):
            try_judge(self.judge)
        test = self._split("test", sizes.test_pairs)
        how = Answered(self.judge, Decoding(sizes.answer_tokens), sizes.strengths, sizes.seed)
        tokens = self.tokens
        readings = self._part(
            "readings",
            TokenReadings,
            lambda: read_answers(model, test, tokens, self.judge, how.decoding),
        )
        self._part("roc", Roc, lambda: measure_roc(readings))
        self._carve()
        if not self._there("effects", "grid"):
            self._edit(readings, test, how)
        grid = Grid.load(self.folder / "grid")
        try:
            rates, seed = MATCHED_AT, sizes.seed
            self._part("matched", Matched, lambda: match_refusal(grid, rates=rates, seed=seed))
        except InputError as error:  # fewer than two pairs with a verdict everywhere
            self.asked.tell(f"not compared at matched refusal: {error}")

    def _edit(self, readings: TokenReadings, test: PromptSet, how: Answered) -> None:
        """What needs the direction."""
        sizes, model = self.asked.sizes, self.model
        direction, selection = self._direction()
        self._part("selection", Selection, lambda: selection)
        pairs = whole_pairs(test, sizes.curve_pairs)
        self._part("grid", Grid, lambda: measure_trade_offs(model, direction, readings, pairs, how))
        few = self._split("test", min(sizes.effect_pairs, sizes.test_pairs))
        self._part(
            "effects",
            TokenEffects,
            lambda: measure_effects(model, direction, few, readings.only(few.ids), how),
        )

    def _carve(self) -> None:
        fit = self._split("train", self.asked.sizes.fit_pairs)
        named = [c for c in fit.categories if c in self.tokens.categories]
        if len(named) < 2:
            self.asked.tell("directions between categories: fewer than two categories have tokens")
            return
        self._part(
            "carved",
            Carved,
            lambda: measure_carved(
                self.model,
                fit,
                self.tokens,
                {name: other.load() for name, other in self.asked.others.items()},
            ),
        )

    def _direction(self) -> Any:
        """The direction at its chosen layer; fitted anew, which takes one pass over the prompts."""
        sizes, n = self.asked.sizes, self.model.n_layers
        stored = self.folder / "selection"
        layers = sorted(
            {1 + round(i * (0.75 * n - 1) / max(1, sizes.layers - 1)) for i in range(sizes.layers)}
        )
        if stored.with_suffix(".json").is_file():
            layers = [Selection.load(stored).choice.layer]
        self.asked.tell(f"direction: layers {layers}")
        return choose_direction(
            self.model,
            self._split("train", sizes.fit_pairs),
            self._split("val", sizes.choose_pairs),
            self.tokens,
            layers,
        )

    def _split(self, split: str, pairs: int) -> PromptSet:
        whole = self.prompts.only(split=split)
        return PromptSet(tuple(p for pair in whole.first(pairs).pairs() for p in pair))

    def _there(self, *names: str) -> bool:
        return all((self.folder / f"{name}.json").is_file() for name in names)

    def _part(self, name: str, kind: type[R], make: Callable[[], R]) -> R:
        stem = self.folder / name
        if stem.with_suffix(".json").is_file():
            return kind.load(stem)
        self.asked.tell(name)
        made = make()
        made.save(stem)
        return made

    def _asked(self) -> dict[str, Any]:
        made = self.model.provenance(self.prompts)
        return {
            "model": made.model,
            "model_digest": made.model_digest,
            "template": made.template_digest,
            "tokenizer": self.model.chat.tokenizer_digest,
            "stops": sorted(self.model.stops),
            "tokens": asdict(self.tokens),
            "prompts": made.prompts_digest,
            "judge": self.judge.name,
            "sizes": asdict(self.asked.sizes),
            "compared_with": {name: other.digest for name, other in self.asked.others.items()},
            "planted": self.asked.planted,
        }


def _question(folder: Path) -> dict[str, Any] | None:
    path = folder / QUESTION
    if not is_file(path):
        return None
    try:
        content: Any = json.loads(read_file(path).decode())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove the folder") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds {type(content).__name__}; expected an object: remove the folder"
        )
    return cast(dict[str, Any], content)
