"""Measure speed and memory on the planted models and write benchmarks/RESULTS.md.

Every figure is a ratio of two things measured in one run; seconds stand beside it. The tasks of a
comparison take turns (A B C A B C ...), and a ratio is the median of the ratios within a turn. The
machine may be busy with other work: wall time counts that, the process's own CPU time (all its
threads) much less, so both ratios are given. Nothing here is a test.

    python benchmarks/run.py                   # all sections
    python benchmarks/run.py --only memory     # measure one again, keep the others' text
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
from edits import generation_section, rows_section
from intervals import intervals_section
from timing import Task, Timing, ratio, say, take_turns
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import SMALL, find_embedded
from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.records import installed_versions
from refusal_lens.study import Study
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results, peak_memory_mib

HERE: Final = Path(__file__).resolve().parent
SECTIONS: Final = ("statistics", "memory", "study", "generation", "rows", "intervals")
MIB: Final = 1024 * 1024

OURS: Final = "`model.residual_stats`"
PLAIN: Final = "Hugging Face forward, padded"
CACHE: Final = "`run_with_cache`, residual only"
LEAN: Final = "Hugging Face forward, padded, no unembedding, no cache"


@dataclass(frozen=True)
class Hf:
    """An embedded model as Hugging Face gives it (sdpa attention), and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


# --- models and prompts -----------------------------------------------------------------------


def lens_model() -> LensModel:
    """The small embedded model as the study loads it, on the CPU."""
    return load_model(SMALL, placement=Placement(dtype="float32", device="cpu"))


def hugging_face(source: str = SMALL) -> Hf:
    """The weights of an embedded model, as a user of transformers would have them."""
    entry = find_embedded(source)
    assert entry is not None, f"{source!r} is no embedded model"
    model, tokenizer = load_embedded_model(entry)
    assert model.config._attn_implementation == "sdpa", model.config._attn_implementation
    return Hf(model, tokenizer)


def train_prompts(n_pairs: int) -> PromptSet:
    """The first pairs of each category's `train` split, in the order of the files."""
    return load_prompts().only(split="train").first(n_pairs)


def repeated(prompts: PromptSet, times: int) -> PromptSet:
    """The same prompts again and again, with ids and pairs of their own."""

    def copy(p: Prompt, k: int) -> Prompt:
        return replace(p, id=f"{p.id}-{k}", pair=p.pair and f"{p.pair}-{k}")

    return PromptSet(tuple(copy(p, k) for k in range(times) for p in prompts))


def padded_batches(prompts: PromptSet, hf: Hf, batch_size: int) -> list[dict[str, torch.Tensor]]:
    """The templated prompts in the given order, each batch padded to its longest."""
    texts = [
        hf.tokenizer.apply_chat_template(
            [{"role": "user", "content": p.text}], add_generation_prompt=True, tokenize=False
        )
        for p in prompts
    ]
    return [
        dict(
            hf.tokenizer(
                texts[i : i + batch_size],
                padding=True,
                add_special_tokens=False,
                return_tensors="pt",
            )
        )
        for i in range(0, len(texts), batch_size)
    ]


# --- statistics -------------------------------------------------------------------------------


def forward_plainly(hf: Hf, batches: list[dict[str, torch.Tensor]]) -> None:
    """What a user of transformers writes."""
    with torch.inference_mode():
        for batch in batches:
            hf.model(**batch)


def forward_leanly(hf: Hf, batches: list[dict[str, torch.Tensor]]) -> None:
    """The blocks alone: no unembedding, no key-value cache."""
    with torch.inference_mode():
        for batch in batches:
            hf.model.base_model(**batch, use_cache=False)


def run_with_cache(model: LensModel, batches: list[dict[str, torch.Tensor]]) -> None:
    """TransformerLens' own way to the residual stream, without summing anything up."""
    bridge: Any = model.backend.model
    with torch.inference_mode():
        for batch in batches:
            _, cache = bridge.run_with_cache(
                batch["input_ids"],
                attention_mask=batch["attention_mask"],
                names_filter=lambda name: name.endswith("hook_resid_pre"),
            )
            assert len(cache) == model.n_layers, len(cache)


def statistics_tasks(model: LensModel, hf: Hf, prompts: PromptSet) -> dict[str, Task]:
    """The four ways over the same prompts. Only ours renders and tokenises within its time."""
    batches = padded_batches(prompts, hf, model.rows.most)
    return {
        OURS: lambda: model.residual_stats(prompts),
        PLAIN: lambda: forward_plainly(hf, batches),
        CACHE: lambda: run_with_cache(model, batches),
        LEAN: lambda: forward_leanly(hf, batches),
    }


