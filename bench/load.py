"""The browsers' end of a measurement: ``python -m bench.load`` reads one order and writes its answer.

Frames are made beforehand, and what comes back is counted, timed and forgotten. It reads the CPU clocks of the others
itself, so that they are about exactly the time in which it counted.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import sys
import time
from array import array
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import msgspec
import uvloop
from picows import WSCloseCode, WSFrame, WSHandshakeError, WSListener, WSMsgType, WSTransport, ws_connect

from bench import frames, minting, process_tree
from bench.figures import percentile
from bench.orders import Answer, Flow, Flowed, MintTokens, Place, Sample, SetUp, WasSetUp
from bench.ticking import Ticker

LEAST_TICK_SECONDS: Final = 0.000_05
CONNECT_SECONDS: Final = 20.0
WARM_UP_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 10.0
SAMPLED_TRIPS: Final = 7
"""Of so many trips one is looked at while a flow goes on: to sort them all would keep appends waiting. A prime, so that
it is not always the same sessions' turn."""
_LEAST_DELTA_BYTES: Final = 1_200
"""No other event is as large once a session is open."""
_TEXT: Final = WSMsgType.TEXT
_now: Final = time.perf_counter


class WentWrong(Exception):
    """The measurement is worth nothing; the text says why."""


class Traffic:
    """What all sessions of a flow send, and what they count together.

    Attributes:
        received: deltas.
        trips: seconds from an append to its delta, while ``is_measuring``.
        goes_on: a delta is answered by the next append.
        problem: the first thing that went wrong.
    """

    def __init__(self, frame_ms: int) -> None:
        self.appends = itertools.cycle(frames.appends(frame_ms))
        self.received = 0
        self.trips = array("d")
        self.is_measuring = False
        self.goes_on = False
        self.is_closing = False
        self.problem: str | None = None

    def fail(self, problem: str) -> None:
        """Something went wrong that must not."""
        if self.problem is None and not self.is_closing:
            self.problem = problem

    def check(self) -> None:
        """Raises WentWrong."""
        if self.problem is not None:
            raise WentWrong(self.problem)


