"""What the rows on methods say of a run: how many prompts, which control, which model."""

from refusal_lens.folders import written_name
from refusal_lens.plots.text import visible
from refusal_lens.report.run import Run
from refusal_lens.study.stages.trade_off import TRADE_OFF


def n_of(run: Run, size: str, unit: str) -> str:
    """How many of something the question asks for; in the hover where it does not say."""
    return f"{run.sizes[size]} {unit}" if size in run.sizes else "in the hover"


def other_model(run: Run) -> str:
    """The control model, where there is one."""
    return "none in this run" if run.control is None else "the control model on the same prompts"


def compared_model(run: Run) -> str | None:
    """The model of the trade-off, where it is not the study's own."""
    if (trade_off := run.get(TRADE_OFF)) is None:
        return None
    other = written_name(trade_off.model)
    return None if other == run.model else other


def compared_split(run: Run) -> str:
    """The split of the trade-off, and its model where that is not the study's own."""
    other = compared_model(run)
    return "test" if other is None else f"test; {visible(other)}"


def contrasted(run: Run) -> str:
    """How many pairs the contrasts are of, which are made in the model of the trade-off."""
    name = "fit_pairs" if compared_model(run) is None else "contrast_pairs"
    return n_of(run, name, "pairs per category at most")
