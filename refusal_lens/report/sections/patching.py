"""What causes refusal: activation patching."""

from typing import Final

from refusal_lens import plots
from refusal_lens.report.attributed import finest, title_of, was_attributed
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.patching import FAST, PATCH_AGREEMENT, PATCHES
from refusal_lens.study.stages.score import TRUST
from refusal_lens.tables.patches import patch_agreement_table


def _parts(run: Run) -> Parts:
    stage = finest(run, "patching")
    fast = run.get(FAST.of(stage))
    real = run.get(PATCHES.of(stage))
    agreement = run.get(PATCH_AGREEMENT.of(stage))
    if fast is None or real is None or agreement is None:
        names = ("patches", "blocks", "estimates", "patch_agreement")
        return {**dict.fromkeys(names, run.why(stage)), "unscored": _unscored(run)}
    n = f"{len(real.pairs)} pairs"
    return {
        "patches": Figure(
            plots.plot_patches(real, titles=run.titles),
            f"Recovery by layer and position beside its placebo, mean of {n}",
        ),
        "blocks": Figure(
            plots.plot_blocks(real, titles=run.titles),
            f"Recovery by layer for attention and MLP beside their placebo, mean of {n}",
        ),
        "estimates": Figure(
            plots.plot_estimates(fast, titles=run.titles),
            f"Estimated recovery by head, mean of {n}",
        ),
        "unscored": _unscored(run),
        "patch_agreement": patch_agreement_table(agreement, real, titles=run.titles),
    }


def _unscored(run: Run) -> str:
    """Which categories have no first-token score, and what reads them instead."""
    trust = run.get(TRUST)
    modes = {} if trust is None else trust.mode
    left_out = [
        f"{title_of(run, c)} ({mode})" for c, mode in modes.items() if mode != "first token"
    ]
    return (
        ""
        if not left_out
        else f"No first token stands for a read answer in: {', '.join(left_out)}; in brackets, "
        "what does. Where openings of four tokens do, patches and knock-outs read how likely they "
        "are; a category of generation only has neither, and none of these a profile by depth."
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Patches",
            "test",
            "in the hover",
            "t interval over pairs",
            "a random vector of equal length",
        ),
    )


SECTION: Final = Section(
    id="patching",
    title="Activation patching",
    group="parts",
    place=20,
    parts=_parts,
    methods=_methods,
    shown=was_attributed,
)
