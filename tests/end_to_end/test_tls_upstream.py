"""A model that is reached over TLS, as OpenAI's is: its certificate must be one that the machine trusts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.realtime import Simulator
from tests.end_to_end.clients import appends, mint, refused_events, talking
from tests.end_to_end.conftest import DEFAULTS
from tests.end_to_end.traces import Traces, until
from tests.stack import Stack
from tests.tls_proxy import over_tls

ON_BOTH_LIBRARIES = True
pytestmark = [pytest.mark.end_to_end, pytest.mark.asyncio(loop_scope="module")]


@asynccontextmanager
async def stack_with(
    folder: Path, simulator: Simulator, websocket_library: str, *, trusts_by: str | None, name: str = "localhost"
) -> AsyncIterator[Stack]:
    """The product with the simulator behind TLS, which it trusts by that setting; ``name`` is what is vouched for."""
    authority = ThrowAwayAuthority(folder)
    async with over_tls(int(simulator.origin.rpartition(":")[2]), authority.server_context(name)) as port:
        settings = DEFAULTS | {"WEBSOCKETS": websocket_library}
        if trusts_by is not None:
            settings[trusts_by] = str(authority.ca_file)
        stack = Stack(folder, openai_base_url=f"https://localhost:{port}/v1", **settings)
        await asyncio.to_thread(stack.__enter__)
        try:
            yield stack
        finally:
            await asyncio.to_thread(stack.__exit__)


@pytest.mark.parametrize("trusts_by", ["SSL_CERT_FILE", "EXTRA_CA_FILE"])
async def test_a_session_is_held_over_tls(
    simulator: Simulator, http: aiohttp.ClientSession, tmp_path: Path, websocket_library: str, trusts_by: str
) -> None:
    speech = bytes(range(256)) * 90  # 480 ms
    async with stack_with(tmp_path, simulator, websocket_library, trusts_by=trusts_by) as stack:
        with Traces(stack) as traces:
            await until(lambda: bool(traces.lines("upstream.checked")))
            async with talking(http, stack) as (talk, minted):
                await talk.send(*appends(speech), *appends(speech * 2, len(speech) * 2))
                assert await talk.ask() == 'You said: "Good day"'
                upstream = simulator.connections[-1]
                await upstream.wait_received("input_audio_buffer.append", 6)
            receipt = await traces.session_end(minted.token_id)
            assert await upstream.wait_ended() == 1000
    assert receipt["ending"] == "browser_closed"
    assert receipt["audio_in_seconds"] == pytest.approx(3 * len(speech) / 48_000, abs=0.01)


@pytest.mark.parametrize(
    ("trusts_by", "name"),
    [
        pytest.param(None, "localhost", id="not vouched for"),
        pytest.param("EXTRA_CA_FILE", "voice.example", id="another name"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_refused_and_the_token_goes_back(
    simulator: Simulator,
    http: aiohttp.ClientSession,
    tmp_path: Path,
    websocket_library: str,
    trusts_by: str | None,
    name: str,
) -> None:
    before = len(simulator.connections)
    async with stack_with(tmp_path, simulator, websocket_library, trusts_by=trusts_by, name=name) as stack:
        with Traces(stack) as traces:
            minted = await mint(http, stack)
            code, error = await refused_events(http, stack, minted)
            assert (code, error["code"]) == (1011, "upstream_unavailable")
            assert (await traces.session_end(minted.token_id))["ending"] == "model_failed"
            assert traces.token(minted.token_id)["state"] == "minted"
    assert len(simulator.connections) == before
