"""What a whole run says: medians over its rounds, and ratios within them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.figures import difference, median_of, ratio
from bench.orders import Done, Flowed, WasSetUp
from bench.results import SERVICES, Results, Run

MESSAGES_PER_SESSION_SECOND: Final = 100
"""20 ms frames, both ways."""
_Figure = Callable[[Run], float | None]


class Reading:
    """Figures of a run; None where there is none, since it was not measured or was worth nothing."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._runs = {(run.scenario, run.contender, run.round): run for run in results.runs}

    def contenders(self, scenario: str) -> list[str]:
        """Who took part, in order."""
        return list(dict.fromkeys(run.contender for run in self.results.runs if run.scenario == scenario))

    def rounds(self, scenario: str, contender: str, figure: _Figure) -> list[float | None]:
        """A figure in each round."""
        runs = [self._runs.get((scenario, contender, number + 1)) for number in range(self.results.rounds)]
        return [None if run is None or run.flaw else figure(run) for run in runs]

    def median(self, scenario: str, contender: str, figure: _Figure) -> float | None:
        """Its median."""
        return median_of(self.rounds(scenario, contender, figure))

    def cost(self, scenario: str, contender: str) -> float | None:
        """CPU microseconds per message."""
        return self.median(scenario, contender, _cost)

    def cost_ratio(self, scenario: str, ours: str, theirs: str) -> float | None:
        """CPU per message against another's."""
        return ratio(self.rounds(scenario, ours, _cost), self.rounds(scenario, theirs, _cost))

    def sessions_per_core(self, scenario: str, contender: str) -> float | None:
        """How many sessions in real time one core carries, by what a message costs."""
        cost = self.cost(scenario, contender)
        return 1e6 / (cost * MESSAGES_PER_SESSION_SECOND) if cost else None

    def per_second(self, scenario: str, contender: str) -> float | None:
        """Messages relayed."""
        return self.median(scenario, contender, _per_second)

    def added_ms(self, scenario: str, contender: str, percent: int) -> float | None:
        """The round trip, without what it takes directly."""
        trip = _trip(percent)
        return difference(self.rounds(scenario, contender, trip), self.rounds(scenario, "direct", trip))

    def core_share(self, scenario: str, contender: str, process: str) -> float | None:
        """How much of a core one of the processes had."""
        return self.median(scenario, contender, lambda run: _core_share(run, process))

    def base_mb(self, contender: str) -> float | None:
        """Resident memory without a session."""
        return self.median("sessions", contender, _set_up(lambda answer: answer.base_bytes / 2**20))

    def idle_kb(self, contender: str) -> float | None:
        """Resident memory of a session in which nothing was said."""
        return self.median(
            "sessions",
            contender,
            _set_up(lambda answer: (answer.idle_bytes - answer.base_bytes) / 1024 / answer.sessions),
        )

    def active_kb(self, contender: str) -> float | None:
        """Resident memory of a session in real time."""
        return self.median(
            "sessions",
            contender,
            _set_up(lambda answer: (answer.active_bytes - answer.base_bytes) / 1024 / answer.sessions),
        )

    def set_up_ms(self, contender: str) -> float | None:
        """CPU milliseconds to set a session up."""
        return self.median("sessions", contender, _set_up_ms)

    def set_up_ratio(self, ours: str, theirs: str) -> float | None:
        """The same, against another's."""
        return ratio(self.rounds("sessions", ours, _set_up_ms), self.rounds("sessions", theirs, _set_up_ms))

    def set_ups_per_second(self, contender: str) -> float | None:
        """Sessions opened."""
        return self.median("sessions", contender, _set_up(lambda answer: answer.sessions / answer.seconds))

    def growth(self, contender: str, few: int, many: int) -> float | None:
        """CPU per message with many sessions against that with few, which together send as much."""
        return ratio(self.rounds(f"growth{many}", contender, _cost), self.rounds(f"growth{few}", contender, _cost))

    def step_us(self, step: str) -> float | None:
        """CPU microseconds that a service needs for one mint or redeem."""
        return self.median(step, SERVICES, _step_us)

    def step_ms(self, step: str, percent: int) -> float | None:
        """How long one takes, at an even 500 per second."""
        return self.median(f"{step}-500", SERVICES, _trip(percent))

    def pairs_per_cpu_second(self) -> float | None:
        """Mints, each with its redeem, per second of the services' CPU."""
        mint, redeem = self.step_us("mint"), self.step_us("redeem")
        return 1e6 / (mint + redeem) if mint and redeem else None

    def problems(self) -> list[tuple[str, str, str]]:
        """Scenario, contender, and what is wrong; once where it is the same in every round."""
        return list(dict.fromkeys((run.scenario, run.contender, run.flaw) for run in self.results.runs if run.flaw))


def _cost(run: Run) -> float | None:
    return run.cpu_us_per_message


def _per_second(run: Run) -> float | None:
    return run.answer.messages / run.answer.seconds if isinstance(run.answer, Flowed) else None


def _core_share(run: Run, process: str) -> float | None:
    if not isinstance(run.answer, Flowed) or process not in run.answer.cpu_ns:
        return None
    return run.answer.cpu_ns[process] / 1e9 / run.answer.seconds


def _trip(percent: int) -> _Figure:
    def trip(run: Run) -> float | None:
        match run.answer:
            case Flowed(trip_p50_ms=p50, trip_p99_ms=p99) | Done(trip_p50_ms=p50, trip_p99_ms=p99):
                return p50 if percent == 50 else p99
        return None

    return trip


def _set_up(figure: Callable[[WasSetUp], float]) -> _Figure:
    return lambda run: figure(run.answer) if isinstance(run.answer, WasSetUp) else None


_set_up_ms: Final = _set_up(lambda answer: answer.cpu_ns["contender"] / 1e6 / answer.sessions)


def _step_us(run: Run) -> float | None:
    return run.answer.cpu_ns["contender"] / 1e3 / run.answer.count if isinstance(run.answer, Done) else None
