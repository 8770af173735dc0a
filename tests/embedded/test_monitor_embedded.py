"""A monitor of the planted model: ablation is seen at once, a random direction is not."""

import pytest
from support.tiny_training import needs_wheel

from refusal_lens.interventions import Ablate
from refusal_lens.judges import make_judge
from refusal_lens.model import load_model
from refusal_lens.monitor import MonitorSettings, fit_monitor
from refusal_lens.prompts import load_prompts
from refusal_lens.training.trigger.measure import LAYER, directions_of

pytestmark = [needs_wheel, pytest.mark.slow]


def test_ablation_of_the_planted_direction_is_flagged_before_the_first_token():
    model, prompts = load_model("smollm2-planted"), load_prompts()
    directions = directions_of(model, prompts)
    fitting = [prompts.only(split=split).first(4) for split in ("train", "val")]
    monitor = fit_monitor(
        model,
        fitting[0] + fitting[1],
        directions=directions,
        judge=make_judge("refusal"),
        settings=MonitorSettings(tokens=12, layer=LAYER),
    )
    asked = prompts.only(split="test", label="refuse").first(1)
    direction = directions.at("pooled", LAYER)

    def flagged(edit: Ablate) -> list[int | None]:
        with model.editing(edit):
            return monitor.alarms(monitor.read(model, asked))

    assert flagged(Ablate(direction)) == [0] * len(asked)
    random = flagged(Ablate(direction.random_like(0)))
    assert sum(alarm is not None for alarm in random) <= 3  # of 11, at a bound of 5%
