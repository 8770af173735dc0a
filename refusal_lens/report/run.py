"""The records of a run as the report needs them: read once, with a reason where one is missing."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

from refusal_lens.directions import MEAN_DIFFERENCE, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers
from refusal_lens.folders import written_name
from refusal_lens.geometry import (
    BehaviourContrasts,
    Comparison,
    Geometry,
    Separability,
    Structure,
    WithinTests,
    verdicts,
)
from refusal_lens.geometry.comparison import SeparabilityVerdict
from refusal_lens.plots.estimators import estimator_name
from refusal_lens.plots.panels import MODELS
from refusal_lens.prompts.files import load_categories
from refusal_lens.report.missing import NOT_SHOWN, Missing
from refusal_lens.selection import Selection
from refusal_lens.study.key import Key, R
from refusal_lens.study.layer import layer_by
from refusal_lens.study.prompts import study_prompts
from refusal_lens.study.question import Study, refusals_planted
from refusal_lens.study.results import Results
from refusal_lens.study.sizes import flat_sizes
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.contrasts import BEHAVIOUR_GEOMETRY, WITHIN
from refusal_lens.study.stages.control import COMPARISON, CONTROL_GEOMETRY
from refusal_lens.study.stages.directions import DIRECTIONS
from refusal_lens.study.stages.geometry import INTENDED
from refusal_lens.study.stages.selection import SELECTION
from refusal_lens.study.stages.structure import SEPARABILITY, STRUCTURE


@final
@dataclass(eq=False)
class Run:
    """A run's records with what every part of the page needs."""

    results: Results
    damaged: dict[str, str] = field(default_factory=dict[str, str])

    def get(self, key: Key[R]) -> R | None:
        """A record; None where it is missing or damaged, which `why` then says."""
        try:
            return self.results.find(key)
        except InputError as error:
            self.damaged[key.stage] = self._inside(str(error))
            return None

    def why(self, stage: str) -> Missing:
        """Why something of a stage is missing, as a note."""
        return self.reason(stage).within(NOT_SHOWN)

    def lacking(self, stage: str, reason: str) -> Missing:
        """Why a record is missing, as a note: what happened to its stage, else `reason`."""
        return self.lacking_reason(stage, reason).within(NOT_SHOWN)

    def reason(self, stage: str) -> Missing:
        """Why something of a stage is missing, to stand in a sentence."""
        if damage := self.damaged.get(stage) or self.results.damage(stage):
            return Missing(self._inside(damage), f"damaged:{stage}")
        if unmeasured := self.results.gap(stage):
            return Missing(unmeasured, f"unmeasured:{stage}")
        return Missing(f"the stage “{stage}” has not finished in this run", f"unfinished:{stage}")

    def _inside(self, message: str) -> str:
        """A message without the folder that the run is in: the page is handed on, and its files
        are named from the run folder on."""
        return message.replace(str(self.results.folder / "stages"), "stages")

    def lacking_reason(self, stage: str, reason: str) -> Missing:
        """What happened to a record's stage, else `reason`."""
        whole = bool(self.results.digest(stage)) and not self.results.gap(stage)
        if whole and stage not in self.damaged:
            return Missing(reason, f"lacking:{stage}")
        return self.reason(stage)

    @property
    def model(self) -> str:
        """What the model is called."""
        return written_name(str(self.results.manifest.get("model", "a chat model")))

    @cached_property
    def question(self) -> dict[str, Any]:
        """The question of the run's manifest as it stands there; empty without one."""
        return dict(self.results.manifest.get("question") or {})

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """The sizes of the question by name."""
        return flat_sizes(self.question.get("sizes") or {})

    @cached_property
    def planted(self) -> bool:
        """Whether refusals were planted in the model by this project, and are on."""
        scale = self.question.get("adapter_scale", 1)
        return refusals_planted(str(self.question.get("source")), scale)

    @cached_property
    def estimator(self) -> str:
        """What fitted the directions and their cosines, in words: "mean difference"."""
        fitted = self.question.get("estimator", MEAN_DIFFERENCE)
        return estimator_name(self.geometry.estimator if self.geometry else str(fitted))

    @property
    def by_mean_difference(self) -> str:
        """What to add to a number of mean differences where the directions are others."""
        mean = estimator_name(MEAN_DIFFERENCE)
        return "" if self.estimator == mean else f" (by {mean})"

    @cached_property
    def names(self) -> tuple[str, str]:
        """What the model and its control are called in figures."""
        if not self.planted:
            return MODELS
        return f"adapter scale {self.question.get('adapter_scale', 1):g}", "adapter scale 0"

    @cached_property
    def titles(self) -> dict[str, str]:
        """Titles by key: the project's categories first, so that colours stay the same."""
        titles = {key: category.title for key, category in load_categories().items()}
        answered = (self.behaviour and self.behaviour.categories) or ()
        return titles | {c: c for c in (*self._fitted, *answered) if c not in titles}

    @cached_property
    def _fitted(self) -> tuple[str, ...]:
        holder = self.geometry or self.directions
        return holder.categories if holder else ()

    @cached_property
    def behaviour(self) -> Answers | None:
        """The answers to the fitting prompts, judged."""
        return self.get(BEHAVIOUR)

    @cached_property
    def geometry(self) -> Geometry | None:
        """Cosines between categories by intended labels."""
        return self.get(INTENDED)

    @cached_property
    def control(self) -> Geometry | None:
        """The same cosines in the control model."""
        return self.get(CONTROL_GEOMETRY)

    @cached_property
    def comparison(self) -> Comparison | None:
        """Cosines in the model against those in its control."""
        return self.get(COMPARISON)

    @cached_property
    def tests(self) -> Separability | None:
        """Tests of whether categories have directions of their own."""
        return self.get(SEPARABILITY)

    @cached_property
    def verdicts(self) -> dict[str, SeparabilityVerdict]:
        """What may be said of each category; nothing where it was not tested."""
        return {} if self.tests is None else verdicts(self.tests, self.comparison, self.within)

    @cached_property
    def within(self) -> WithinTests | None:
        """Tests of refused against answered prompts of this very model."""
        tests = self.get(WITHIN)
        return tests if tests is not None and self.results.is_of_model(tests.provenance) else None

    @cached_property
    def behaviour_geometry(self) -> BehaviourContrasts | None:
        """Cosines between categories by what this very model did."""
        contrasts = self.get(BEHAVIOUR_GEOMETRY)
        return (
            contrasts
            if contrasts is not None and self.results.is_of_model(contrasts.provenance)
            else None
        )

    @cached_property
    def structure(self) -> Structure | None:
        """The structure of the categories' directions at the run's layer."""
        return self.get(STRUCTURE)

    @property
    def no_structure(self) -> str:
        """Why a finished stage may hold no structure."""
        return (
            f"fewer than three categories have a direction at layer {self.layer}, or one has fewer "
            "than eight pairs"
        )

    @cached_property
    def directions(self) -> DirectionSet | None:
        """The directions of each category by intended labels."""
        return self.get(DIRECTIONS)

    @cached_property
    def selection(self) -> Selection | None:
        """The layer that was chosen, and its candidates."""
        return self.get(SELECTION)

    @cached_property
    def layer(self) -> int | None:
        """The layer of the run; None without a selection and a geometry."""
        return layer_by(self.selection, self.geometry, self.question.get("layers"))

    @cached_property
    def kept(self) -> dict[str, int] | None:
        """Pairs as intended by category; None where the run's prompts are not at hand.

        Its files may be gone, or others by now, also because their path is read from another
        folder than the study's.
        """
        read = self.behaviour
        if read is None:
            return None
        try:
            prompts = study_prompts(Study.of(self.results.manifest.get("question")))
            if prompts.digest != self.results.manifest.get("prompts_digest"):
                return None
            intended = read.as_intended(prompts.only(ids=set(read.ids)))
        except (InputError, OSError):
            return None
        return {
            c: sum(p.label == "refuse" and p.category == c for p in intended)
            for c in dict.fromkeys(read.categories)
        }
