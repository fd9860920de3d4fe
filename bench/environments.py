"""Environments of the benchmark's own, for what the product must not depend on: LiteLLM, and what draws the plots.

Each is made from a lock file beside this one, with hashes, when it is first needed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE.parent / ".bench"
INSTALL_SECONDS: Final = 900


class NotInstalled(Exception):
    """It could not be installed; the text says why."""


class Environment:
    """One of them, by the name of its lock file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = HERE / f"{name}.lock"
        self._folder = FOLDER / name

    def command(self, name: str) -> Path:
        """The path of one of its commands, installed if it was not. Raises NotInstalled."""
        if not self._is_current:
            self._install()
        return self._folder / "bin" / name

    @property
    def _is_current(self) -> bool:
        return self._mark.is_file() and self._mark.read_text("ascii") == self._wanted

    @property
    def _mark(self) -> Path:
        return self._folder / "installed"

    @property
    def _wanted(self) -> str:
        return f"{sys.version_info[:2]} {hashlib.sha256(self._lock.read_bytes()).hexdigest()}"

    def _install(self) -> None:
        sys.stderr.write(f"Installing {self._lock.name} into {self._folder.relative_to(HERE.parent)}, once\n")
        venv.create(self._folder, clear=True)
        pip = [sys.executable, "-m", "pip", "--python", str(self._folder / "bin/python"), "install", "--quiet"]
        command = [*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(self._lock)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except subprocess.CalledProcessError as error:
            last = (error.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise NotInstalled(f"{self._lock.name} could not be installed: {last}") from error
        except subprocess.TimeoutExpired as error:
            raise NotInstalled(f"{self._lock.name} took longer than {INSTALL_SECONDS} s to install") from error
        self._mark.write_text(self._wanted, "ascii")
