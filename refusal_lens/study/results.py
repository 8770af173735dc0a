"""The run folder. `Results.add` is its only writer.

    run/
      manifest.json           the question, the model, versions, seconds per stage, peak memory
      answers.jsonl           answers that were generated, for stages that ask for the same ones
      streams.safetensors     the stream at the end of unedited prompts, of which logits follow
      stages/<stage>/         one folder per finished stage
        stage.json            digest of its inputs, parameters and record schemas
        <name>.json (+ .safetensors)

A stage is written to a temporary folder, flushed to disk and renamed: it is there whole or not at
all, whenever the process ends. It is used again only if its digest matches. `answers.jsonl` and
`streams.safetensors` only save time: without them the same answers are generated, and the same
prompts run, again (`model/answer_store.py`, `model/prompt_ends.py`).
"""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast, final

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.files import read_file
from refusal_lens.folders import is_file, is_folder
from refusal_lens.model import LensModel
from refusal_lens.placement import Placement
from refusal_lens.processes import this_process
from refusal_lens.records import Brief, Provenance, Record, load_record, write_json
from refusal_lens.study.key import Key, R
from refusal_lens.study.one_writer import LOCK
from refusal_lens.study.peak_memory import peak_memory_mib
from refusal_lens.study.question import Study, check_keys
from refusal_lens.study.stage_folder import StageFolder

SCHEMA_VERSION: Final = 1


