"""Why a stage could not be measured names the model, and no folder of the machine."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from support.tiny_study import Watch

from refusal_lens.study.fitted import Gap
from refusal_lens.study.results import Results
from refusal_lens.study.run import _run_stage


def test_a_gap_calls_a_model_in_a_folder_by_the_last_part(tmp_path: Path) -> None:
    model = SimpleNamespace(name="/home/me/models/chat", stream_store=None)

    def measure(bench: Any, tick: Any) -> None:
        raise Gap(f"no block of {bench.model.name} has separate heads")

    results = Results.begin(tmp_path / "run", {})
    bench: Any = SimpleNamespace(model=model, results=results, using=lambda uses: nullcontext())
    stage = SimpleNamespace(name="paths", needs=(), uses=(), run=measure)
    planned: Any = SimpleNamespace(stage=stage, digest="d", ticks=1)
    watch = Watch()
    _run_stage(bench, planned, watch)
    assert results.gap("paths") == "no block of chat has separate heads" == watch.gaps["paths"]
