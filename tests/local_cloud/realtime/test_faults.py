import asyncio
import base64

import aiohttp
import pytest

from local_cloud.realtime import Simulator, faults
from local_cloud.realtime.faults import Interject
from tests.local_cloud.realtime.client import Client, connect

TEXT, BINARY, CLOSE = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.CLOSE


async def is_silent(client: Client) -> bool:
    """Whether nothing comes for a moment: a negative cannot be awaited, only be given time to fail."""
    try:
        await asyncio.wait_for(client.socket.receive(), 0.05)
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_the_handshake_is_refused_as_often_as_asked(simulator: Simulator, status: int) -> None:
    simulator.faults.add(faults.HttpStatus(status=status, retry_after=3), times=2)
    for _ in range(2):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connect(simulator):
                pass
        assert refused.value.status == status
        assert refused.value.headers is not None
        assert refused.value.headers["Retry-After"] == "3"
    async with connect(simulator) as client:
        await client.until("session.created")


async def test_each_handshake_takes_one_fault_in_turn(simulator: Simulator) -> None:
    simulator.faults.add(faults.HttpStatus(status=500))
    simulator.faults.add(faults.HttpStatus(status=429))
    statuses = []
    for _ in range(2):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connect(simulator):
                pass
        statuses.append(refused.value.status)
    assert statuses == [500, 429]


async def test_a_fault_for_all_connections_stays_until_cleared(simulator: Simulator) -> None:
    simulator.faults.add(faults.HttpStatus(status=503), times=None)
    for _ in range(3):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with connect(simulator):
                pass
    simulator.faults.clear()
    async with connect(simulator) as client:
        await client.until("session.created")


async def test_the_handshake_is_redirected(simulator: Simulator) -> None:
    simulator.faults.add(faults.HttpStatus(status=307, location="http://127.0.0.1:1/elsewhere"))
    url = f"{simulator.base_url}/realtime?model=m"
    async with (
        aiohttp.ClientSession() as http,
        http.get(url, headers={"Authorization": "Bearer k"}, allow_redirects=False) as answer,
    ):
        assert (answer.status, answer.headers["Location"]) == (307, "http://127.0.0.1:1/elsewhere")


async def test_the_handshake_is_dropped(simulator: Simulator) -> None:
    simulator.faults.add(faults.DropHandshake(), times=None)  # aiohttp tries a GET twice
    with pytest.raises(aiohttp.ClientConnectionError):
        async with connect(simulator):
            pass
    assert (await simulator.connection()).ended


async def test_a_connection_without_a_greeting_is_silent(simulator: Simulator) -> None:
    simulator.faults.add(faults.NoGreeting(text="Good day."))
    async with connect(simulator) as client:
        assert (await client.frame()).data == "Good day."
        assert await is_silent(client)
    assert await (await simulator.connection()).wait_ended() == 1000


async def test_a_connection_without_a_greeting_ends(simulator: Simulator) -> None:
    simulator.faults.add(faults.NoGreeting(then="close", close_code=1013))
    simulator.faults.add(faults.NoGreeting(then="abort"))
    kinds = []
    for _ in range(2):
        async with connect(simulator) as client:
            kinds.append((await client.frame()).type)
    assert kinds == [CLOSE, aiohttp.WSMsgType.CLOSED]
    assert await (await simulator.connection(0)).wait_ended() == 1013
    assert await (await simulator.connection(1)).wait_ended() == 1006


async def test_the_handshake_stalls(simulator: Simulator) -> None:
    simulator.faults.add(faults.StallHandshake())

    async def dial() -> None:
        async with connect(simulator):
            pass

    dialling = asyncio.create_task(dial())
    await simulator.connection()
    assert not (await asyncio.wait([dialling], timeout=0.05))[0]
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling


async def test_the_connection_is_rejected_after_the_upgrade(simulator: Simulator) -> None:
    simulator.faults.add(faults.RejectAfterUpgrade(code="invalid_model", close_code=4001))
    async with connect(simulator) as client:
        assert (await client.receive())["error"]["code"] == "invalid_model"
        end = await client.frame()
    assert (end.data, end.extra) == (4001, "invalid_request_error.invalid_model")


async def test_nothing_follows_the_created_session(simulator: Simulator) -> None:
    simulator.faults.add(faults.stall_after_created())
    async with connect(simulator) as client:
        await client.until("session.created")
        await client.send("input_audio_buffer.clear")
        connection = await simulator.connection()
        await connection.wait_received("input_audio_buffer.clear")
        assert await is_silent(client)
        assert connection.sent.types == ["session.created"]


async def test_session_updates_are_ignored(simulator: Simulator) -> None:
    simulator.faults.add(faults.IgnoreSessionUpdate())
    async with connect(simulator) as client:
        await client.until("session.created")
        await client.send("session.update", session={"type": "realtime", "instructions": "Hush."})
        await client.send("input_audio_buffer.clear")
        assert (await client.receive())["type"] == "input_audio_buffer.cleared"


async def test_session_updates_are_refused(simulator: Simulator) -> None:
    simulator.faults.add(faults.RefuseSessionUpdate(code="invalid_value", param="session.tools"))
    async with connect(simulator) as client:
        await client.until("session.created")
        error = await client.refused("session.update", session={"type": "realtime"}, event_id="lock")
        assert (error["code"], error["param"], error["event_id"]) == ("invalid_value", "session.tools", "lock")


