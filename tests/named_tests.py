"""The tests that our pages name as the proof of what they promise: read from the pages, and seen to have run.

``pytest -p tests.named_tests`` (as ``make test`` does) fails when one of them was not run, or was skipped: a promise
whose test is left out is no promise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = ("SECURITY.md", "docs/controls.md", "docs/faults.md", "docs/threats.md")
_NAMED: Final = re.compile(r"`(tests/[\w/]+\.py::test_\w+)`( \(soak\))?")
"""A test's name as a page has it; one that takes minutes is marked, since only ``make soak`` runs it."""

_passed: Final[set[str]] = set()


def named_tests(page: str, *, soak: bool) -> set[str]:
    """The tests that a page names, ``tests/path.py::test_name``; those of ``make soak`` only if they are wanted."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return {name for name, is_soak in _NAMED.findall(text) if soak or not is_soak}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what passed; a test with parameters is one test."""
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid.partition("[")[0])


def _not_run() -> list[str]:
    return sorted(set[str]().union(*(named_tests(page, soak=False) for page in PAGES)) - _passed)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run in which a named test did not pass."""
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and exitstatus == pytest.ExitCode.OK and _not_run():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which."""
    for name in _not_run():
        terminalreporter.write_line(f"NAMED BY A PAGE, NOT PASSED {name}", red=True)