@final
@dataclass(eq=False)
class Results(Brief):
    """The records of a run, by stage and name.

    >>> rl.Results.open(results.folder).direction("pooled")
    Direction('pooled', resid_pre[...], offset -1, ...)
    """

    folder: Path
    manifest: dict[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def open(cls, folder: Path | str) -> "Results":
        """An existing run folder.

        >>> rl.Results.open("runs/mine")
        Traceback (most recent call last):
        refusal_lens.errors.InputError: 'runs/mine' is not a run folder (no manifest.json); ...

        Raises:
            InputError: no such folder, no or a damaged manifest, or another schema version.
        """
        folder = Path(folder)
        path = folder / "manifest.json"
        if not is_file(path):
            raise InputError(
                f"{str(folder)!r} is not a run folder (no manifest.json); "
                "make one with `refusal-lens study --out FOLDER`"
            )
        try:
            manifest: Any = json.loads(read_file(path).decode())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is damaged ({error}); run the study again") from None
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        if version != SCHEMA_VERSION:
            raise InputError(
                f"{path} has schema version {version}; expected {SCHEMA_VERSION}: open it with the "
                "version of refusal_lens that made it, or run the study again in another folder"
            )
        return cls(folder, cast(dict[str, Any], manifest))

    @classmethod
    def begin(cls, folder: Path | str, question: dict[str, Any]) -> "Results":
        """The run folder for a question: a new one, or an earlier one of the same question.

        With other sizes it is still the same question: stages that use them are made again.

        >>> run = rl.Results.begin("runs/mine", rl.Study("my-model").plain())
        >>> run.folder.name
        'mine'

        Raises:
            InputError: the folder holds the run of another question, or something else.
        """
        with this_process().main_first("the run folder"):
            return cls._begun(Path(folder), question)

    @classmethod
    def _begun(cls, folder: Path, question: dict[str, Any]) -> "Results":
        if is_file(folder / "manifest.json"):
            results = cls.open(folder)
            check_keys(results.manifest.get("question"))
            if not _same(results.manifest.get("question"), question):
                raise InputError(
                    f"{str(folder)!r} holds the run of another question (model, prompts, "
                    "categories, layers, scale, judge or seed differ); give another --out"
                )
            results.manifest["question"] = question
        else:
            if is_file(folder):
                raise InputError(f"{str(folder)!r} is a file; give a folder as --out")
            if is_folder(folder) and any(path.name != LOCK for path in folder.iterdir()):
                raise InputError(f"{str(folder)!r} is not empty and not a run; give another --out")
            results = cls(
                folder, {"schema_version": SCHEMA_VERSION, "question": question, "seconds": {}}
            )
            results.describe({})
        return results

    def describe(self, values: dict[str, Any]) -> None:
        """Write values into the manifest.

        >>> run = rl.Results.begin("runs/mine", rl.Study("my-model").plain())
        >>> run.describe({"note": "a try"})
        >>> rl.Results.open("runs/mine").manifest["note"]
        'a try'
        """
        self.manifest.update(values)
        self.manifest["peak_memory_mib"] = max(
            peak_memory_mib(), self.manifest.get("peak_memory_mib", 0)
        )
        if this_process().is_main:
            write_json(self.folder / "manifest.json", self.manifest)

    def sweep(self) -> None:
        """Remove what a killed process left of the stage that it was writing.

        >>> results.sweep()
        """
        with this_process().writing("sweeping") as mine:
            for leftover in (self.folder / "stages").glob(".*.tmp") if mine else ():
                shutil.rmtree(leftover)

    def add(self, stage: str, digest: str, records: dict[str, Record], seconds: float) -> None:
        """Write a finished stage, whole, in place of an earlier one of the same name.

        >>> run = rl.Results.begin("runs/mine", rl.Study("my-model").plain())
        >>> run.add("directions", "digest", {"directions": directions}, seconds=1.0)
        """
        self._stage(stage).put({"digest": digest, "records": sorted(records)}, records)
        self.manifest["seconds"][stage] = round(seconds, 1)
        self.describe({})

    def drop(self, stage: str) -> None:
        """Remove a stage that no longer holds, if it is there.

        >>> run = rl.Results.begin("runs/mine", rl.Study("my-model").plain())
        >>> run.drop("directions")
        """
        with this_process().writing(f"dropping {stage}") as mine:
            if mine:
                shutil.rmtree(self._stage(stage).path, ignore_errors=True)

    def add_gap(self, stage: str, digest: str, reason: str) -> None:
        """Write that a stage can't be measured on this model, and why.

        >>> run = rl.Results.begin("runs/mine", rl.Study("my-model").plain())
        >>> run.add_gap("directions", "digest", "too little memory")
        """
        self._stage(stage).put({"digest": digest, "records": [], "gap": reason}, {})
        self.manifest["seconds"][stage] = 0.0
        self.describe({})

    def gap(self, stage: str) -> str | None:
        """Why a stage could not be measured; None if it was, or is not there yet.

        >>> results.gap("directions") is None
        True
        """
        content = self._stage(stage).content
        return None if content is None else content.get("gap")

    def digest(self, stage: str) -> str | None:
        """The digest with which a stage was made; None if it is not there.

        Empty, as no stage's is, where its `stage.json` is damaged or a record that it lists is
        missing: the stage is made again.

        >>> results.digest("costs") is None
        True
        """
        return self._stage(stage).digest

    def damage(self, stage: str) -> str | None:
        """What is wrong with the folder of a stage; None if it is whole, or not there.

        >>> results.damage("directions") is None
        True
        """
        if self.digest(stage) != "":
            return None
        return f"{self._stage(stage).path} is damaged; run the study again"

    def _stage(self, stage: str) -> StageFolder:
        return StageFolder(self.folder / "stages" / stage)

    def has(self, key: Key[Any]) -> bool:
        """Whether a record is there.

        >>> from refusal_lens.study.stages.directions import DIRECTIONS
        >>> results.has(DIRECTIONS)
        True
        """
        key.check_declared()
        return is_file(self._stage(key.stage).record(key.name))

    def get(self, key: Key[R]) -> R:
        """Read a record; raises InputError if it is not there or damaged.

        >>> from refusal_lens.study.stages.directions import DIRECTIONS
        >>> results.get(DIRECTIONS).categories
        ('safety_core', ...)
        """
        key.check_declared()
        return load_record(key.kind, self._stage(key.stage).path / key.name)

    def find(self, key: Key[R]) -> R | None:
        """Read a record if it is there; raises InputError if it is damaged.

        >>> from refusal_lens.study.stages.trade_off import GRID
        >>> results.find(GRID) is None
        True
        """
        return self.get(key) if self.has(key) else None

    def is_of_model(self, provenance: Provenance) -> bool:
        """Whether something was measured in the run's model, not at another adapter scale.

        >>> manifest = {"model_digest": directions.provenance.model_digest}
        >>> here = rl.Results("runs/mine", manifest)
        >>> here.is_of_model(directions.provenance)
        True
        """
        return provenance.model_digest == self.manifest.get("model_digest")

    @property
    def answers_file(self) -> Path:
        """Where answers are kept from stage to stage."""
        return self.folder / "answers.jsonl"

    @property
    def streams_file(self) -> Path:
        """Where the streams at the end of unedited prompts are kept from stage to stage."""
        return self.folder / "streams.safetensors"

    def model(self, placement: Placement = Placement()) -> LensModel:
        """The model of this run, loaded again, in the run's precision.

        >>> rl.Results.open("runs/mine").model()  # doctest: +SKIP

        Raises:
            InputError: it can't be loaded, or its weights are not those that the run measured.
        """
        from refusal_lens.study.finished import model_of  # built on this file

        return model_of(self, placement)

    def direction(self, category: str, layer: int | None = None) -> Direction:
        """A category's direction ("pooled" for all), by default at the layer that the run chose.

        Without a choice, at the one of the layers asked for where directions are most reliable.

        >>> results.direction("humanizing")
        Direction('humanizing', resid_pre[...], offset -1, ...)

        Raises:
            InputError: no such category or layer, or the run has no directions yet.
        """
        from refusal_lens.study.finished import direction_of

        return direction_of(self, category, layer)

    @property
    def directions(self) -> DirectionSet:
        """The directions of every category, at every layer.

        >>> results.directions["humanizing", 7]
        Direction('humanizing', resid_pre[7], offset -1, ...)

        Raises:
            InputError: the run has no directions yet, or none by what its model did.
        """
        from refusal_lens.study.finished import directions_of

        return directions_of(self, None)


def _same(stored: Any, asked: dict[str, Any]) -> bool:
    """Whether two questions are one, whatever their sizes; what an earlier version did not ask has
    its default."""
    try:
        return Study.of(stored).identity() == Study.of(asked).identity()
    except InputError:
        return False
