"""What it saves to begin passes where an edit acts: the same sweep with and without."""

import torch
from torch import Tensor

from benchmarks.baselines import largest_gap
from benchmarks.document import Section, compared
from benchmarks.setting import Setting, defined, directions_of, lens
from benchmarks.timing import take_turns
from refusal_lens.interventions import Add

ON, OFF = "`model.sweeping()`", "`model.sweeping(reuse=False)`"


def measure(setting: Setting) -> Section:
    """Logits under an addition at each depth, four strengths, passes begun there or whole."""
    model = lens(setting.source)
    prompts = setting.side("val", "comply", setting.size(32, 3))
    fitted = directions_of(model, setting.split("train", setting.size(8, 2)))
    n = model.n_layers
    depths = sorted({max(1, n // 4), max(1, n // 2), max(1, 3 * n // 4)})
    outcomes = []
    for layer in depths:
        d = next(d for d in defined(fitted, [layer]) if d.offset == -1)

        def sweep(reuse: bool, layer: int = layer, d=d) -> Tensor:
            logits: list[Tensor] = []
            with model.sweeping([layer], reuse=reuse):
                model.logits(prompts)
                for strength in (-1.0, 0.5, 1.0, 2.0):
                    with model.editing(Add(d, strength=strength)):
                        logits.append(model.logits(prompts))
            return torch.stack(logits)

        timings = take_turns(
            {ON: lambda s=sweep: s(True), OFF: lambda s=sweep: s(False)}, setting.turns
        )
        gap = largest_gap(timings[ON].result, timings[OFF].result)
        work = f"4 strengths at layer {layer} of {n}, {ON}"
        outcomes.append(compared(work, timings[ON], (OFF, timings[OFF]), gap=gap))
    return Section(
        "Sweeping",
        f"Logits of {len(prompts)} prompts of {model.name}, unedited and with a direction added at "
        f"four strengths, with and without what passes before have kept. {setting.turns} turns.",
        outcomes,
    )
