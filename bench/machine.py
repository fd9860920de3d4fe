"""Where it is measured: processor, system, versions, commit."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.results import Machine

_PACKAGES: Final = ("aiohttp", "msgspec", "openai", "picows", "pybase64", "redis", "uvloop", "websockets")


def this_machine(redis: Path) -> Machine:
    """This one, with that Redis."""
    return Machine(
        cpu=_processor(),
        cores=len(os.sched_getaffinity(0)),
        system=f"Linux {platform.release().partition('-')[0]}",
        versions={
            "Python": platform.python_version(),
            "nginx": _first_version(["nginx", "-v"]),
            "Redis": _first_version([str(redis), "--version"]),
            **{name: version(name) for name in _PACKAGES},
            "LiteLLM": _locked_litellm(),
        },
    )


def commit() -> str:
    """What is measured, by its commit; ``+`` where files differ from it."""
    try:
        text = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"],  # noqa: S607 - whichever git there is
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return text.strip()


def now() -> str:
    """The time, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def get_ready() -> None:
    """Allow as many open files as the machine does: a thousand sessions are several thousand connections.

    Exits where CPU time cannot be told.
    """
    if sys.platform != "linux":
        sys.exit("The benchmark needs Linux: elsewhere nobody tells the CPU time of another process as exactly.")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _processor() -> str:
    match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
    return match[1] if match else platform.machine()


def _first_version(command: list[str]) -> str:
    """The first version number that a program tells of itself."""
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin"}
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    match = re.search(r"\d+\.\d+\.\d+", said.stdout + said.stderr)
    return match[0] if match else "unknown"


def _locked_litellm() -> str:
    match = re.search(r"^litellm==(\S+)", (Path(__file__).parent / "litellm.lock").read_text("utf-8"), re.MULTILINE)
    return match[1] if match else "none"
