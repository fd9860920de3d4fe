"""Redeeming as a relay does, without upgrade and dial: ``python -m bench.redeeming`` reads one order and answers it.

The relay's own admission and redemption run here, on its event loop and with its allocator, so that the CPU of this
process is what they cost the relay.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
import time
from typing import Final

import msgspec
import uvloop
from aiohttp import HttpVersion11
from multidict import CIMultiDict, CIMultiDictProxy, MultiDict

from bench.minting import measured
from bench.orders import Done, Redeem
from relay.admission import admit
from relay.memory import scrubbing_environment
from relay.redemption import Redemptions
from service_kit.redis_client import connect
from service_kit.session_token import SessionTokenCodec

ENVIRONMENT: Final = "development"
_UPGRADE: Final = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
}


async def redeem(order: Redeem) -> Done:
    """Redeem every token once."""
    redis = connect(order.redis_url)
    redemptions = Redemptions(redis, ENVIRONMENT)
    codec = SessionTokenCodec(order.signing_keys, ENVIRONMENT)
    query = MultiDict({"model": "gpt-realtime-2.1"})
    first, *tokens = order.tokens

    async def one(token: str) -> None:
        headers = CIMultiDictProxy(CIMultiDict({**_UPGRADE, "Authorization": f"Bearer {token}"}))
        ticket = admit(HttpVersion11, headers, query, allowed_origins=(), codec=codec, now=time.time())
        await redemptions.redeem(ticket, secrets.token_hex(12), "127.0.0.1")

    await one(first)  # connected, and Redis knows the script
    try:
        return await measured(
            len(tokens), lambda number: one(tokens[number]), os.getpid(), order.at_once, order.per_second, []
        )
    finally:
        await redis.aclose()


def main() -> None:
    """Do what standard input asks for."""
    missing = scrubbing_environment(os.environ)
    if missing:
        os.execve(sys.executable, [sys.executable, "-m", "bench.redeeming"], os.environ | missing)  # noqa: S606
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Redeem)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(redeem(order))) + b"\n")


if __name__ == "__main__":
    main()
