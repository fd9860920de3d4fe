"""What was measured, as it is kept in the JSON file, and what follows from a single run. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from bench.orders import Done, Flowed, Sample, WasSetUp

MOST_LATE_MS: Final = 100.0
LEAST_ACHIEVED: Final = 0.98
SERVICES: Final = "services"
"""Stands for token service and relay where there is no contender: in minting and redeeming."""


class Run(Struct, frozen=True, kw_only=True):
    """One contender in one scenario in one round; either an answer or the problem."""

    scenario: str
    contender: str
    round: int
    answer: Flowed | WasSetUp | Done | None
    problem: str | None = None

    @property
    def cpu_us_per_message(self) -> float | None:
        """Of the contender's processes."""
        if not isinstance(self.answer, Flowed) or not self.answer.messages or "contender" not in self.answer.cpu_ns:
            return None
        return self.answer.cpu_ns["contender"] / 1000 / self.answer.messages

    @property
    def flaw(self) -> str | None:
        """Why the figures are not to be used; None if they are."""
        if self.answer is None:
            return self.problem
        if isinstance(self.answer, Done):
            return None
        if self.answer.lost:
            return f"invalid: {self.answer.lost} messages lost"
        if isinstance(self.answer, Flowed) and self.answer.offered is not None:
            if self.answer.late_ms > MOST_LATE_MS:
                return f"invalid: the load generator was {self.answer.late_ms:.0f} ms late"
            if self.answer.messages < LEAST_ACHIEVED * self.answer.offered:
                return f"invalid: {self.answer.messages / self.answer.offered:.0%} of what was offered"
        return None

    def in_words(self) -> str:
        """One line about it, for people who wait."""
        answer = self.answer
        if answer is None:
            return self.problem or ""
        match answer:
            case Flowed():
                told = _flowed(answer, self.cpu_us_per_message)
            case WasSetUp():
                told = _was_set_up(answer)
            case Done():
                told = _done(answer)
        return f"{told}  {self.flaw}" if self.flaw else told


class Machine(Struct, frozen=True, kw_only=True):
    """Where it was measured, and with what."""

    cpu: str
    cores: int
    system: str
    versions: dict[str, str]


class Results(Struct, frozen=True, kw_only=True):
    """A whole run."""

    measured_at: str
    commit: str
    machine: Machine
    limits: dict[str, str]
    rounds: int
    runs: list[Run]


class Soak(Struct, frozen=True, kw_only=True):
    """The long run with many sessions."""

    measured_at: str
    commit: str
    machine: Machine
    contender: str
    sessions: int
    frame_ms: int
    samples: list[Sample]
    answer: Flowed


def _flowed(answer: Flowed, cost: float | None) -> str:
    shares = ", ".join(f"{name} {ns / 1e7 / answer.seconds:.0f} %" for name, ns in answer.cpu_ns.items())
    return (
        f"{'' if cost is None else f'{cost:6.1f} us/message':>17} {answer.messages / answer.seconds:7,.0f}/s"
        f"  p50 {answer.trip_p50_ms:6.2f}  p99 {answer.trip_p99_ms:6.2f} ms  ({shares})"
    )


def _was_set_up(answer: WasSetUp) -> str:
    count, base = answer.sessions, answer.base_bytes
    return (
        f"{answer.cpu_ns['contender'] / 1e6 / count:6.2f} ms CPU each, {count / answer.seconds:,.0f}/s,"
        f" base {base / 2**20:.0f} MB, {(answer.idle_bytes - base) / 1024 / count:.0f} KB idle,"
        f" {(answer.active_bytes - base) / 1024 / count:.0f} KB active"
    )


def _done(answer: Done) -> str:
    return (
        f"{answer.cpu_ns['contender'] / 1e3 / answer.count:6.1f} us CPU each, {answer.count / answer.seconds:,.0f}/s,"
        f" p50 {answer.trip_p50_ms:.2f}  p99 {answer.trip_p99_ms:.2f} ms"
    )
