import json
from pathlib import Path

import aiohttp
import pytest

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.realtime import Behaviour, Simulator
from tests.local_cloud.realtime.client import KEY, MODEL, connect

KEYED = Behaviour(api_key="sk-right", pace=None)
RIGHT = {"Authorization": "Bearer sk-right"}


@pytest.mark.parametrize(
    ("headers", "protocols"),
    [
        (RIGHT, ()),
        ({"api-key": "sk-right"}, ()),
        ({}, ("realtime", "openai-insecure-api-key.sk-right")),
    ],
)
@pytest.mark.parametrize("path", ["/v1/realtime", "/openai/v1/realtime"])
async def test_a_key_opens_a_session_in_every_way_it_may_come(
    path: str, headers: dict[str, str], protocols: tuple[str, ...]
) -> None:
    async with (
        Simulator(KEYED) as simulator,
        connect(simulator, path=path, headers=headers, protocols=protocols) as client,
    ):
        session = (await client.until("session.created"))["session"]
        assert client.socket.protocol == ("realtime" if protocols else None)
        connection = await simulator.connection()
    assert (session["model"], session["object"]) == (MODEL, "realtime.session")
    assert connection.path == path
    assert connection.protocols == list(protocols)
    assert connection.query == {"model": MODEL}


@pytest.mark.parametrize(
    ("headers", "query", "code", "close_code"),
    [
        ({"Authorization": "Bearer sk-wrong"}, f"model={MODEL}", "invalid_api_key", 3000),
        ({}, f"model={MODEL}", None, 3000),
        ({**RIGHT, "OpenAI-Beta": "realtime=v1"}, f"model={MODEL}", "beta_api_shape_disabled", 4000),
        (RIGHT, "", "missing_model", 4000),
    ],
)
async def test_openai_says_no_after_the_upgrade(
    headers: dict[str, str], query: str, code: str | None, close_code: int
) -> None:
    async with Simulator(KEYED) as simulator, connect(simulator, query, headers=headers) as client:
        error = (await client.receive())["error"]
        assert (error["type"], error["code"]) == ("invalid_request_error", code)
        end = await client.frame()
        assert (end.type, end.data) == (aiohttp.WSMsgType.CLOSE, close_code)
        assert end.extra == f"invalid_request_error.{code}"
        assert await (await simulator.connection()).wait_ended() == close_code


async def test_the_beta_subprotocol_is_refused(simulator: Simulator) -> None:
    protocols = ("realtime", "openai-insecure-api-key.k", "openai-beta.realtime-v1")
    async with connect(simulator, headers={}, protocols=protocols) as client:
        assert (await client.receive())["error"]["code"] == "beta_api_shape_disabled"


async def test_azure_says_no_by_http() -> None:
    async with Simulator(KEYED) as simulator:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with connect(simulator, path="/openai/v1/realtime", headers=KEY):
                pass
        assert refused.value.status == 401
        assert (await simulator.connection()).ended


async def test_an_unknown_call_is_not_found(simulator: Simulator) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connect(simulator, "call_id=rtc_1"):
            pass
    assert refused.value.status == 404


async def test_models_are_listed_for_the_key_only() -> None:
    async with Simulator(KEYED) as simulator, aiohttp.ClientSession() as http:
        url = f"{simulator.base_url}/models"
        async with http.get(url) as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] is None
        async with http.get(f"{url}/{MODEL}", headers=RIGHT) as response:
            assert (await response.json())["id"] == MODEL
        async with http.get(f"{url}/gpt-none", headers=RIGHT) as response:
            assert response.status == 404
        async with http.get(url, headers=RIGHT) as response:
            listed = [model["id"] for model in (await response.json())["data"]]
    assert MODEL in listed


async def test_a_message_of_15_mib_of_audio_is_taken(simulator: Simulator) -> None:
    async with connect(simulator) as client:
        await client.update(audio={"input": {"turn_detection": None}})
        await client.append(bytes(15 << 20), chunk_bytes=15 << 20)
        await client.ask("input_audio_buffer.commit", "input_audio_buffer.committed")
        connection = await simulator.connection()
    # Too much to be remembered, yet counted.
    assert (connection.received.counts["input_audio_buffer.append"], len(connection.received_audio)) == (1, 0)
    assert connection.received.types == ["session.update", "input_audio_buffer.commit"]


async def test_a_session_ends_at_its_maximum_age() -> None:
    behaviour = Behaviour(session_seconds=0.05)
    async with Simulator(behaviour) as simulator, connect(simulator) as client:
        await client.until("session.created")
        assert (await client.receive())["error"]["code"] == "session_expired"
        end = await client.frame()
    assert end.data == 1001


async def test_frames_are_not_compressed(simulator: Simulator) -> None:
    url = f"{simulator.base_url}/realtime?model={MODEL}"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers=KEY, compress=15) as socket:
        assert socket.compress == 0
        assert json.loads((await socket.receive()).data)["type"] == "session.created"


async def test_it_serves_over_tls_too(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    async with Simulator(tls=authority.server_context()) as simulator, aiohttp.ClientSession() as http:
        assert simulator.base_url.startswith("https://")
        url = f"{simulator.base_url}/realtime?model={MODEL}"
        async with http.ws_connect(
            url, headers={"Authorization": "Bearer k"}, ssl=authority.client_context()
        ) as socket:
            assert (await socket.receive_json())["type"] == "session.created"
