"""The relay that OpenAI's SDK suggests: ``python -m bench.peers.openai_pump --port PORT --base-url URL``.

aiohttp before the browser, the SDK's connection before the model; frames pass on as they are. On uvloop.
"""

from __future__ import annotations

import argparse
import asyncio

import uvloop
from aiohttp import WSMsgType, web
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.exceptions import ConnectionClosed

from bench.peers.serving import serve

CLIENT = web.AppKey("client", AsyncOpenAI)
MAX_MESSAGE_BYTES = 22 << 20


async def relay(request: web.Request) -> web.WebSocketResponse:
    """One session."""
    browser = web.WebSocketResponse(compress=False, max_msg_size=MAX_MESSAGE_BYTES)
    await browser.prepare(request)
    async with request.app[CLIENT].realtime.connect(
        model="gpt-realtime-2.1", websocket_connection_options={"compression": None, "max_size": MAX_MESSAGE_BYTES}
    ) as model:
        pumps = [asyncio.ensure_future(_to_model(browser, model)), asyncio.ensure_future(_to_browser(model, browser))]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await browser.close()
    return browser


async def _to_model(browser: web.WebSocketResponse, model: AsyncRealtimeConnection) -> None:
    async for message in browser:
        await model.send_raw(message.data)


async def _to_browser(model: AsyncRealtimeConnection, browser: web.WebSocketResponse) -> None:
    try:
        while True:
            await browser.send_frame(await model.recv_bytes(), WSMsgType.TEXT)
    except ConnectionClosed:
        return


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers.openai_pump")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--base-url", required=True)
    options = parser.parse_args()
    app = web.Application()
    app[CLIENT] = AsyncOpenAI(api_key="sk-bench", base_url=options.base_url)
    app.router.add_get("/v1/realtime", relay)
    uvloop.run(serve(app, options.port))


if __name__ == "__main__":
    main()