class Session(WSListener):
    """One browser.

    Attributes:
        unanswered: when each append was sent that has no delta yet.
        ready: completes when the session is there to be used.
        gone: completes when it is over.
    """

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self.unanswered: deque[float] = deque()
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()
        self.transport: WSTransport

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Connected; the greeting is still to come."""
        self.transport = transport

    def append(self) -> None:
        """Send one append."""
        traffic = self._traffic
        self.unanswered.append(_now())
        self.transport.send(_TEXT, next(traffic.appends))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count a delta, and send the next append if it goes on."""
        if frame.payload_size < _LEAST_DELTA_BYTES or not self.unanswered:
            self._take(frame)
            return
        traffic = self._traffic
        traffic.received += 1
        sent_at = self.unanswered.popleft()
        if traffic.is_measuring:
            traffic.trips.append(_now() - sent_at)
        if traffic.goes_on:
            self.append()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The connection is gone."""
        self._traffic.fail("a session ended")
        if not self.gone.done():
            self.gone.set_result(None)
        if not self.ready.done():
            self.ready.set_exception(WentWrong(self._traffic.problem or "a session ended before it began"))

    def _take(self, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            self._traffic.fail(f"a session was closed: {frame.get_close_code()} {frame.get_close_reason()}")
            self.transport.disconnect()
        elif frame.msg_type is _TEXT:
            event = msgspec.json.decode(frame.get_payload_as_bytes())
            if event["type"] == "session.created" and not self.ready.done():
                self.ready.set_result(None)
            elif event["type"] in ("error", "response.output_audio.delta"):
                self._traffic.fail(f"not asked for: {frame.get_payload_as_utf8_text()[:300]}")


class Crowd:
    """Opens the sessions of one measurement; those are closed where its ``async with`` ends."""

    def __init__(self, place: Place, frame_ms: int) -> None:
        self._place = place
        self._tokens: list[str] = []
        self.traffic = Traffic(frame_ms)
        self.sessions: list[Session] = []

    async def mint(self, count: int) -> None:
        """Have tokens ready for so many sessions, if they need any."""
        if self._place.mint is not None:
            self._tokens += await minting.mint(self._place.mint, count)

    async def open(self, count: int, at_once: int) -> None:
        """Open sessions; return when each has had its greeting. Raises WentWrong."""
        try:
            await minting.at_once(at_once, count, self._open)
        except WSHandshakeError as error:
            answer = (error.raw_body or b"").decode(errors="replace")
            raise WentWrong(f"cannot connect: {error} {answer}".strip()) from error
        except Exception as error:  # picows has several more ways to say no
            raise WentWrong(self.traffic.problem or f"cannot connect: {error!r}") from error

    async def _open(self, _number: int) -> None:
        headers = dict(self._place.headers)
        if self._place.mint is not None:
            headers["Authorization"] = f"Bearer {self._tokens.pop()}"
        session = Session(self.traffic)
        async with asyncio.timeout(CONNECT_SECONDS):
            await ws_connect(lambda: session, self._place.url, extra_headers=headers)
            await session.ready
        self.sessions.append(session)

    async def drain(self) -> int:
        """Wait for what is still unanswered; how much never was."""
        deadline = _now() + DRAIN_SECONDS
        while self.unanswered and _now() < deadline and self.traffic.problem is None:  # noqa: ASYNC110 - cheaper
            await asyncio.sleep(0.01)
        return self.unanswered

    @property
    def unanswered(self) -> int:
        """Appends without a delta yet."""
        return sum(len(session.unanswered) for session in self.sessions)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.traffic.is_closing = True
        for session in self.sessions:
            session.transport.send_close(WSCloseCode.OK)
        if self.sessions:
            await asyncio.wait([session.gone for session in self.sessions], timeout=CLOSE_SECONDS)
        for session in self.sessions:
            session.transport.disconnect(graceful=False)


class Metronome:
    """Sends appends evenly over time, to each session in turn; use as ``with``.

    Attributes:
        late_seconds: the most that an append was late.
    """

    def __init__(self, sessions: Sequence[Session], per_second: float) -> None:
        self._sessions = itertools.cycle(sessions)
        self._per_second = per_second
        self._began = _now()
        self._sent = 0
        self.late_seconds = 0.0

    def __enter__(self) -> Self:
        self._ticker = Ticker(max(1 / self._per_second, LEAST_TICK_SECONDS), self._tick)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ticker.stop()

    def _tick(self) -> None:
        due = int((_now() - self._began) * self._per_second) - self._sent
        self._sent += due
        self.late_seconds = max(self.late_seconds, (due - 1) / self._per_second)
        for session in itertools.islice(self._sessions, due):
            session.append()


async def flow(order: Flow) -> Flowed:
    """Let audio flow. Raises WentWrong."""
    async with Crowd(order.place, order.frame_ms) as crowd, AsyncExitStack() as sending:
        await crowd.mint(order.sessions)
        await crowd.open(order.sessions, at_once=16)
        traffic, metronome = crowd.traffic, None
        if order.in_flight:
            traffic.goes_on = True
            for session in crowd.sessions:
                for _ in range(order.in_flight):
                    session.append()
        else:
            metronome = sending.enter_context(Metronome(crowd.sessions, order.appends_per_second))
        await asyncio.sleep(order.warm_up_seconds)
        if metronome is not None:
            metronome.late_seconds = 0.0
        watched = _watched(order.place, order.watched)
        traffic.is_measuring = True
        before, began, received = _cpu(watched), _now(), traffic.received
        if order.sample_every_seconds:
            trips = await _sampled(order, traffic, watched["contender"])
        else:
            await asyncio.sleep(order.seconds)
            trips = traffic.trips
        after, seconds, received = _cpu(watched), _now() - began, traffic.received - received
        traffic.is_measuring = traffic.goes_on = False
        resident = _resident(watched)
        await sending.aclose()
        lost = await crowd.drain()
        traffic.check()
    return Flowed(
        messages=2 * received,
        seconds=seconds,
        offered=2 * seconds * order.appends_per_second if metronome else None,
        cpu_ns={name: after[name] - before[name] for name in watched},
        trip_p50_ms=percentile(trips, 50) * 1000,
        trip_p99_ms=percentile(trips, 99) * 1000,
        lost=lost,
        late_ms=metronome.late_seconds * 1000 if metronome else 0.0,
        resident_bytes=resident,
    )


async def _sampled(order: Flow, traffic: Traffic, pid: int) -> array[float]:
    """Sleep, and tell every now and then how it goes; all trips. Raises WentWrong."""
    began, every = _now(), array("d")
    cpu, received = process_tree.cpu_ns(pid), traffic.received
    for number in range(1, math.ceil(order.seconds / order.sample_every_seconds) + 1):
        # By number, not until the time is over: the event loop may wake up a fraction of a millisecond early.
        await asyncio.sleep(began + min(number * order.sample_every_seconds, order.seconds) - _now())
        traffic.check()
        trips, traffic.trips = traffic.trips, array("d")
        some = trips[::SAMPLED_TRIPS]
        cpu_now, received_now = process_tree.cpu_ns(pid), traffic.received
        _say(
            Sample(
                at_seconds=_now() - began,
                messages=2 * (received_now - received),
                trip_p50_ms=percentile(some, 50) * 1000,
                trip_p99_ms=percentile(some, 99) * 1000,
                resident_bytes=process_tree.resident_bytes(pid),
                cpu_ns=cpu_now - cpu,
            )
        )
        cpu, received = cpu_now, received_now
        every.extend(trips)
    return every


async def set_up(order: SetUp) -> WasSetUp:
    """Open sessions. Raises WentWrong."""
    async with Crowd(order.place, frame_ms=20) as warm_up:
        await warm_up.mint(order.warm_up_sessions)
        await warm_up.open(order.warm_up_sessions, order.at_once)
        await _real_time(warm_up, WARM_UP_SECONDS)
        await warm_up.drain()
    async with Crowd(order.place, frame_ms=20) as crowd:
        await crowd.mint(order.sessions)
        watched = _watched(order.place, order.watched)
        base, before, began = _resident(watched), _cpu(watched), _now()
        await crowd.open(order.sessions, order.at_once)
        seconds, after, idle = _now() - began, _cpu(watched), _resident(watched)
        await _real_time(crowd, order.active_seconds)
        lost = await crowd.drain()
        active = _resident(watched)
        crowd.traffic.check()
    return WasSetUp(
        sessions=order.sessions,
        seconds=seconds,
        cpu_ns={name: after[name] - before[name] for name in watched},
        base_bytes=base,
        idle_bytes=idle,
        active_bytes=active,
        lost=lost,
    )


async def _real_time(crowd: Crowd, seconds: float) -> None:
    with Metronome(crowd.sessions, len(crowd.sessions) * 50):
        await asyncio.sleep(seconds)


def _watched(place: Place, others: dict[str, int]) -> dict[str, int]:
    own = {"load": os.getpid(), **others}
    return own if place.pid is None else {"contender": place.pid, **own}


def _cpu(watched: dict[str, int]) -> dict[str, int]:
    return {name: process_tree.cpu_ns(pid) for name, pid in watched.items()}


def _resident(watched: dict[str, int]) -> int:
    return process_tree.resident_bytes(watched["contender"]) if "contender" in watched else 0


def _say(answer: Answer) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
    sys.stdout.buffer.flush()


async def _obey(order: Flow | SetUp | MintTokens) -> Answer:
    match order:
        case Flow():
            return await flow(order)
        case SetUp():
            return await set_up(order)
        case MintTokens():
            return await minting.measure(order)


def main() -> None:
    """Do what standard input asks for."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Flow | SetUp | MintTokens)
    try:
        _say(uvloop.run(_obey(order)))
    except WentWrong as problem:
        sys.exit(f"{problem}")


if __name__ == "__main__":
    main()
