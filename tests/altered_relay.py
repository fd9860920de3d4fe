"""The relay as ``python -m relay`` starts it, with a window into the process and with what a test wants altered.

``GET /tests/state`` tells what the process holds (:class:`tests.soak.measure.Held`). From the environment:
``ALTERED_HEARTBEAT_SECONDS``, how long a connection may be silent; ``ALTERED_MESSAGE_SECONDS``, how long a message in
pieces may take; ``ALTERED_BUG=1``, where a typed message "break"
makes policy raise what it never should.
"""

import asyncio
import os
import resource
import socket
import stat
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

import relay.__main__
import relay.aiohttp_channel
import relay.app
import relay.picows_channel
import relay.policy
import relay.wire
from relay.memory import scrubbing_environment
from relay.settings import RelaySettings

_create_app = relay.app.create_app
BREAK = {"type": "input_text", "text": "break"}


def main() -> None:
    """Alter the modules, then start the relay as always."""
    missing = scrubbing_environment(os.environ)
    if missing:  # here, since the relay itself would start itself anew, unaltered
        os.execve(sys.executable, [sys.executable, "-m", "tests.altered_relay"], os.environ | missing)  # noqa: S606
    alter(relay.app, "create_app", create_app)
    if seconds := os.environ.get("ALTERED_HEARTBEAT_SECONDS"):
        alter(relay.aiohttp_channel, "HEARTBEAT_SECONDS", float(seconds))
        alter(relay.picows_channel, "HEARTBEAT_SECONDS", float(seconds))
    if seconds := os.environ.get("ALTERED_MESSAGE_SECONDS"):
        alter(relay.picows_channel, "MESSAGE_SECONDS", float(seconds))
    if os.environ.get("ALTERED_BUG"):
        alter(relay.wire, "judge_browser_event", judge_with_a_bug)
    relay.__main__.main()


def alter(module: object, name: str, value: object) -> None:
    """Replace what the module has, which must be there."""
    getattr(module, name)
    setattr(module, name, value)


def create_app(settings: RelaySettings) -> web.Application:
    """The relay's app and the window."""
    app = _create_app(settings)
    app.router.add_get("/tests/state", tell_state)
    return app


def judge_with_a_bug(event: dict[str, Any], **known: Any) -> Any:
    """Policy, but for one message."""
    if event.get("item", {}).get("content") == [BREAK]:
        raise ZeroDivisionError("break")
    return relay.policy.judge_browser_event(event, **known)


async def tell_state(_: web.Request) -> web.Response:
    """Count tasks, descriptors, sockets and resident bytes; this request's own are among them.

    Connections to Redis are not: the client keeps as many as were ever in use at once.
    """
    redis_port = urlsplit(os.environ["REDIS_URL"]).port
    kinds = []
    for number in range(resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        try:
            kind = os.fstat(number).st_mode
        except OSError:
            continue
        if not (stat.S_ISSOCK(kind) and peer_port(number) == redis_port):
            kinds.append(kind)
    return web.json_response(
        {
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(kinds),
            "sockets": sum(map(stat.S_ISSOCK, kinds)),
            "resident_bytes": resident_bytes(),
        },
        headers={"Connection": "close"},
    )


def resident_bytes() -> int:
    """The process' resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peer_port(descriptor: int) -> int | None:
    """Whom a TCP socket is connected to."""
    with socket.socket(fileno=os.dup(descriptor)) as its:
        try:
            peer = its.getpeername()
        except OSError:
            return None
    return int(peer[1]) if isinstance(peer, tuple) else None


async def held_by(relay_base_url: str) -> dict[str, int]:
    """What the window of a relay shows."""
    async with aiohttp.ClientSession() as http, http.get(f"{relay_base_url.removesuffix('/v1')}/tests/state") as answer:
        held: dict[str, int] = await answer.json()
        return held


if __name__ == "__main__":
    main()
