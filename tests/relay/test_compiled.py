"""The hot path compiled: used where it was compiled from just these sources, and nowhere else."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relay import compiled
from scripts.compile_relay import lacking

PACKAGE = Path(compiled.__file__).parent
ROOT = PACKAGE.parent
IS_PLAIN = os.environ.get("PURE_PYTHON", "") not in ("", "0")
needs_it = pytest.mark.skipif(IS_PLAIN, reason="plain Python was asked for")


@pytest.mark.parametrize("name", compiled.MODULES)
def test_tests_run_what_they_say_they_run(name: str) -> None:
    where = Path(str(importlib.import_module(f"relay.{name}").__file__))
    assert where.parent == (PACKAGE if IS_PLAIN else compiled.folder())
    assert compiled.is_in_use() is not IS_PLAIN


def test_whatever_is_said_for_c_is_said_of_a_module_that_is_compiled() -> None:
    assert {path.stem for path in PACKAGE.glob("*.pxd")} == set(compiled.MODULES)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The package with what was compiled of it."""
    shutil.copytree(PACKAGE, tmp_path / "relay")
    return tmp_path


def wire_of(folder: Path, **environment: str) -> str:
    """Which file its wire comes from."""
    told = subprocess.run(
        [sys.executable, "-c", "import relay.wire; print(relay.wire.__file__)"],
        cwd=folder,
        env={"PYTHONPATH": f"{folder}:{ROOT}", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(told.stdout.strip()).relative_to(folder).parts[1]


@needs_it
def test_it_is_used_where_it_lies(copy: Path) -> None:
    assert wire_of(copy) == "__compiled__"
    assert wire_of(copy, PURE_PYTHON="0") == "__compiled__"


@needs_it
def test_plain_python_can_be_asked_for(copy: Path) -> None:
    assert wire_of(copy, PURE_PYTHON="1") == "wire.py"


@needs_it
@pytest.mark.parametrize("changed", ["wire.py", "pace.pxd"])
def test_what_was_compiled_from_other_sources_is_never_used(copy: Path, changed: str) -> None:
    with (copy / "relay" / changed).open("a") as source:
        source.write("# changed\n")
    assert wire_of(copy) == "wire.py"


def test_without_a_compiler_it_says_so_and_the_relay_is_plain(copy: Path) -> None:
    shutil.rmtree(copy / "relay" / "__compiled__", ignore_errors=True)
    told = subprocess.run(
        [sys.executable, "-m", "scripts.compile_relay"],
        cwd=copy,
        env={"PYTHONPATH": f"{copy}:{ROOT}", "PATH": os.environ["PATH"], "CC": "no-such-compiler"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert "Not compiled, so the relay runs as plain Python: " in told.stderr
    assert wire_of(copy) == "wire.py"


def test_the_packages_that_a_compiler_needs_are_named_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    assert lacking()[:2] == ["gcc", "libc6-dev"]
    monkeypatch.setenv("CC", sys.executable)
    assert "gcc" not in lacking()
