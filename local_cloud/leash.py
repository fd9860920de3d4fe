"""Ties a child process to its parent, so that a parent killed outright leaves nothing running.

Linux offers this (``PR_SET_PDEATHSIG``); elsewhere the command is started as it is. It is asked for in a small Python
step that then becomes the command: ``preexec_fn`` is not safe beside threads, and warns about them from Python 3.12 on.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>


def leashed(command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command``, under the same process id, until the calling thread's process ends."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """Ask to die with the parent, then become the command: ``leash.py PARENT_PID COMMAND...``."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before it could be heard of
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - becoming the command is the purpose


if __name__ == "__main__":
    main()
