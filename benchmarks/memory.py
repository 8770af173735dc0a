"""Peak memory of the statistics over n and over 4n prompts, each in a process of its own."""

import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.document import Outcome, Section, Target
from benchmarks.setting import ROOT, Setting, lens
from benchmarks.timing import MIB, ratio, reset_peak, say
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.study.peak_memory import peak_memory_mib

FLAT = Target(1.05)


def repeated(prompts: PromptSet, times: int) -> PromptSet:
    """The same prompts again and again, with ids and pairs of their own."""

    def copy(p: Prompt, k: int) -> Prompt:
        return replace(p, id=f"{p.id}-{k}", pair=p.pair and f"{p.pair}-{k}")

    return PromptSet(tuple(copy(p, k) for k in range(times) for p in prompts))


def report_peak(source: str, prompts: Path) -> None:
    """Print the peak of the statistics over the prompts of a file; for a process of its own."""
    model, prompt_set = lens(source), load_prompts(prompts)
    reset_peak()
    loaded = peak_memory_mib()
    model.residual_stats(prompt_set)
    kept = model.chat.n_post * model.n_layers * model.d_model * 4 / MIB  # a prompt's residuals
    peak = peak_memory_mib()
    print(json.dumps({"n": len(prompt_set), "loaded": loaded, "peak": peak, "kept": kept}))


def peak_of(source: str, prompts: PromptSet) -> dict[str, float]:
    """`report_peak` in a fresh process."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "prompts.jsonl"
        prompts.save(path)
        command = [sys.executable, "-m", "benchmarks.memory", source, str(path)]
        command.append(str(torch.get_num_threads()))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    peak: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    say(f"memory: {peak}")
    return peak


def measure(setting: Setting) -> Section:
    """The larger set is the smaller one four times over."""
    few = setting.pairs(setting.size(12, 1))
    few = PromptSet(few.prompts[: setting.size(128, 4)])
    many = repeated(few, 4)
    peaks = [
        (peak_of(setting.source, few), peak_of(setting.source, many)) for _ in range(setting.turns)
    ]
    rows: list[str] = []
    for runs in zip(*peaks, strict=True):
        loaded = statistics.median(run["loaded"] for run in runs)
        each = ", ".join(f"{run['peak']:.0f}" for run in runs)
        rows.append(f"| {runs[0]['n']:.0f} | {loaded:.0f} | {each} |")
    grown = ratio([b["peak"] for _, b in peaks], [a["peak"] for a, _ in peaks])
    kept = (len(many) - len(few)) * peaks[0][0]["kept"]
    outcome = Outcome(
        f"peak memory, statistics of {len(many)} prompts",
        f"of {len(few)} prompts",
        grown,
        grown,
        "",
        FLAT,
    )
    return Section(
        "Memory",
        "Largest resident memory of the statistics, each in a fresh process, the peak counted from "
        "after loading; the ratio stands in both columns of time.",
        [outcome],
        notes="\n".join(
            [
                "| prompts | MiB with the model loaded | peak MiB, each run |",
                "|---|---|---|",
                *rows,
                "",
                f"Keeping the additional prompts' residuals would take {kept:.0f} MiB.",
            ]
        ),
    )


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    report_peak(sys.argv[1], Path(sys.argv[2]))