def statistics_section(args: argparse.Namespace) -> str:
    """Time of the statistics against two forward passes and `run_with_cache`."""
    model, hf = lens_model(), hugging_face()
    prompts = train_prompts(args.pairs)
    for warm_up in statistics_tasks(model, hf, PromptSet(prompts.prompts[:8])).values():
        warm_up()
    found = take_turns(statistics_tasks(model, hf, prompts), args.repeats)
    targets = {PLAIN: "at most 0.80", CACHE: "at most 0.60", LEAN: "none (for orientation)"}
    rows = [
        f"| {name} | {target} | {ratio(found[OURS].cpu, found[name].cpu)} "
        f"| {ratio(found[OURS].wall, found[name].wall)} |"
        for name, target in targets.items()
    ]
    n = len(prompts)
    return "\n".join(
        [
            f"Time of {OURS} (every block's input, all {model.chat.n_post} post-instruction "
            f"offsets) over {n} `train` prompts, divided by the time of another way over the same "
            f"prompts, same weights, batches of {model.rows.most}. The other ways pad to the "
            "longest of a batch in the given order; rendering and tokenising count only for ours, "
            f"and the others sum nothing up. {args.repeats} turns: median (lowest-highest).",
            "",
            "| divided by | target | CPU time | wall time |",
            "|---|---|---|---|",
            *rows,
            "",
            *seconds_table(found),
            "",
            padding_text(model, prompts, hf),
        ]
    )


def padding_text(model: LensModel, prompts: PromptSet, hf: Hf) -> str:
    """How many token positions each way computes."""
    batches = padded_batches(prompts, hf, model.rows.most)
    padded = sum(batch["input_ids"].numel() for batch in batches)
    own = sum(len(model.chat.ids(p)) for p in prompts)
    shared = len(model.chat.prefix_ids)
    return (
        f"The prompts have {own} tokens with their template, {padded} padded; {shared} of each "
        f"prompt's {own / len(prompts):.0f} belong to the shared prefix, which ours computes once."
    )


def seconds_table(found: dict[str, Timing]) -> list[str]:
    """Median seconds of each task."""
    rows = [
        f"| {name} | {statistics.median(t.cpu):.1f} | {statistics.median(t.wall):.1f} |"
        for name, t in found.items()
    ]
    return ["| way | CPU seconds | wall seconds |", "|---|---|---|", *rows]


# --- memory -----------------------------------------------------------------------------------


