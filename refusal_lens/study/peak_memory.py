"""The most memory that this process has used."""

import re
import resource
import sys
from pathlib import Path


def peak_memory_mib() -> int:
    """Largest resident memory of this process so far, in MiB.

    Linux hands a parent's `ru_maxrss` on to its child; `VmHWM` is the process's own.

    >>> peak_memory_mib() > 10
    True
    """
    status = Path("/proc/self/status")
    if status.is_file() and (match := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(match[1]) // 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (1024 * 1024 if sys.platform == "darwin" else 1024))
