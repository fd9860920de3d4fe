"""Services that end TLS themselves: sessions are held over it, a new certificate needs no restart."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from openai import AsyncOpenAI

from local_cloud.realtime import Simulator
from service_kit.certificate import LOOK_SECONDS
from service_kit.http_server import HEADER_SECONDS
from tests.end_to_end.clients import MODEL, Talk, appends, mint
from tests.end_to_end.secured import Secured, serving_tls
from tests.end_to_end.traces import Traces, until
from tests.stack import Process

pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]

SERVICES = ("token_service", "relay-0")
LATE_SECONDS = 6.0
"""How much later than promised it may be seen on a busy machine."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(
    tmp_path_factory: pytest.TempPathFactory, running_simulator: Simulator, websocket_library: str
) -> AsyncIterator[Secured]:
    async with serving_tls(tmp_path_factory.mktemp("secured"), running_simulator, websocket_library) as secured:
        yield secured


@pytest_asyncio.fixture(loop_scope="module")
async def talk(secured: Secured) -> AsyncIterator[Talk]:
    async with secured.talking() as talk:
        yield talk


@pytest.mark.parametrize("library", ["picows", "aiohttp"])
async def test_audio_arrives_whole_and_in_order_both_ways(tmp_path: Path, simulator: Simulator, library: str) -> None:
    audio = bytes(range(256)) * 3_000
    async with serving_tls(tmp_path, simulator, library) as secured:
        async with secured.talking() as talk:
            await talk.send(*appends(audio))
            assert await talk.ask() == 'You said: "Good day"'
            assert simulator.connections[-1].received_audio == audio
        with Traces(secured.stack) as traces:
            await until(lambda: bool(traces.lines("session.end")))
            assert [line["ending"] for line in traces.lines("session.end")] == ["browser_closed"]


async def test_openai_s_client_talks_over_tls(secured: Secured) -> None:
    minted = await mint(secured.http, secured.stack)
    trust: Any = {"ssl": secured.authority.client_context()}
    async with (
        AsyncOpenAI(base_url=secured.stack.relay_base_urls[0], api_key=minted.token) as openai,
        openai.realtime.connect(
            model=MODEL,
            extra_headers={"Origin": secured.stack.page_url},
            websocket_connection_options=trust,
        ) as connection,
    ):
        assert (await connection.recv()).type == "session.created"


async def test_a_new_certificate_is_shown_without_a_restart_and_sessions_go_on(secured: Secured, talk: Talk) -> None:
    certificate, _ = files = secured.files
    before = [await secured.shown(service) for service in SERVICES]
    for file, new in zip(files, secured.authority.issue(), strict=True):
        shutil.copy(new, file)
    serial = x509.load_pem_x509_certificate(certificate.read_bytes()).serial_number
    assert serial not in before
    async with asyncio.timeout(LOOK_SECONDS + LATE_SECONDS):
        for service in SERVICES:
            while await secured.shown(service) != serial:
                pass
    with Traces(secured.stack) as traces:
        for service in SERVICES:
            await until(lambda service=service: bool(traces.lines("certificate.renewed", service)))  # type: ignore[misc]
    assert await talk.ask() == 'You said: "Good day"'


async def test_a_connection_that_completes_no_tls_handshake_is_cut_after_five_seconds(secured: Secured) -> None:
    async def cut_after(service: str, sent: bytes) -> float:
        opened_at = time.monotonic()
        reader, writer = await secured.opened(service, None)
        writer.write(sent)
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1_024):
                pass
        writer.transport.abort()
        return time.monotonic() - opened_at

    hello_without_end = b"\x16\x03\x01\x02\x00\x01\x00"
    tries = [cut_after(service, sent) for service in SERVICES for sent in (b"", hello_without_end)]
    async with asyncio.timeout(HEADER_SECONDS + LATE_SECONDS):
        assert min(await asyncio.gather(*tries)) > HEADER_SECONDS - 0.5


@pytest.mark.parametrize("service", SERVICES)
async def test_what_is_not_tls_gets_no_answer(secured: Secured, service: str) -> None:
    reader, writer = await secured.opened(service, None)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(LATE_SECONDS):
        try:
            answer = await reader.read(1_024)
        except ConnectionResetError:
            answer = b""
    assert b"HTTP" not in answer
    writer.transport.abort()


async def test_a_service_whose_files_do_not_fit_does_not_start(secured: Secured, tmp_path: Path) -> None:
    other = secured.authority.issue()
    wrong = secured.stack.environment | {"TLS_KEY_FILE": str(other[1])}
    alone = {name: value for name, value in secured.stack.environment.items() if name != "TLS_KEY_FILE"}
    for environment, words in ((wrong, "are no certificate and its private key"), (alone, "are set together")):
        service = Process("relay", environment=environment, log_path=tmp_path / "relay.log")
        assert await asyncio.to_thread(service.popen.wait, 20) == 2
        assert "TLS_KEY_FILE: " in service.log()
        assert words in service.log()
