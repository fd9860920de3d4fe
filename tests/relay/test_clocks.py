"""A session's clocks: what strikes, in which order, and that nothing does any more once they are stopped."""

import asyncio
from collections.abc import Callable

import pytest

from relay.clocks import Clocks


class Timer:
    """One of :class:`Time`."""

    def __init__(self, at: float, strike: Callable[[], None]) -> None:
        self.at = at
        self.strike = strike
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Time:
    """An event loop's clock and timers, which are moved by hand."""

    def __init__(self) -> None:
        self._now = 100.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self._now

    def call_at(self, at: float, strike: Callable[[], None]) -> Timer:
        self.timers.append(Timer(at, strike))
        return self.timers[-1]

    def pass_by(self, seconds: float) -> None:
        until = self._now + seconds
        while due := [timer for timer in self.timers if timer.at <= until and not timer.is_cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self._now = max(self._now, first.at)
            first.strike()
        self._now = until


class FakeSession:
    """Writes down what its clocks tell it, and after how long."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self.last_activity = time.time()
        self.told: list[tuple[str, float]] = []

    def quiet_since(self) -> float:
        return self.last_activity

    def warn(self, seconds_left: int) -> None:
        self._note(f"{seconds_left} left")

    def time_is_up(self) -> None:
        self._note("time is up")

    def is_idle(self) -> None:
        self._note("idle")

    def be_active(self) -> None:
        self.last_activity = self._time.time()

    def _note(self, what: str) -> None:
        self.told.append((what, self._time.time() - 100))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: time)
    return time


@pytest.fixture
def session(time: Time) -> FakeSession:
    return FakeSession(time)


@pytest.mark.parametrize(
    ("lasts", "told"),
    [
        (600, [("60 left", 540), ("10 left", 590), ("time is up", 600)]),
        (61, [("60 left", 1), ("10 left", 51), ("time is up", 61)]),
        (60, [("10 left", 50), ("time is up", 60)]),  # one that would come with its start is left out
        (10, [("time is up", 10)]),
        (1, [("time is up", 1)]),
    ],
)
def test_it_is_warned_before_its_time_is_up(
    time: Time, session: FakeSession, lasts: int, told: list[tuple[str, float]]
) -> None:
    Clocks(session, max_session_seconds=lasts, idle_seconds=3_600)
    time.pass_by(4_000)
    assert session.told == told
    assert time.timers == []


def test_it_is_idle_when_nothing_has_happened_for_so_long(time: Time, session: FakeSession) -> None:
    Clocks(session, max_session_seconds=3_600, idle_seconds=120)
    for _ in range(3):
        time.pass_by(119)
        session.be_active()
    time.pass_by(3_600)
    assert session.told == [("idle", 3 * 119 + 120)]
    assert time.timers == []


def test_warnings_come_between_two_looks_for_idleness(time: Time, session: FakeSession) -> None:
    Clocks(session, max_session_seconds=600, idle_seconds=120)
    for _ in range(8):
        time.pass_by(70)
        session.be_active()
    assert session.told == [("60 left", 540)]
    time.pass_by(3_600)
    assert session.told[1:] == [("10 left", 590), ("time is up", 600)]


def test_a_timer_that_strikes_a_little_early_is_set_again(time: Time, session: FakeSession) -> None:
    """uvloop's count whole milliseconds."""
    Clocks(session, max_session_seconds=5, idle_seconds=120)
    time.pass_by(4.9996)
    time.timers.pop().strike()
    assert session.told == []
    time.pass_by(1)
    assert session.told == [("time is up", 5)]


def test_once_stopped_nothing_strikes(time: Time, session: FakeSession) -> None:
    clocks = Clocks(session, max_session_seconds=600, idle_seconds=3_600)
    time.pass_by(550)
    clocks.stop()
    time.pass_by(3_600)
    assert session.told == [("60 left", 540)]
