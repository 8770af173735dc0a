"""What a study will cost: per stage, and as a whole."""

from typing import Final

from refusal_lens.plots.text import visible
from refusal_lens.study.planning import StudyPlan
from refusal_lens.study.planning.hardware import Hardware
from refusal_lens.tables.table import Cell, Table, plain_table

_STEPS: Final = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def plan_table(plan: StudyPlan) -> Table:
    """A row per stage, the total last."""
    rows = tuple(
        (
            Cell(stage.name),
            Cell(stage.title),
            Cell(f"{stage.passes:,.0f}"),
            Cell(_scaled(stage.read)),
            Cell(_scaled(stage.generated)),
            Cell(_scaled(stage.flops)),
            Cell(duration(stage.seconds)),
        )
        for stage in (*plan.stages, plan.total)
    )
    head = ("stage", "what", "passes", "tokens read", "generated", "FLOPs", "time")
    caption = (
        f"plan of a study of {visible(plan.model)}; a pass is a forward pass over one prompt, "
        "and answers are generated to at most so many tokens"
    )
    return Table(caption, head, rows)


def whole_table(plan: StudyPlan) -> Table:
    """The model, what it was counted with, and what the whole takes."""
    total, memory = plan.total, plan.memory
    rows = {
        "model": _model(plan),
        "prompts": _prompts(plan),
        "hardware": _hardware(plan.basis.hardware, plan.basis.dtype),
        "work": f"{_scaled(total.read)} tokens read, {_scaled(total.generated)} generated, "
        f"{_scaled(total.flops)} FLOPs",
        "weights": f"{_bytes(memory.weights)} in {plan.basis.dtype}"
        + (", of two models at one time" if plan.basis.models == 2 else ""),
        "peak memory": _memory(plan),
        "fits": _fits(plan),
        "time": f"{duration(total.seconds)}, without loading, statistics and reading answers",
    }
    return plain_table("the whole", ("what", "how much"), rows)


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days, whichever is the largest that is reached."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def _model(plan: StudyPlan) -> str:
    size = plan.basis.size
    text = f"{size.n_layers} blocks, d_model {size.d_model}, {size.parameters:,} parameters"
    if size.active != size.parameters:
        text += f", of which a token uses {size.active:,}"
    return text


def _prompts(plan: StudyPlan) -> str:
    length, n, rows = plan.basis.length, len(plan.categories), plan.basis.rows
    text = (
        f"{n} {'category' if n == 1 else 'categories'}; {length.tokens:.1f} tokens per prompt, of "
        f"which {length.shared} are the same in all and read once; {rows} prompts at a time"
    )
    if length.assumed:
        text += " (lengths are assumed: there is no tokenizer with a chat template)"
    return text


def _hardware(hardware: Hardware, dtype: str) -> str:
    return (
        f"{hardware.title}: {_scaled(hardware.rate(dtype))} FLOPs a second in {dtype}, "
        f"{_scaled(hardware.bandwidth)} bytes a second, {_bytes(hardware.memory)} "
        f"({hardware.source}); a pass is taken to reach {100 * hardware.read:.0f}% of that rate, "
        f"a generated token {100 * hardware.decode:.0f}%"
    )


def _memory(plan: StudyPlan) -> str:
    memory = plan.memory
    parts = [f"weights {_bytes(memory.weights)}"]
    if memory.doubled:
        parts.append(f"linear layers a second time {_bytes(memory.doubled)}")
    parts.append(f"a batch {_bytes(memory.batch)}")
    host = f"the process and what it keeps {_bytes(memory.host)}"
    if memory.shared:
        return f"{_bytes(memory.peak)} ({', '.join((*parts, host))})"
    return f"{_bytes(memory.peak)} ({', '.join(parts)}), and on the host: {host}"


def _fits(plan: StudyPlan) -> str:
    hardware = plan.basis.hardware
    where = f"{_bytes(hardware.memory)} are there"
    if plan.devices == 1:
        return f"yes: {where}"
    if hardware.cpu:
        return f"no: {where}; name larger hardware with --on, or a smaller --dtype"
    return (
        f"no: {where}; {plan.devices} of them hold it, whose blocks run one after another "
        "(device_map): the time is that of one"
    )


def _scaled(value: float) -> str:
    for step, letter in _STEPS:
        if value >= step:
            return f"{value / step:.3g} {letter}"
    return f"{value:.0f}"


def _bytes(value: float) -> str:
    return f"{value / 1e9:,.1f} GB"
