"""The plan of a study before it runs: per stage its passes, tokens, FLOPs and time.

The work is what the stages themselves declare (`Stage.work`); this folder only says what a pass and
a generated token cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from refusal_lens.placement import AUTO, DTYPES, Placement, dtype_name
from refusal_lens.study.order import stages_of
from refusal_lens.study.other_models import half_refusing_scale, has_control
from refusal_lens.study.outline import Outline, Shape
from refusal_lens.study.planning.basis import Basis
from refusal_lens.study.planning.configured import Configured, find_configured
from refusal_lens.study.planning.hardware import Hardware
from refusal_lens.study.planning.lengths import prompt_length
from refusal_lens.study.planning.measured import this_machine
from refusal_lens.study.planning.memory import Memory, peak_memory
from refusal_lens.study.planning.pace import Pace, pace_of
from refusal_lens.study.planning.size import model_size
from refusal_lens.study.prompts import study_prompts
from refusal_lens.study.question import Study
from refusal_lens.study.stage import Stage


@final
@dataclass(frozen=True)
class StageCost:
    """A stage's work and what it costs: forward passes over a prompt, tokens, FLOPs, seconds.

    `generated` is at most: answers may end earlier.
    """

    name: str
    title: str
    passes: float
    read: float
    generated: float
    flops: float
    seconds: float


@final
@dataclass(frozen=True)
class StudyPlan:
    """What a study will cost, and what that was counted with."""

    model: str
    categories: tuple[str, ...]
    basis: Basis
    stages: tuple[StageCost, ...]
    memory: Memory

    @property
    def total(self) -> StageCost:
        """All stages together."""
        return _sum(self.stages)

    @property
    def devices(self) -> int:
        """How many of the hardware hold the model and what a batch takes; 1 where it fits."""
        return max(1, -(-int(self.memory.peak) // int(self.basis.hardware.memory)))


def plan_study(
    study: Study, placement: Placement = Placement(), hardware: Hardware | None = None
) -> StudyPlan:
    """What a study would cost on this machine, measured for a second, or on named hardware.

    Only the model's configuration is read, and its tokenizer where there is one.

    Raises:
        InputError: wrong prompts or categories, no configuration on this machine, or hardware
            without the precision.

    >>> from refusal_lens.study.planning.hardware import find_hardware
    >>> study = rl.Study("qwen-coder-0.5b", categories=("advice", "humanizing"))
    >>> plan = plan_study(study, hardware=find_hardware("h100"))
    >>> plan.stages[0].name, plan.basis.size.parameters, plan.devices
    ('behaviour', 630167424, 1)
    """
    prompts = study_prompts(study)
    configured = find_configured(study.source, study.revision)
    size = model_size(configured.config)
    length = prompt_length(configured.tokenizer, prompts)
    dtype = _dtype(study, configured, placement)
    outline = Outline(study, prompts, Shape(size.n_layers, size.d_model, length.n_post))
    other = has_control(outline) or half_refusing_scale(outline) is not None
    basis = Basis(
        size,
        replace(length, shared=0) if size.recurrent else length,
        hardware or this_machine(placement, dtype, size.d_model),
        dtype,
        placement.batch_size,
        models=2 if other else 1,
    )
    pace = pace_of(basis)
    stages = stages_of("study", prompts.categories)
    return StudyPlan(
        configured.name,
        prompts.categories,
        basis,
        tuple(_cost(stage, outline, basis, pace) for stage in stages),
        peak_memory(basis, outline.post_bytes if outline.keeps_post else 0),
    )


def _cost(stage: Stage, outline: Outline, basis: Basis, pace: Pace) -> StageCost:
    work = stage.work_in(outline)
    passes, tokens = float(work.ticks * work.passes), float(work.ticks * work.tokens)
    return StageCost(
        stage.name,
        stage.title,
        passes,
        passes * basis.length.new,
        tokens,
        passes * pace.prompt.flops + tokens * pace.token.flops,
        passes * pace.prompt.seconds + tokens * pace.token.seconds,
    )


def _sum(stages: Sequence[StageCost]) -> StageCost:
    return StageCost(
        "total",
        "",
        sum(s.passes for s in stages),
        sum(s.read for s in stages),
        sum(s.generated for s in stages),
        sum(s.flops for s in stages),
        sum(s.seconds for s in stages),
    )


def _dtype(study: Study, configured: Configured, placement: Placement) -> str:
    """The precision of a run that begins: an embedded model's is float32, another's its own."""
    if placement.dtype == AUTO and study.embedded is not None:
        return "float32"
    config = configured.config
    source = getattr(config, "dtype", None) and config
    name = dtype_name(placement.torch_dtype(source or config.get_text_config(decoder=True)))
    return name if name in DTYPES else "float32"