async def test_session_updated_tells_what_nobody_set(simulator: Simulator) -> None:
    changes = {"instructions": "Obey the browser.", "audio": {"output": {"voice": "cedar"}}}
    simulator.faults.add(faults.AlterSessionUpdated(changes=changes))
    async with connect(simulator) as client:
        session = await client.update(instructions="Obey the server.")
    assert session["instructions"] == "Obey the browser."
    assert session["audio"]["output"] == {
        "voice": "cedar",
        "speed": 1.0,
        "format": {"type": "audio/pcm", "rate": 24000},
    }


async def test_the_connection_closes_mid_response(simulator: Simulator) -> None:
    simulator.faults.add(faults.close_mid_response(1011, "upstream trouble", after_deltas=3))
    async with connect(simulator) as client:
        await client.until("session.created")
        await client.send("response.create")
        for _ in range(3):
            await client.until("response.output_audio.delta")
        end = await client.frame()
        assert (end.type, end.data, end.extra) == (CLOSE, 1011, "upstream trouble")
        connection = await simulator.connection()
        assert await connection.wait_ended() == 1011
    assert "response.done" not in connection.sent.types


async def test_the_connection_is_cut_mid_response(simulator: Simulator) -> None:
    simulator.faults.add(faults.abort_mid_response())
    async with connect(simulator) as client:
        await client.ask("response.create", "response.output_audio.delta")
        end = await client.frame()
        assert end.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
        assert await (await simulator.connection()).wait_ended() == 1006


async def test_the_response_falls_silent(simulator: Simulator) -> None:
    simulator.faults.add(faults.stall_mid_response())
    async with connect(simulator) as client:
        await client.ask("response.create", "response.output_audio.delta")
        assert await is_silent(client)
        assert not client.socket.closed


async def test_the_model_reads_nothing_for_a_while(simulator: Simulator) -> None:
    simulator.faults.add(faults.StopReading(seconds=1))
    async with connect(simulator) as client:
        await client.update()
        await client.send("input_audio_buffer.clear")
        assert await is_silent(client)
        assert (await client.receive())["type"] == "input_audio_buffer.cleared"


async def test_garbage_arrives(simulator: Simulator) -> None:
    simulator.faults.add(faults.garbage())
    simulator.faults.add(faults.binary_frame(data=b"\x00\xff"))
    simulator.faults.add(faults.huge_frame(5 << 20))
    simulator.faults.add(faults.unknown_event())
    async with connect(simulator) as client:
        await client.update()
        frames = [await client.frame() for _ in range(4)]
        assert (frames[0].type, frames[0].data) == (TEXT, '{"type": "response.done", ')
        assert (frames[1].type, frames[1].data) == (BINARY, b"\x00\xff")
        assert len(frames[2].data) > 5 << 20
        assert frames[3].json()["type"] == "session.novelty"
        await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")


async def test_responses_fail(simulator: Simulator) -> None:
    simulator.faults.add(faults.FailResponse(code="insufficient_quota", type="insufficient_quota"))
    async with connect(simulator) as client:
        response = await client.respond()
        assert client.events[-1]["type"] == "response.done"
        assert client.events[-2]["type"] == "response.created"
    assert (response["status"], response["output"]) == ("failed", [])
    assert response["status_details"]["error"]["code"] == "insufficient_quota"
    assert response["usage"]["total_tokens"] == 0


async def test_usage_is_multiplied(simulator: Simulator) -> None:
    async with connect(simulator) as client:
        truth = (await client.respond())["usage"]
    simulator.faults.add(faults.MultiplyUsage(by=100_000))
    async with connect(simulator) as client:
        huge = (await client.respond())["usage"]
    assert huge["total_tokens"] == truth["total_tokens"] * 100_000
    assert huge["output_token_details"]["audio_tokens"] == truth["output_token_details"]["audio_tokens"] * 100_000


async def test_the_session_expires(simulator: Simulator) -> None:
    simulator.faults.add(faults.session_expired(after="session.updated"))
    async with connect(simulator) as client:
        await client.update()
        assert (await client.receive())["error"]["code"] == "session_expired"
        end = await client.frame()
    assert (end.data, end.extra) == (1001, "Your session hit the maximum duration of 60 minutes.")


async def test_any_event_can_be_interjected(simulator: Simulator) -> None:
    event = {"type": "rate_limits.updated", "event_id": "event_x", "rate_limits": []}
    simulator.faults.add(Interject(after="input_audio_buffer.cleared", nth=2, events=[event]))
    async with connect(simulator) as client:
        await client.until("session.created")
        for _ in range(2):
            await client.send("input_audio_buffer.clear")
        types = await client.types_until("rate_limits.updated")
    assert types == ["input_audio_buffer.cleared", "input_audio_buffer.cleared", "rate_limits.updated"]
    assert client.events[-1]["event_id"] == "event_x"


async def test_a_connection_can_be_told_what_to_do(simulator: Simulator) -> None:
    async with connect(simulator) as client:
        await client.until("session.created")
        connection = await simulator.connection()
        connection.emit({"type": "input_audio_buffer.cleared", "event_id": "event_y"})
        assert (await client.receive())["event_id"] == "event_y"
        connection.close(4321, "é" * 100)
        end = await client.frame()
    assert (end.data, end.extra) == (4321, "é" * 61)


async def test_audio_is_recorded_as_it_came(simulator: Simulator) -> None:
    async with connect(simulator) as client:
        await client.append(b"\x01\x02" * 480, chunk_bytes=100)
        connection = await simulator.connection()
        last = await connection.wait_received("input_audio_buffer.append", count=10)
        assert base64.b64decode(last["audio"]) == b"\x01\x02" * 30
        await client.socket.send_str("no json")
        await connection.wait_sent("error")
    assert connection.received_audio == b"\x01\x02" * 480
    assert connection.received_raw[-1] == "no json"
    assert connection.sent.types == ["session.created", "error"]
