"""The least relay on aiohttp: ``python -m bench.peers.aiohttp_pump --port PORT --upstream URL [--ca FILE]``.

It passes every frame on, as bytes, and does nothing else: no token, policy, limit or log. On uvloop, no compression.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, ClientWebSocketResponse, TCPConnector, WSMsgType, web

from bench.peers.serving import serve

HTTP = web.AppKey("http", ClientSession)
UPSTREAM = web.AppKey("upstream", str)
MAX_MESSAGE_BYTES = 22 << 20


async def relay(request: web.Request) -> web.WebSocketResponse:
    """One session."""
    browser = web.WebSocketResponse(compress=False, decode_text=False, max_msg_size=MAX_MESSAGE_BYTES)
    await browser.prepare(request)
    async with request.app[HTTP].ws_connect(
        request.app[UPSTREAM], compress=0, decode_text=False, max_msg_size=MAX_MESSAGE_BYTES
    ) as model:
        pumps = [asyncio.ensure_future(_pump(browser, model)), asyncio.ensure_future(_pump(model, browser))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await browser.close()
    return browser


async def _pump(
    source: web.WebSocketResponse[bool] | ClientWebSocketResponse[bool],
    sink: web.WebSocketResponse[bool] | ClientWebSocketResponse[bool],
) -> None:
    async for message in source:
        await sink.send_frame(message.data, WSMsgType.TEXT)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.aiohttp_pump")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--ca")
    options = parser.parse_args()

    async def resources(app: web.Application) -> AsyncIterator[None]:
        tls = ssl.create_default_context(cafile=options.ca) if options.ca else True
        async with ClientSession(connector=TCPConnector(limit=0, ssl=tls)) as http:
            app[HTTP] = http
            yield

    app = web.Application()
    app[UPSTREAM] = options.upstream
    app.cleanup_ctx.append(resources)
    app.router.add_get("/v1/realtime", relay)
    uvloop.run(serve(app, options.port))


if __name__ == "__main__":
    main()