def reset_peak() -> None:
    """Begin the peak anew where the system can (Linux), else count from the start."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def measure_peak(n: int, times: int) -> None:
    """In a process of its own: print the peak of the statistics over `n` prompts, `times` over."""
    model = lens_model()
    prompts = repeated(PromptSet(train_prompts(12).prompts[:n]), times)
    reset_peak()
    loaded = peak_memory_mib()
    model.residual_stats(prompts)
    peak = peak_memory_mib()
    kept = model.chat.n_post * model.n_layers * model.d_model * 4 / MIB  # a prompt's residuals
    print(json.dumps({"prompts": len(prompts), "loaded": loaded, "peak": peak, "kept": kept}))


def peak_of(args: argparse.Namespace, times: int) -> dict[str, float]:
    """`measure_peak` in a fresh process."""
    options = {
        "--peak-of": times,
        "--memory-prompts": args.memory_prompts,
        "--threads": args.threads,
    }
    words = [str(word) for option in options.items() for word in option]
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    say(f"memory: {found}")
    return found


def memory_section(args: argparse.Namespace) -> str:
    """Peak memory of the statistics over n and over 4n prompts."""
    found = [(peak_of(args, 1), peak_of(args, 4)) for _ in range(args.memory_repeats)]
    few, many = [a for a, _ in found], [b for _, b in found]
    rows: list[str] = []
    for runs in (few, many):
        loaded = statistics.median(r["loaded"] for r in runs)
        peaks = ", ".join(f"{r['peak']:.0f}" for r in runs)
        rows.append(f"| {runs[0]['prompts']:.0f} | {loaded:.0f} | {peaks} |")
    grown = ratio([b["peak"] for b in many], [a["peak"] for a in few])
    more = statistics.median(b["peak"] - a["peak"] for a, b in found)
    kept = (many[0]["prompts"] - few[0]["prompts"]) * few[0]["kept"]
    return "\n".join(
        [
            f"Largest resident memory of {OURS}, each run in a fresh process, the peak counted "
            "from after loading. The larger set is the smaller one four times over, with new ids.",
            "",
            "| prompts | MiB with the model loaded | peak MiB, each run |",
            "|---|---|---|",
            *rows,
            "",
            "Target: no growth. Peak over the larger set divided by peak over the smaller: "
            f"{grown.median:.3f} ({grown.low:.3f}-{grown.high:.3f}); median difference "
            f"{more:+.0f} MiB. Keeping the additional prompts' residuals would take {kept:.0f} "
            "MiB.",
        ]
    )


# --- study ------------------------------------------------------------------------------------


def study_section(args: argparse.Namespace) -> str:
    """Peak memory and seconds a stage of a finished run, against a plain forward pass."""
    if not (args.run / "manifest.json").is_file():
        return f"Not measured: no finished run in `{args.run}` (`make study`, or give `--run`)."
    manifest = Results.open(args.run).manifest
    hf = hugging_face(manifest["question"]["source"])
    batches = padded_batches(PromptSet(train_prompts(3).prompts[:64]), hf, 32)
    forward_plainly(hf, batches[:1])
    found = take_turns({PLAIN: lambda: forward_plainly(hf, batches)}, args.repeats)[PLAIN]
    one = statistics.median(found.wall)
    # Only the study's own stages: attribution and the full evaluation are asked for apart.
    seconds = {s.name: manifest["seconds"][s.name] for s in stages_of("study", ())}
    total = sum(seconds.values())
    rows = [f"| {name} | {s:.1f} | {s / one:.1f} |" for name, s in seconds.items()]
    return "\n".join(
        [
            f"The run `{args.run.name}` ({manifest['model']}, {manifest['device']}), as its "
            "manifest has it. The unit is a padded Hugging Face forward pass over 64 `train` "
            f"prompts, measured now: {one:.2f} s wall (median of {args.repeats}, "
            f"{min(found.wall):.2f}-{max(found.wall):.2f}; {statistics.median(found.cpu):.2f} s "
            "CPU). The study may have run under another load than the unit: these ratios are "
            "rough.",
            "",
            "Peak memory of whatever ran in its folder, attribution and full evaluation included: "
            f"{manifest['peak_memory_mib']} MiB, "
            f"{manifest['peak_memory_mib'] / 6144:.2f} of the target of 6 GiB.",
            "",
            "| stage | seconds | forward passes over 64 prompts |",
            "|---|---|---|",
            *rows,
            f"| total | {total:.1f} | {total / one:.1f} |",
        ]
    )


# --- the document -----------------------------------------------------------------------------


def command_output(*command: str) -> str:
    """What a command prints, or "" if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def commit() -> str:
    """The git commit, and whether the package differs from it."""
    short = command_output("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = command_output("git", "status", "--porcelain", "--", "../refusal_lens", "../data")
    return f"{short} with uncommitted changes to the package" if changed else short


def cpu_model() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", path.read_text()) if path.exists() else None
    brand = command_output("sysctl", "-n", "machdep.cpu.brand_string")
    return found[1].strip() if found else brand or platform.processor() or "unknown processor"


def machine(load_before: float) -> str:
    """Where, when and with what a section was measured."""
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    versions = ", ".join(f"{k} {v}" for k, v in installed_versions().items())
    return (
        f"*{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}. {cpu_model()}, "
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used, {ram:.0f} GiB memory, "
        f"{platform.system()} {platform.machine()}; load average {load_before:.1f} before, "
        f"{os.getloadavg()[0]:.1f} after. {versions}.*"
    )


def write(path: Path, name: str, text: str) -> None:
    """Put a section into the document; the other sections stay as they are."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n\n(.*?)\n*(?=^## |\Z)", old, re.M | re.S))
    sections[name.capitalize()] = text
    titles = [s.capitalize() for s in SECTIONS if s.capitalize() in sections]
    body = "\n\n".join(f"## {title}\n\n{sections[title]}" for title in titles)
    intro = (
        "Written by `benchmarks/run.py` (`make benchmark`). Figures are ratios of things measured "
        "in one run, taking turns; each section says where and when. CPU time is that of the "
        "measured process, all threads; it is the one to read when the machine is busy with other "
        "work, which wall time includes."
    )
    path.write_text(f"# Benchmark results\n\n{intro}\n\n{body}\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    parser.add_argument("--only", choices=SECTIONS, help="measure one section again")
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--run", type=Path, default=HERE.parent / Study().default_folder())
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="turns of a comparison")
    parser.add_argument("--pairs", type=int, default=12, help="pairs a category (statistics)")
    parser.add_argument(
        "--memory-prompts", type=int, default=128, help="prompts, once and four times"
    )
    parser.add_argument("--memory-repeats", type=int, default=2, help="processes a size")
    parser.add_argument("--answers", type=int, default=16, help="prompts (generation)")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens (generation, rows)")
    parser.add_argument("--conditions", type=int, default=16, help="edits in a batch (rows)")
    parser.add_argument("--row-prompts", type=int, default=4, help="prompts an edit (rows)")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure the sections asked for and write each as soon as it is there."""
    args = arguments()
    torch.set_num_threads(args.threads)
    if args.peak_of:
        measure_peak(args.memory_prompts, args.peak_of)
        return
    measure: dict[str, Callable[[argparse.Namespace], str]] = {
        "statistics": statistics_section,
        "memory": memory_section,
        "study": study_section,
        "generation": lambda args: generation_section(lens_model(), train_prompts(2), args),
        "rows": lambda args: rows_section(lens_model(), train_prompts(2), args),
        "intervals": lambda args: intervals_section(lens_model(), train_prompts(3), args),
    }
    for name in [args.only] if args.only else SECTIONS:
        say(f"measuring: {name}")
        load = os.getloadavg()[0]
        text = measure[name](args)
        write(args.out, name, f"{text}\n\n{machine(load)}")
    print(args.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
