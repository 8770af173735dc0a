"""Running a study: plan, estimate, stages in order, resume."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, Protocol, final, runtime_checkable

from refusal_lens.errors import InputError
from refusal_lens.folders import is_file, written_name
from refusal_lens.judges import check_judge, try_judge
from refusal_lens.model import AnswerStore, LensModel, StreamStore, load_model
from refusal_lens.placement import AUTO, Placement, dtype_name
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.pairing import drawn_note
from refusal_lens.records import digest_of, installed_versions
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import every_stage, stages_of
from refusal_lens.study.prompts import study_prompts
from refusal_lens.study.question import Study
from refusal_lens.study.results import SCHEMA_VERSION, Results
from refusal_lens.study.stage import Bench, Gap, Stage
from refusal_lens.study.stages.language_answers import LanguageSizes

_CALIBRATION_PROMPTS: Final = 16
_CALIBRATION_PASSES: Final = 5


@final
@dataclass(frozen=True)
class PlannedStage:
    """A stage and its size on this model; `done` if an earlier run's result is used again.

    `seconds` is the estimate, `took` what a stage that is done really took (None if unknown).
    """

    stage: Stage
    digest: str
    ticks: int
    seconds: float
    done: bool
    took: float | None = None


@runtime_checkable
class Watcher(Protocol):
    """What is called as a study proceeds: with its plan, and as each stage begins and ends."""

    def planned(self, stages: Sequence[PlannedStage]) -> None:
        """Called once, before anything is measured."""
        ...

    def started(self, planned: PlannedStage) -> Progress:
        """A stage begins; the function returned is called with what has been done."""
        ...

    def ended(self, planned: PlannedStage, gap: str | None) -> None:
        """A stage was written; `gap` says why it could not be measured."""
        ...


@one_writer
def run_study(
    study: Study,
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    keep_passes: bool = True,
) -> Results:
    """Run what is missing of a study and return its results.

    Stops at any moment lose at most the stage in flight: the same call goes on from there, also on
    another device or with other batches; the precision of a run stays as it began. Answers, and
    what unedited prompts leave at their end, are kept in the folder for stages that ask for the
    same ones, unless `keep_passes` says no.

    Raises:
        InputError: wrong prompts, model, category or layer, a judge that can't be asked, a folder
            of another question, or of a run in another precision.
    """
    check_judge(study.judge, study.judge_settings)  # before the model is loaded: that takes long
    study = _with_languages(study, Path(folder))
    bench = begin(study, folder, placement, keep_passes=keep_passes)
    categories = bench.prompts.categories
    stages = stages_of("study", categories)
    if stale(bench, stages):
        try_judge(bench.judge)
    drop_stale(bench, every_stage(categories))
    # Only now: the manifest must not name a model beside records of the one before.
    bench.results.describe(_description(bench))
    return run_stages(bench, stages, watcher)


def begin(
    study: Study,
    folder: Path | str,
    placement: Placement = Placement(),
    *,
    keep_passes: bool = True,
) -> Bench:
    """Prompts, run folder and model of a question; raises like `run_study`."""
    prompts = study_prompts(study)
    results = Results.begin(folder, study.plain())
    model = load_studied(study, results, placement)
    study.layers_of(model.n_layers, model.n_layers)
    if keep_passes:
        model.answer_store = AnswerStore(results.answers_file)
        model.stream_store = StreamStore(results.streams_file)
    return Bench.of(study, model, prompts, results)


def _with_languages(study: Study, folder: Path) -> Study:
    """The study with the sizes that `languages` last had in its folder: no option of a study gives
    them, and others would make what was measured stale."""
    if not is_file(folder / "manifest.json"):
        return study
    before = study_of(folder).sizes
    if not before.of(LanguageSizes).language_digest:
        return study
    shared = {kind for stage in stages_of("study", ()) for kind in stage.uses}
    kinds = {kind for stage in stages_of("languages", ()) for kind in stage.uses} - shared
    kept = {name: size for kind in kinds for name, size in before.plain_of(kind).items()}
    return replace(study, sizes=study.sizes.changed(**kept))


def study_of(folder: Path | str) -> Study:
    """The question of a run folder.

    Raises:
        InputError: no run, or one of another version.
    """
    return Study.of(Results.open(folder).manifest.get("question"))


def run_stages(bench: Bench, stages: Sequence[Stage], watcher: Watcher) -> Results:
    """Run what is missing of these stages, in order."""
    bench.results.sweep()
    plan = _plan(bench, stages)
    watcher.planned(plan)
    drop_stale(bench, stages)
    for planned in plan:
        if not planned.done:
            _run_stage(bench, planned, watcher)
    return bench.results


def stale(bench: Bench, stages: Sequence[Stage]) -> list[Stage]:
    """Those of the stages that are missing, or made with other inputs, versions or schemas."""
    digests = _digests(bench)
    return [s for s in stages if bench.results.digest(s.name) != digests[s.name]]


def check_finished(bench: Bench, wanted: Sequence[Stage]) -> None:
    """Reject a study whose own stages, as far as these need them, don't hold.

    Raises:
        InputError: one is not there, or not as it would be made now.
    """
    study_stages = {s.name: s for s in stages_of("study", ())}
    open_stages, used = list(wanted), dict[str, Stage]()
    while open_stages:
        stage = open_stages.pop()
        needed = [*stage.needs, *stage.after]
        open_stages += [study_stages[n] for n in needed if n in study_stages and n not in used]
        used |= {n: study_stages[n] for n in (stage.name, *needed) if n in study_stages}
    if missing := stale(bench, list(used.values())):
        raise InputError(
            f"stages {[s.name for s in missing]} of {str(bench.results.folder)!r} are not finished "
            "or were made with other versions; run its `refusal-lens study` again first"
        )


def drop_stale(bench: Bench, stages: Sequence[Stage]) -> None:
    """Remove them: another question's or schema's records must not stand beside this one's."""
    for stage in stale(bench, stages):
        bench.results.drop(stage.name)


