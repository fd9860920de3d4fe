"""Runs of the benchmark with figures that a test chooses."""

from __future__ import annotations

from typing import Any

from bench.orders import Done, Flowed, WasSetUp
from bench.results import Machine, Results, Run

MACHINE = Machine(cpu="an abacus", cores=2, system="Linux 6", versions={"Python": "3.11"})


def flowed(microseconds: float = 10.0, **changes: Any) -> Flowed:
    """1,000 messages in a second, at so much CPU each."""
    usual: dict[str, Any] = {
        "messages": 1_000,
        "seconds": 1.0,
        "offered": 1_000.0,
        "cpu_ns": {"contender": int(microseconds * 1_000_000), "load": 100_000_000},
        "trip_p50_ms": 1.0,
        "trip_p99_ms": 2.0,
        "lost": 0,
        "late_ms": 0.0,
        "resident_bytes": 1 << 20,
    }
    return Flowed(**(usual | changes))


def was_set_up(milliseconds: float, kilobytes: float) -> WasSetUp:
    """100 sessions at so much CPU and memory each."""
    base = 50 << 20
    return WasSetUp(
        sessions=100,
        seconds=1.0,
        cpu_ns={"contender": int(milliseconds * 1e8)},
        base_bytes=base,
        idle_bytes=base + int(kilobytes * 51_200),
        active_bytes=base + int(kilobytes * 102_400),
        lost=0,
    )


def done(microseconds: float) -> Done:
    """1,000 mints or redeems at so much CPU each."""
    cpu_ns = {"contender": int(microseconds * 1_000_000)}
    return Done(count=1_000, seconds=1.0, cpu_ns=cpu_ns, trip_p50_ms=1.0, trip_p99_ms=2.0)


def run(scenario: str, contender: str, answer: Flowed | WasSetUp | Done | None, number: int = 1, **more: Any) -> Run:
    """One run."""
    return Run(scenario=scenario, contender=contender, round=number, answer=answer, **more)


def results(*runs: Run) -> Results:
    """Runs as a whole."""
    return Results(
        measured_at="2026-01-01 00:00 UTC",
        commit="abc1234",
        machine=MACHINE,
        limits={"MAX_SESSIONS": "2000"},
        rounds=max(run.round for run in runs),
        runs=list(runs),
    )
