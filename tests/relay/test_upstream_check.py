"""The look at every upstream at the relay's start, against the simulator's REST routes and a server that is none."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from structlog.typing import EventDict

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.ports import free_port
from local_cloud.realtime import Behaviour, Simulator
from relay import upstream_check
from relay.upstream_check import check_upstreams
from relay.upstream_credentials import Headers, KeyCredential, NoCredential
from service_kit.tls import client_context
from service_kit.upstreams import UpstreamSettings

MODEL, OTHER = "gpt-realtime-2.1", "gpt-realtime-of-another-house"
KEY = "sk-canary-of-the-check"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    simulator = Simulator(Behaviour(api_key=KEY))
    await simulator.start()
    yield simulator
    await simulator.stop()


async def check(upstream: UpstreamSettings, key: str, *models: str) -> list[EventDict]:
    with structlog.testing.capture_logs() as lines:
        await check_upstreams([(upstream, key_of(upstream, key))], models, client_context(None))
    assert key not in str(lines)
    return lines


def key_of(upstream: UpstreamSettings, key: str) -> KeyCredential:
    async def reread() -> None:
        pytest.fail("the check does not insist")

    return KeyCredential(upstream.kind, lambda: key, reread)


def openai_at(base_url: str) -> UpstreamSettings:
    return UpstreamSettings(name="main", kind="openai", base_url=base_url, auth="secret:openai-api-key")


def azure(origin: str) -> UpstreamSettings:
    base_url = f"{origin}/openai/v1"
    return UpstreamSettings(
        name="main", kind="azure", base_url=base_url, auth="secret:azure-openai-api-key", models={MODEL: "voice-1"}
    )


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_all_is_well(simulator: Simulator, scheme: str) -> None:
    (line,) = await check(openai_at(simulator.base_url.replace("http", scheme)), KEY, MODEL)
    assert (line["event"], line["upstream"], line["log_level"]) == ("upstream.checked", "main", "info")


async def test_a_model_it_does_not_have_is_named(simulator: Simulator) -> None:
    first, second = await check(openai_at(simulator.base_url), KEY, MODEL, OTHER)
    assert (first["event"], first["model"], first["log_level"]) == ("upstream.failed", OTHER, "error")
    assert second["event"] == "upstream.checked"


async def test_a_wrong_key_raises_the_alert(simulator: Simulator) -> None:
    for upstream in (openai_at(simulator.base_url), azure(simulator.origin)):
        (line,) = await check(upstream, "sk-wrong", MODEL)
        assert (line["event"], line["error"], line["log_level"]) == ("upstream.auth_failed", "HTTP 401", "error")


async def test_azure_is_asked_with_its_own_header_and_not_for_deployments(simulator: Simulator) -> None:
    (line,) = await check(azure(simulator.origin), KEY, MODEL)
    assert line["event"] == "upstream.checked"


async def test_nobody_there_is_a_warning() -> None:
    (line,) = await check(openai_at(f"http://127.0.0.1:{free_port()}/v1"), KEY, MODEL)
    assert (line["event"], line["error"], line["log_level"]) == ("upstream.failed", "APIConnectionError", "warning")


async def test_one_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_check, "CHECK_SECONDS", 0.1)
    let_go = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await let_go.wait()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    (line,) = await check(openai_at(f"http://127.0.0.1:{port}/v1"), KEY, MODEL)
    assert (line["event"], line["error"]) == ("upstream.failed", "APITimeoutError")
    let_go.set()
    silent.close()
    await silent.wait_closed()


@pytest.mark.parametrize("status", ["302 Found\r\nLocation: http://127.0.0.1:1/", "500 Oops", "429 Slow down"])
async def test_what_it_answers_is_not_followed_and_not_quoted(status: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret".encode())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (line,) = await check(openai_at(f"http://127.0.0.1:{port}/v1"), KEY, MODEL)
    assert (line["event"], line["error"]) == ("upstream.failed", f"HTTP {status[:3]}")
    server.close()


async def test_the_extra_authority_is_trusted(tmp_path: Path) -> None:
    authority = ThrowAwayAuthority(tmp_path)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=authority.server_context()).start()
    upstream = openai_at(f"https://127.0.0.1:{runner.addresses[0][1]}/v1")
    said = []
    for extra_ca_file in (authority.ca_file, None):
        with structlog.testing.capture_logs() as lines:
            checked = [(upstream, key_of(upstream, KEY))]
            await check_upstreams(checked, [MODEL], client_context(extra_ca_file))
        said += [line["error"] for line in lines if "error" in line]
    await runner.cleanup()
    assert said == ["it does not have this model, or does not let us use it", "APIConnectionError"]


async def test_an_identity_s_token_is_shown_and_one_that_is_missing_told(simulator: Simulator) -> None:
    class Identity:
        """A credential that has a token, or none."""

        def __init__(self, token: str | None) -> None:
            self._token = token

        async def headers(self) -> Headers:
            if self._token is None:
                raise NoCredential
            return {"Authorization": f"Bearer {self._token}"}

        async def renewed(self, refused: Headers) -> bool:
            raise AssertionError("the check does not insist")

    upstream = azure(simulator.origin)
    for token, event in ((KEY, "upstream.checked"), ("other", "upstream.auth_failed"), (None, "upstream.auth_failed")):
        with structlog.testing.capture_logs() as lines:
            await check_upstreams([(upstream, Identity(token))], [MODEL], client_context(None))
        assert [line["event"] for line in lines] == [event]
