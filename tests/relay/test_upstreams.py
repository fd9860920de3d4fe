"""What the list of upstreams does by itself; with a relay around it: ``tests/end_to_end/test_upstreams.py``."""

import asyncio
from unittest.mock import create_autospec

import pytest
import structlog
from aiohttp import WSMsgType, web
from structlog.testing import capture_logs

from relay.channel import WebSockets, ignore
from relay.upstream import Upstream
from relay.upstream_credentials import Credential
from relay.upstreams import ModelEnd, Upstreams
from service_kit.errors import Refusal
from service_kit.telemetry import Recorder
from service_kit.upstreams import UpstreamSettings
from tests.relay.building import make_lock
from tests.relay.test_channels import serving, websockets

__all__ = ["websockets"]

BOTH_LOOPS = True

SWEDEN = UpstreamSettings(
    name="sweden",
    kind="azure",
    base_url="https://voice-se.openai.azure.com/openai/v1",
    auth="secret:sweden-key",
    models={"gpt-realtime": "voice"},
)


async def test_a_model_that_no_upstream_has_is_the_operator_s_mistake() -> None:
    upstreams = Upstreams([Upstream(SWEDEN, create_autospec(Credential), create_autospec(WebSockets))], Recorder())
    with capture_logs() as logs, pytest.raises(Refusal) as refused:
        await upstreams.dial(make_lock(), "someone", structlog.get_logger(), ModelEnd(), on_flood=pytest.fail)
    assert refused.value.code == "upstream_unavailable"
    assert logs == [
        {
            "event": "upstream.failed",
            "log_level": "error",
            "model": "gpt-realtime-2.1",
            "error": "no upstream has this model",
        }
    ]


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_a_model_is_cut_at_the_end_of_its_block_also_where_nobody_said_goodbye(
    websockets: WebSockets, *, says_goodbye: bool
) -> None:
    heard: asyncio.Queue[int | None] = asyncio.Queue()

    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        assert (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED)
        heard.put_nowait(socket.close_code)
        return socket

    async with asyncio.timeout(5), serving(handle) as url:
        async with ModelEnd() as model_end:
            channel = await websockets.connect(url, {}, ignore, max_message_bytes=1024)
            await model_end.begin(channel)
            if says_goodbye:
                await model_end.close()
        assert await heard.get() == (1000 if says_goodbye else 1006)
        await ModelEnd().close()  # nobody
