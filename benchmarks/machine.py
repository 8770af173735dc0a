"""Where, when and with what something was measured."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch

from refusal_lens.records import installed_versions

HERE: Final = Path(__file__).resolve().parent


def moment() -> str:
    """Date, time and commit: the heading of a run."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit()}"


def machine(load_before: float) -> str:
    """Processor, memory, load and versions."""
    ram = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    versions = ", ".join(f"{k} {v}" for k, v in installed_versions().items())
    return (
        f"{cpu_model()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads used, "
        f"{ram:.0f} GiB memory, {platform.system()} {platform.machine()}; load average "
        f"{load_before:.1f} before, {os.getloadavg()[0]:.1f} after. {versions}."
    )


def commit() -> str:
    """The git commit, and whether the package differs from it."""
    short = _output("git", "rev-parse", "--short", "HEAD") or "unknown"
    changed = _output("git", "status", "--porcelain", "--", "../refusal_lens", "../data")
    return f"{short} with uncommitted changes to the package" if changed else short


def cpu_model() -> str:
    """The processor's name."""
    path = Path("/proc/cpuinfo")
    match = re.search(r"model name\s*:\s*(.+)", path.read_text()) if path.exists() else None
    brand = _output("sysctl", "-n", "machdep.cpu.brand_string")
    return match[1].strip() if match else brand or platform.processor() or "unknown processor"


def _output(*command: str) -> str:
    """What a command prints, or "" if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=HERE)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
