"""The places of a process, and how its sessions hear that it stops."""

import asyncio
import contextlib

import pytest

from relay.live_sessions import CLOSING_SECONDS, MAX_GOODBYES, LiveSessions
from service_kit.errors import Refusal
from service_kit.revocation import Identity, Why

NOW = 1_700_000_000.0


class FakeSession:
    """Writes down what it was told; leaves its place when drained if it was given one to leave."""

    identity = Identity("sess_1", "token_1", "subject_1", "tenant_1", 0)

    def __init__(self, leave: asyncio.Event | None = None) -> None:
        self.told: list[object] = []
        self.heard = asyncio.Event()
        self._leave = leave

    def announce_drain(self, ends_at: float) -> None:
        self.told.append(ends_at)
        self.heard.set()

    def revoke(self, why: Why) -> None:
        self.told.append(why)

    def time_frames(self) -> None:
        self.told.append("time frames")

    def drain(self) -> None:
        self.told.append("drain")
        if self._leave is not None:
            self._leave.set()


def refusal_of(live: LiveSessions) -> tuple[str, float | None]:
    with pytest.raises(Refusal) as caught, live.place():
        raise AssertionError("there was a place")
    return caught.value.code, caught.value.retry_after


async def test_there_are_so_many_places_and_each_is_given_back() -> None:
    live = LiveSessions(2)
    with live.place():
        with live.place():
            assert refusal_of(live) == ("unavailable", 2)
        with live.place():
            pass
    with pytest.raises(ZeroDivisionError), live.place():
        raise ZeroDivisionError
    with live.place(), live.place():
        assert refusal_of(live) == ("unavailable", 2)


async def test_a_refused_connection_takes_no_place() -> None:
    live = LiveSessions(1)
    with live.place():
        for _ in range(3):
            assert refusal_of(live) == ("unavailable", 2)
    with live.place():
        pass


async def test_a_session_is_listed_while_it_lasts() -> None:
    live, session = LiveSessions(1), FakeSession()
    with live.listed(session):
        assert len(live) == 1
    assert len(live) == 0
    assert session.told == []


async def test_nobody_is_admitted_while_draining() -> None:
    live = LiveSessions(10)
    await live.drain(0, asyncio.Event(), now=NOW)
    assert live.draining
    assert refusal_of(live) == ("draining", 2)


async def test_a_session_that_starts_during_the_drain_ends_at_once() -> None:
    live, session = LiveSessions(1), FakeSession()
    live.draining = True
    with live.listed(session):
        assert session.told == ["drain"]


async def test_a_drain_without_sessions_is_over_at_once() -> None:
    async with asyncio.timeout(1):
        await LiveSessions(1).drain(600, asyncio.Event(), now=NOW)


async def sit(live: LiveSessions, session: FakeSession, leave: asyncio.Event, seated: asyncio.Event) -> None:
    with live.place(), live.listed(session):
        seated.set()
        await leave.wait()


async def test_sessions_hear_when_they_must_end_and_the_drain_waits_for_them() -> None:
    live, leave, seated = LiveSessions(1), asyncio.Event(), asyncio.Event()
    session = FakeSession()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(sit(live, session, leave, seated))
        await seated.wait()
        draining = tasks.create_task(live.drain(600, asyncio.Event(), now=NOW))
        await session.heard.wait()
        assert session.told == [NOW + 600 - CLOSING_SECONDS]
        assert not draining.done()
        leave.set()
    assert session.told == [NOW + 600 - CLOSING_SECONDS]


async def test_whoever_is_left_before_the_end_is_ended() -> None:
    live, leave, seated = LiveSessions(1), asyncio.Event(), asyncio.Event()
    session = FakeSession(leave)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(sit(live, session, leave, seated))
        await seated.wait()
        await live.drain(CLOSING_SECONDS, asyncio.Event(), now=NOW)
    assert session.told == [NOW, "drain"]


async def test_haste_cuts_the_waiting_short() -> None:
    live, leave, seated, hurry = LiveSessions(1), asyncio.Event(), asyncio.Event(), asyncio.Event()
    session = FakeSession(leave)
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(sit(live, session, leave, seated))
        await seated.wait()
        draining = tasks.create_task(live.drain(600, hurry, now=NOW))
        await session.heard.wait()
        hurry.set()
        await draining
    assert session.told == [NOW + 600 - CLOSING_SECONDS, "drain"]


async def test_the_drain_does_not_wait_for_ever_for_a_session_that_does_not_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.live_sessions.CLOSING_SECONDS", 0.51)
    live, leave, seated = LiveSessions(1), asyncio.Event(), asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        tasks.create_task(sit(live, FakeSession(), leave, seated))
        await seated.wait()
        await live.drain(0, asyncio.Event(), now=NOW)
        assert not leave.is_set()
        leave.set()


async def test_the_drain_leaves_no_task_behind() -> None:
    before = asyncio.all_tasks()
    await LiveSessions(1).drain(0, asyncio.Event(), now=NOW)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_only_so_many_refused_clients_are_told_by_a_websocket_at_once() -> None:
    live = LiveSessions(1)
    with contextlib.ExitStack() as goodbyes:
        told = [goodbyes.enter_context(live.goodbye()) for _ in range(MAX_GOODBYES + 1)]
    assert told == [True] * MAX_GOODBYES + [False]
    with live.goodbye() as may_tell:
        assert may_tell
