import asyncio
import base64
import io
import os
import re
import signal
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import suppress

import aiohttp
import pytest

from local_cloud.realtime import Behaviour, Simulator
from tests.local_cloud.realtime.client import KEY, MODEL, Client, connect


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"{simulator.origin}/_simulator/") as http:
        yield http


async def test_connections_are_shown(client: Client, simulator: Simulator, http: aiohttp.ClientSession) -> None:
    audio = bytes(range(96))
    await client.append(audio)
    await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
    async with http.get("connections") as response:
        (summary,) = await response.json()
    assert (summary["number"], summary["query"], summary["ended"]) == (0, {"model": MODEL}, False)
    async with http.get("connections/last") as response:
        shown = await response.json()
    assert [event["type"] for event in shown["received"]] == ["input_audio_buffer.append", "input_audio_buffer.clear"]
    assert [event["type"] for event in shown["sent"]] == ["session.created", "input_audio_buffer.cleared"]
    assert base64.b64decode(shown["received_audio"]) == audio
    async with http.get("connections/0/audio.wav") as response:
        with wave.open(io.BytesIO(await response.read())) as wav:
            assert (wav.getframerate(), wav.readframes(1000)) == (24_000, audio)
    async with http.get("connections/7") as response:
        assert response.status == 404


async def test_a_connection_is_told_what_to_do(client: Client, http: aiohttp.ClientSession) -> None:
    event = {"type": "input_audio_buffer.cleared", "event_id": "event_z"}
    async with http.post("connections/last/emit", json=event) as response:
        assert response.status == 204
    assert await client.receive() == event
    async with http.post("connections/last/close", json={"code": 4002, "reason": "enough"}) as response:
        assert response.status == 204
    assert (await client.frame()).data == 4002


async def test_a_connection_is_cut(client: Client, http: aiohttp.ClientSession) -> None:
    async with http.post("connections/last/abort") as response:
        assert response.status == 204
    assert (await client.frame()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_faults_and_answers_are_planned(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    fault = {"kind": "interject", "after": "session.created", "binary": "AAH/"}
    for planned, times in (({"kind": "http_status", "status": 429}, 1), (fault, None)):
        async with http.post("faults", json={"fault": planned, "times": times}) as response:
            assert response.status == 204
    answer = [{"type": "say", "text": "one"}, {"type": "call_function", "name": "f", "arguments": "{}"}]
    async with http.post("answers", json=answer) as response:
        assert response.status == 204
    with pytest.raises(aiohttp.WSServerHandshakeError):
        async with connect(simulator):
            pass
    async with connect(simulator) as client:
        await client.until("session.created")
        assert (await client.frame()).data == b"\x00\x01\xff"
        assert [item["type"] for item in (await client.respond())["output"]] == ["message", "function_call"]
    async with http.delete("faults") as response:
        assert response.status == 204
    async with connect(simulator) as client:
        await client.until("session.created")
        assert (await client.refused("response.cancel"))["code"] == "response_cancel_not_active"


@pytest.mark.parametrize("body", ["", '{"fault": {"kind": "flood"}}', '{"fault": {"kind": "http_status", "stat": 1}}'])
async def test_a_fault_that_does_not_exist_is_not_planned(http: aiohttp.ClientSession, body: str) -> None:
    async with http.post("faults", data=body) as response:
        assert response.status == 400


async def test_nothing_is_remembered_without_recording() -> None:
    behaviour = Behaviour(record=False)
    async with Simulator(behaviour) as simulator, connect(simulator) as client:
        await client.append(bytes(960))
        await client.ask("input_audio_buffer.clear", "input_audio_buffer.cleared")
        connection = await simulator.connection()
        assert (connection.received.events, connection.received_raw, connection.sent.events) == ([], [], [])
        assert not connection.received_audio
        with pytest.raises(RuntimeError):
            await connection.wait_received("input_audio_buffer.append")


async def test_old_connections_are_forgotten() -> None:
    async with Simulator(keep_connections=1) as simulator:
        for _ in range(2):
            async with connect(simulator) as client:
                await client.until("session.created")
        assert [connection.number for connection in simulator.connections] == [1]
        with pytest.raises(LookupError):
            await simulator.connection(0)


async def test_echo_answers_every_append_with_the_same_audio() -> None:
    behaviour = Behaviour(echo=True)
    async with Simulator(behaviour) as simulator, connect(simulator) as client:
        await client.update(instructions="Echo.")
        await client.append(bytes(range(256)) * 4, chunk_bytes=512)
        for _ in range(2):
            await client.until("response.output_audio.delta")
    assert client.audio() == bytes(range(256)) * 4


async def test_it_runs_as_a_process_until_it_is_told_to_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local_cloud.realtime", "--port", "0", "--api-key", "sk-local", "--pace", "0",
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        assert process.stdout
        line = (await asyncio.wait_for(process.stdout.readline(), 10)).decode()
        found = re.fullmatch(r"realtime simulator on (http://127\.0\.0\.1:\d+/v1)\n", line)
        assert found, line
        url = f"{found[1]}/realtime?model={MODEL}"
        async with aiohttp.ClientSession() as http, http.ws_connect(url, headers={"api-key": "sk-local"}) as socket:
            assert (await socket.receive_json())["type"] == "session.created"
            process.send_signal(signal.SIGTERM)
            end = await asyncio.wait_for(socket.receive(), 5)
            assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        assert await process.stdout.read() == b""
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_client_that_vanishes_is_noticed(simulator: Simulator) -> None:
    url = f"{simulator.base_url}/realtime?model={MODEL}"
    async with aiohttp.ClientSession() as http:
        socket = await http.ws_connect(url, headers=KEY)
        await socket.receive()  # leaving the block drops the connection without a closing handshake
    assert await (await simulator.connection()).wait_ended() == 1006
