"""The relay as ``python -m relay`` starts it, with a window into the process and with what a test wants altered.

``GET /tests/state`` tells what the process holds (:class:`tests.soak.measure.Held`), ``GET /tests/stall?seconds=0.5``
holds up its event loop, and ``GET /tests/clock?ahead=5`` puts its clock so many seconds ahead of this machine's. From
the environment: ``ALTERED_HEARTBEAT_SECONDS``, how long a connection may be silent; ``ALTERED_MESSAGE_SECONDS``, how
long a message in pieces may take; ``ALTERED_CONNECT_SECONDS``, over how long connects are counted;
``ALTERED_LEASE_SECONDS`` and ``ALTERED_RENEW_SECONDS``; ``ALTERED_STALL_SECONDS``, how long an end may read nothing;
``ALTERED_WAIT_MS``, how long replicas have to confirm; ``ALTERED_BUG=1``, where a typed message "break" makes policy
raise what it never should.
"""

import asyncio
import ctypes
import gc
import os
import resource
import socket
import stat
import sys
import time
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

import relay.__main__
import relay.aiohttp_channel
import relay.app
import relay.connect_rates
import relay.leases
import relay.picows_channel
import relay.policy
import relay.session
import relay.wire
import service_kit.redis_client
from relay.memory import scrubbing_environment
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.secrets import Secrets
from service_kit.telemetry import Telemetry

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
    if seconds := os.environ.get("ALTERED_CONNECT_SECONDS"):
        alter(relay.connect_rates, "WINDOW_SECONDS", float(seconds))
    if seconds := os.environ.get("ALTERED_STALL_SECONDS"):
        alter(relay.wire, "STALL_SECONDS", float(seconds))
    if milliseconds := os.environ.get("ALTERED_WAIT_MS"):
        alter(service_kit.redis_client, "WAIT_MS", int(milliseconds))
    for name in ("LEASE_SECONDS", "RENEW_SECONDS"):
        if seconds := os.environ.get(f"ALTERED_{name}"):
            alter(relay.leases, name, int(seconds))
    if os.environ.get("ALTERED_BUG"):
        alter(relay.wire, "judge_browser_event", judge_with_a_bug)
    relay.__main__.main()


def alter(module: object, name: str, value: object) -> None:
    """Replace what the module has, which must be there."""
    getattr(module, name)
    setattr(module, name, value)


def create_app(
    settings: RelaySettings, secrets: Secrets[RelaySecrets], telemetry: Telemetry | None = None
) -> web.Application:
    """The relay's app and the window."""
    app = _create_app(settings, secrets, telemetry)
    app.router.add_get("/tests/state", tell_state)
    app.router.add_get("/tests/stall", stall)
    app.router.add_get("/tests/clock", set_clock)
    return app


async def stall(request: web.Request) -> web.Response:
    """Let nothing else happen for a while."""
    time.sleep(float(request.query["seconds"]))  # noqa: ASYNC251 - that is the fault
    return web.Response()


class Clock:
    """What of the ``time`` module the relay reads, with another time."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def time(self) -> float:
        """Seconds since 1970, as this clock has it."""
        return time.time() + self._ahead


async def set_clock(request: web.Request) -> web.Response:
    """Let the clock that admits and accounts be wrong."""
    clock = Clock(float(request.query["ahead"]))
    for module in (relay.app, relay.session, relay.wire):
        alter(module, "time", clock)
    return web.Response()


def judge_with_a_bug(event: dict[str, Any], **known: Any) -> Any:
    """Policy, but for one message."""
    if event.get("item", {}).get("content") == [BREAK]:
        raise ZeroDivisionError("break")
    return relay.policy.judge_browser_event(event, **known)


async def tell_state(_: web.Request) -> web.Response:
    """Count tasks, descriptors, sockets and bytes; this request's own are among them.

    Connections to Redis are not: the client keeps as many as were ever in use at once.
    """
    redis_port = urlsplit(os.environ.get("REDIS_URL", "")).port  # where a vault has it, they are counted too
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
            "allocated_bytes": allocated_bytes(),
        },
        headers={"Connection": "close"},
    )


def resident_bytes() -> int:
    """The process' resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


class _MallInfo(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
                     "keepcost")
    ]  # fmt: skip


def allocated_bytes() -> int:
    """What the process has asked for and not given back, garbage aside: other than what is resident, no matter of luck.

    Python's own objects are among it, since the relay's launcher makes Python use the C library's allocator.
    """
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "mallctl"):  # jemalloc's, whose numbers are as of the last epoch
        epoch, count, size = ctypes.c_uint64(1), ctypes.c_size_t(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_size_t))
        library.mallctl(b"epoch", None, None, ctypes.byref(epoch), size)
        library.mallctl(b"stats.allocated", ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0))
        return count.value
    mallinfo2 = library.mallinfo2
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


def peer_port(descriptor: int) -> int | None:
    """Whom a TCP socket is connected to."""
    with socket.socket(fileno=os.dup(descriptor)) as its:
        try:
            peer = its.getpeername()
        except OSError:
            return None
    return int(peer[1]) if isinstance(peer, tuple) else None


async def meddle(relay_base_url: str, fault: str) -> None:
    """Do to a relay what ``/tests/{fault}`` does."""
    url = f"{relay_base_url.removesuffix('/v1')}/tests/{fault}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        assert answer.status == 200


async def held_by(relay_base_url: str) -> dict[str, int]:
    """What the window of a relay shows."""
    async with aiohttp.ClientSession() as http, http.get(f"{relay_base_url.removesuffix('/v1')}/tests/state") as answer:
        held: dict[str, int] = await answer.json()
        return held


if __name__ == "__main__":
    main()
