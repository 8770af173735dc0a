"""Seconds per stage and peak memory of finished studies, against a plain forward pass."""

import statistics
from pathlib import Path
from typing import Any

from benchmarks.baselines import HF, padded, plain_logits
from benchmarks.document import Section
from benchmarks.setting import Setting, hugging_face, lens
from benchmarks.timing import Timing, take_turns
from refusal_lens.embedded.registry import find_embedded
from refusal_lens.prompts import PromptSet
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results


def measure(setting: Setting) -> Section:
    """Each run folder by its manifest."""
    runs = [run for run in setting.runs if (run / "manifest.json").is_file()]
    parts = [run_text(run, setting) for run in runs]
    missing = [f"Not there: `{run}`." for run in setting.runs if run not in runs]
    if not setting.runs:
        missing = ["No run folder was named (`--run`)."]
    return Section(
        "Studies",
        "Finished studies as their manifests have them. The unit is a padded Hugging Face forward "
        "pass over 64 prompts with the same model, measured now: the study may have run under "
        "another load, so these ratios are rough.",
        notes="\n\n".join([*parts, *missing]),
    )


def run_text(run: Path, setting: Setting) -> str:
    """The table of one run."""
    manifest: dict[str, Any] = Results.open(run).manifest
    source = manifest["question"]["source"]
    here = find_embedded(source) is not None or Path(source).is_dir()
    unit = unit_of(source, setting) if here else None
    # Only the study's own stages: attribution and the full evaluation are asked for apart.
    stages = [s.name for s in stages_of("study", ()) if s.name in manifest["seconds"]]
    seconds = {name: manifest["seconds"][name] for name in stages}
    seconds["total"] = sum(seconds.values())
    one = statistics.median(unit.wall) if unit else None
    rows = [
        f"| {name} | {s:.1f} | {f'{s / one:.1f}' if one else 'no unit'} |"
        for name, s in seconds.items()
    ]
    about = f"unit {one:.2f} s" if one else "its model is not here: no unit"
    return "\n".join(
        [
            f"`{run.name}` ({manifest['model']}, {manifest['device']}): {seconds['total'] / 60:.1f}"
            f" minutes, peak memory {manifest['peak_memory_mib'] / 1024:.2f} GiB; {about}.",
            "",
            "| stage | seconds | forward passes over 64 prompts |",
            "|---|---|---|",
            *rows,
        ]
    )


def unit_of(source: str, setting: Setting) -> Timing:
    """Seconds of a plain pass over 64 prompts."""
    hf = hugging_face(source)
    prompts = PromptSet(setting.pairs(3).prompts[: setting.size(64, 4)])
    batches = padded(lens(source), prompts, 32)
    plain_logits(hf, batches[:1])
    return take_turns({HF: lambda: plain_logits(hf, batches)}, setting.turns)[HF]