def _run_stage(bench: Bench, planned: PlannedStage, watcher: Watcher) -> None:
    stage, results = planned.stage, bench.results
    started = time.monotonic()
    gap = next((f"{n}: {g}" for n in stage.needs if (g := results.gap(n))), None)
    if gap is None:
        tick = watcher.started(planned)
        try:
            with bench.using(stage.uses):
                records = stage.run(bench, tick)
            stage.check_writes(records)
            named = {key.name: record for key, record in records.items()}
            results.add(stage.name, planned.digest, named, time.monotonic() - started)
            if bench.model.stream_store is not None:
                bench.model.stream_store.save()
        except Gap as error:
            gap = str(error).replace(bench.model.name, written_name(bench.model.name))
    if gap is not None:
        results.add_gap(stage.name, planned.digest, gap)
    watcher.ended(planned, gap)


def _plan(bench: Bench, stages: Sequence[Stage]) -> list[PlannedStage]:
    digests = _digests(bench)
    missing = {s.name for s in stale(bench, stages)}
    a_pass = _seconds_a_pass(bench) if missing else 0.0
    return [
        PlannedStage(
            s,
            digests[s.name],
            (work := s.work_in(bench)).ticks,
            work.total_passes * a_pass,
            s.name not in missing,
            None if s.name in missing else bench.results.manifest["seconds"].get(s.name),
        )
        for s in stages
    ]


def _digests(bench: Bench) -> dict[str, str]:
    """Digests of every stage there can be, by name."""
    digests: dict[str, str] = {}
    for stage in every_stage(bench.prompts.categories):
        digests[stage.name] = _digest(bench, stage, digests)
    return digests


def _digest(bench: Bench, stage: Stage, before: dict[str, str]) -> str:
    """Digest of a stage's inputs, of the sizes that it uses, its parameters and record schemas."""
    model = bench.model
    sizes = {kind.__name__: bench.study.sizes.plain_of(kind) for kind in stage.uses}
    before_it = [n for n in (*stage.needs, *stage.after) if n in before]
    return digest_of(
        {
            "stage": stage.name,
            "question": bench.study.identity(),
            "sizes": sizes,
            "model": model.digest,
            "template": model.chat.digest,
            "tokens": [model.chat.tokenizer_digest, sorted(model.stops)],
            "prompts": bench.prompts.digest,
            "needs": [before[name] for name in before_it],
            "schemas": stage.schemas,
            "versions": installed_versions(),
        }
        | ({"parameters": stage.parameters} if stage.parameters else {})
        | ({"control": bench.control_digest} if stage.uses_control else {})
        | ({"judge": bench.judge_digest} if bench.judge_digest else {})
    )


def _seconds_a_pass(bench: Bench) -> float:
    """Seconds for one prompt's forward pass: the median of several batches, warmed up."""
    few = PromptSet(bench.train.prompts[:_CALIBRATION_PROMPTS])
    bench.model.residuals(few)  # which, unlike logits, no store can hand on
    timed: list[float] = []
    for _ in range(_CALIBRATION_PASSES):
        started = time.monotonic()
        bench.model.residuals(few)
        timed.append(time.monotonic() - started)
    return median(timed) / len(few)


def load_studied(study: Study, results: Results, placement: Placement) -> LensModel:
    """The model that a run asks about, as the run first loaded it.

    A chat template that prints the date is told when the run began; what is not said of the
    precision is as it was then. An embedded model is float32 by default.

    Raises:
        InputError: it can't be loaded, or the run was made in another precision.
    """
    began = results.manifest.get("template_time")
    return load_model(
        study.source,
        revision=study.revision,
        adapter_scale=study.adapter_scale,
        system=study.system,
        thinking=study.thinking,
        now=None if began is None else datetime.fromisoformat(began),
        placement=replace(placement, dtype=_run_dtype(study, results, placement.dtype)),
    )


def _run_dtype(study: Study, results: Results, asked: str) -> str:
    recorded = results.manifest.get("dtype")
    if asked == AUTO:
        return recorded or ("float32" if study.embedded else AUTO)
    if recorded is not None and asked != recorded:
        raise InputError(
            f"{str(results.folder)!r} holds a run in {recorded}, and {asked} was asked for; "
            f"numbers of both would mix: leave the dtype out, or give another folder for {asked}"
        )
    return asked


def _description(bench: Bench) -> dict[str, Any]:
    model = bench.model
    return {
        "schema_version": SCHEMA_VERSION,
        "model": written_name(model.name),
        "model_digest": model.digest,
        "backend": model.backend.name,
        "n_layers": model.n_layers,
        "d_model": model.d_model,
        "template_digest": model.chat.digest,
        "rendered_prefix": model.chat.prefix_text,
        "template_time": model.chat.now.isoformat() if model.chat.dated else None,
        "post_tokens": model.chat.strings(model.chat.post_ids),
        "prompts_digest": bench.prompts.digest,
        "prompts_note": drawn_note(bench.prompts),
        "seed": bench.study.seed,
        "device": str(model.backend.device),
        "dtype": dtype_name(model.backend.dtype),
        "versions": installed_versions(),
    }
