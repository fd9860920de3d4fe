"""What a process and all its descendants have used: CPU in nanoseconds, memory that is resident. Linux only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")


def members(pid: int) -> Iterator[int]:
    """The process and its descendants, as they are now; none if it is gone."""
    try:
        children = [
            int(child)
            for task in (_PROC / str(pid) / "task").iterdir()
            for child in (task / "children").read_text("ascii").split()
        ]
    except OSError:
        return
    yield pid
    for child in children:
        yield from members(child)


def cpu_ns(pid: int) -> int:
    """User and system time of the tree, by the scheduler's own clock; a descendant that ended is not in it."""
    total = 0
    for member in members(pid):
        try:
            # The clock of a whole process, threads that ended included: clock_getcpuclockid(3) makes the id so.
            total += time.clock_gettime_ns((~member << 3) | 2)
        except OSError:  # it ended meanwhile
            continue
    return total


def resident_bytes(pid: int) -> int:
    """Resident memory of the tree; pages that several of its processes share count once for each."""
    return sum(map(_resident, members(pid)))


def _resident(pid: int) -> int:
    try:
        status = (_PROC / str(pid) / "status").read_text("ascii", errors="replace")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
