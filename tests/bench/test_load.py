"""The load generator notices whatever would make a figure worthless."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from picows import (
    WSCloseCode,
    WSFrame,
    WSMsgType,
    WSTransport,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from bench import load
from bench.load import WentWrong
from bench.orders import Flow, Place, SetUp
from bench.upstream import Model

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the benchmark needs Linux")

Answer = Callable[[Model, WSTransport, WSFrame, int], bool]
"""What a model does with its so manieth frame instead of answering it; False if nothing."""


@asynccontextmanager
async def model(instead: Answer) -> AsyncIterator[Place]:
    class Odd(Model):
        frames = 0

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            self.frames += 1
            if not instead(self, transport, frame, self.frames):
                super().on_ws_frame(transport, frame)

    server = await ws_create_server(lambda _: Odd(), "127.0.0.1", 0, use_aiofastnet=False)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Place(url=f"ws://127.0.0.1:{port}/", pid=os.getpid())
    finally:
        server.close()


def usual(_model: Model, _transport: WSTransport, _frame: WSFrame, _number: int) -> bool:
    return False


def some_are_lost(_model: Model, _transport: WSTransport, frame: WSFrame, number: int) -> bool:
    return frame.msg_type is WSMsgType.TEXT and number % 5 == 0


def it_hangs_up(_model: Model, transport: WSTransport, _frame: WSFrame, number: int) -> bool:
    if number == 3:
        transport.send_close(WSCloseCode.GOING_AWAY, b"enough")
    return number >= 3


def it_complains(_model: Model, transport: WSTransport, _frame: WSFrame, number: int) -> bool:
    if number == 3:
        transport.send(WSMsgType.TEXT, b'{"type":"error","error":{"message":"too fast"}}')
    return number == 3


def it_vanishes(_model: Model, transport: WSTransport, _frame: WSFrame, number: int) -> bool:
    if number == 3:
        transport.disconnect(graceful=False)
    return number >= 3


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "DRAIN_SECONDS", 0.3)
    monkeypatch.setattr(load, "CLOSE_SECONDS", 0.3)


def flow(place: Place, *, in_flight: int = 0, appends_per_second: float = 0) -> Flow:
    return Flow(
        place=place,
        sessions=3,
        frame_ms=20,
        in_flight=in_flight,
        appends_per_second=appends_per_second,
        warm_up_seconds=0.05,
        seconds=0.3,
    )


async def test_in_time_it_sends_what_was_asked_for_and_no_more() -> None:
    async with model(usual) as place:
        answer = await load.flow(flow(place, appends_per_second=300))
    assert answer.lost == 0
    assert answer.offered is not None
    # A busy machine may answer late, and some of what came before within the measured time.
    assert abs(answer.messages - answer.offered) <= 2 * (2 + 300 * answer.late_ms / 1000) + 60
    assert answer.trip_p99_ms >= answer.trip_p50_ms > 0
    assert answer.cpu_ns["contender"] > 0


async def test_at_saturation_no_more_are_in_flight_than_were_asked_for() -> None:
    most: dict[Model, int] = {}

    def hold_back(it: Model, _transport: WSTransport, frame: WSFrame, number: int) -> bool:
        if frame.msg_type is WSMsgType.TEXT:
            most[it] = number
        return True

    async with model(hold_back) as place:
        answer = await load.flow(flow(place, in_flight=4))
    assert list(most.values()) == [4, 4, 4]
    assert (answer.lost, answer.messages) == (12, 0)
    async with model(usual) as place:
        answer = await load.flow(flow(place, in_flight=4))
    assert answer.lost == 0
    assert answer.messages > 24


async def test_answers_that_never_come_are_counted() -> None:
    async with model(some_are_lost) as place:
        answer = await load.flow(flow(place, appends_per_second=300))
    assert answer.lost > 0


@pytest.mark.parametrize(
    ("instead", "says"),
    [(it_hangs_up, "closed: 1001 enough"), (it_complains, "not asked for: .*too fast"), (it_vanishes, "ended")],
)
async def test_a_session_that_fails_fails_the_measurement(instead: Answer, says: str) -> None:
    async with model(instead) as place:
        with pytest.raises(WentWrong, match=says):
            await load.flow(flow(place, appends_per_second=300))


async def test_sessions_that_cannot_be_opened_fail_the_measurement() -> None:
    with pytest.raises(WentWrong, match="cannot connect"):
        await load.flow(flow(Place(url="ws://127.0.0.1:1/"), in_flight=1))


async def test_why_a_session_was_refused_is_told() -> None:
    refusal = WSUpgradeResponse.create_error_response(503, b"come later")
    server = await ws_create_server(
        lambda _: WSUpgradeResponseWithListener(refusal, None), "127.0.0.1", 0, use_aiofastnet=False
    )
    try:
        with pytest.raises(WentWrong, match=r"503.* come later"):
            await load.flow(flow(Place(url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"), in_flight=1))
    finally:
        server.close()


async def test_a_set_up_counts_its_losses_too() -> None:
    async with model(some_are_lost) as place:
        order = SetUp(place=place, sessions=3, warm_up_sessions=1, active_seconds=0.2)
        assert (await load.set_up(order)).lost > 0
