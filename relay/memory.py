"""What becomes of audio in this process' memory: overwritten when freed, and never in a core dump.

Python's own allocator keeps freed blocks as they were; 7 copies of a session's audio were found after its end
(security reference §4.6). With the C library's allocator, told to fill what is freed, there are none. glibc fills no
block of a kilobyte or less that it keeps at hand for the same thread, so it is told to keep none; then each block costs
two locked instructions. jemalloc fills what it keeps at hand, so it is taken where it is installed.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_FILL: Final = {
    "linux": {"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"},  # glibc, mallopt(3)
    "darwin": {"PYTHONMALLOC": "malloc", "MallocScribble": "1"},  # malloc(3)
}
_KEEP_NONE_AT_HAND: Final = "glibc.malloc.tcache_count"
_JEMALLOC: Final = ("lib/*/libjemalloc.so.2", "lib64/libjemalloc.so.2", "lib/libjemalloc.so.2")
_FILL_BY_JEMALLOC: Final = "junk:free,narenas:1"  # jemalloc(3); one arena, since one thread does nearly everything
_PR_SET_DUMPABLE: Final = 4
_MADV_DONTNEED: Final = 4
_madvise: Final = ctypes.CDLL(None).madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def find_jemalloc(root: Path = Path("/usr")) -> str:
    """Where jemalloc is installed; empty if nowhere."""
    return next((str(found) for pattern in _JEMALLOC for found in sorted(root.glob(pattern))), "")


def scrubbing_environment(
    environment: Mapping[str, str], platform: str = sys.platform, jemalloc: str | None = None
) -> dict[str, str]:
    """The variables that are still missing for freed memory to be overwritten; empty once they are there.

    ``jemalloc`` is its library, looked for where it is None. A value that the operator set, be it to switch this off,
    is left alone; ``LD_PRELOAD`` too, and then it is the C library's allocator.
    """
    missing = {name: value for name, value in _FILL.get(platform, {}).items() if name not in environment}
    tunables = environment.get("GLIBC_TUNABLES", "")
    if platform == "linux" and _KEEP_NONE_AT_HAND not in tunables:
        missing["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, f"{_KEEP_NONE_AT_HAND}=0")))
    if platform == "linux" and "LD_PRELOAD" not in environment:
        jemalloc = find_jemalloc() if jemalloc is None else jemalloc
        if jemalloc:
            missing["LD_PRELOAD"] = jemalloc
            missing["MALLOC_CONF"] = environment.get("MALLOC_CONF", _FILL_BY_JEMALLOC)
    return missing


def give_back(buffer: memoryview) -> None:
    """Leave the memory of a buffer that holds nothing to the system, until somebody writes there again (Linux).

    Filling what is freed fills what is handed out, too, so a buffer takes memory for all that it might ever hold.
    """
    if sys.platform == "linux":
        start = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        first = -(-start // resource.getpagesize()) * resource.getpagesize()
        pages = (start + len(buffer) - first) // resource.getpagesize()
        if pages > 0:
            _madvise(first, pages * resource.getpagesize(), _MADV_DONTNEED)


def forbid_dumps() -> None:
    """No core dump of this process, and no other process of the same user may read its memory (Linux)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
