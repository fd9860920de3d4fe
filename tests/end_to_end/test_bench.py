"""The benchmark works; how fast anything is, no test says."""

import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from bench import __main__ as comparison
from bench import soak
from bench.orders import Done, Flowed, WasSetUp
from bench.results import Results, Soak
from bench.scenarios import SCENARIOS

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux"),
]


def test_a_short_run_measures_the_relay_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.json"
    monkeypatch.setattr("bench.__main__.QUICK_PAIRS", 40)
    monkeypatch.setitem(SCENARIOS, "sessions", replace(SCENARIOS["sessions"], sessions=10))
    monkeypatch.setattr("bench.keeping.draw", lambda figure, picture: None)
    comparison.main(
        [
            "--quick",
            "--only",
            "direct,relay",
            "--scenarios",
            "sat20,sessions,tokens",
            "--json",
            str(file),
        ]
    )
    results = msgspec.json.decode(file.read_bytes(), type=Results)
    runs = {(run.scenario, run.contender): run for run in results.runs}
    services = {(f"{step}{pace}", "services") for step in ("mint", "redeem") for pace in ("", "-500")}
    assert runs.keys() == {("sat20", "direct"), ("sat20", "relay"), ("sessions", "relay"), *services}
    for (scenario, contender), run in runs.items():
        assert run.answer is not None, (scenario, contender, run.problem)
        match run.answer:
            case Flowed(lost=lost, messages=messages) | WasSetUp(lost=lost, sessions=messages):
                assert lost == 0
                assert messages > 0
            case Done(count=count):
                assert count >= 19
        assert contender == "direct" or run.answer.cpu_ns["contender"] > 0
    printed = capsys.readouterr().out
    assert "MAX_SESSIONS = 2000" in printed
    assert "CPU per relayed message" in printed


def test_a_short_soak_loses_nothing_and_tells_how_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "soak.json"
    monkeypatch.setattr("bench.keeping.draw", lambda figure, picture: None)
    monkeypatch.setattr("os.sched_setaffinity", lambda pid, cores: None)  # that of the tests stays
    soak.main(["--sessions", "10", "--seconds", "1", "--json", str(file)])
    result = msgspec.json.decode(file.read_bytes(), type=Soak)
    assert result.answer.lost == 0
    assert result.answer.messages > 0
    assert [sample.resident_bytes > 0 for sample in result.samples] == [True]
