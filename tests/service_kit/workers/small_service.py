"""A service that starts, drains and ends as both of ours do, with little of its own: ``python -m`` this.

``GET /who`` tells which worker answers, as all do; with ``X-Of: 2`` the second alone acts. ``/count`` adds to a counter
and a timing, ``/live?sessions=3`` sets a gauge, ``/stall?seconds=9`` holds up the event loop, ``/unready`` makes the
worker unready. Its drain lasts as long as it may. From the environment: ``SMALL_PATIENCE``, a JSON object of what the
parent's patience is to be; ``SMALL_DEATH``, a file: a worker whose number it names before "start" dies at its start
with status 7, before "listening" as soon as it listens.
"""

import asyncio
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from aiohttp import web

import service_kit.workers.parent
from service_kit.http_server import note_headers
from service_kit.operator_listener import Numbers, create_operator_app
from service_kit.secrets import Secrets, SharedSecrets
from service_kit.service_life import Parts, Start, serve_parts
from service_kit.service_start import start
from service_kit.settings import ServiceSettings
from service_kit.web import Readiness, answer_errors
from service_kit.workers.patience import Patience
from service_kit.workers.post import VARIABLE


def main() -> None:
    """Start as the services do."""
    patience = partial(Patience, **json.loads(os.environ.get("SMALL_PATIENCE", "{}")))
    setattr(service_kit.workers.parent, "Patience", patience)  # noqa: B010 - shorter, for a test
    if VARIABLE in os.environ and death_of(json.loads(os.environ[VARIABLE])["number"]) == "start":
        sys.stderr.write("cannot start, and says so\n")
        sys.exit(7)
    start("relay", ServiceSettings, SharedSecrets, lambda: serve)


def death_of(worker: int) -> str | None:
    """When a worker is to die, if it is: ``start`` or ``listening``."""
    path = Path(os.environ.get("SMALL_DEATH", "/nonexistent"))
    orders = dict(line.split() for line in path.read_text().splitlines()) if path.exists() else {}
    return orders.get(str(worker))


async def serve(settings: ServiceSettings, secrets: Secrets[SharedSecrets], start: Start) -> None:
    """Serve the routes above."""
    number = start.worker.number if start.worker else None
    is_well = True

    async def well() -> bool:
        return is_well

    readiness = Readiness(wellness=well)

    async def act(request: web.Request) -> web.Response:
        nonlocal is_well
        what = request.match_info["what"]
        match what if request.headers.get("X-Of") in (None, str(number)) else "who":
            case "count":
                start.telemetry.count("airlock_sessions_started_total")
                start.telemetry.timing("airlock_upstream_ready_ms", 5)
            case "live":
                start.telemetry.gauge("airlock_live_sessions", int(request.query["sessions"]))
            case "stall":
                os.write(1, f"stalling {number}\n".encode())
                time.sleep(float(request.query["seconds"]))  # noqa: ASYNC251 - that is the fault
            case "unready":
                is_well = False
        return web.json_response({"worker": number, "pid": os.getpid()}, headers={"Connection": "close"})

    async def drain(at_once: asyncio.Event) -> None:
        readiness.draining = True
        await asyncio.wait([asyncio.create_task(at_once.wait())], timeout=settings.drain_seconds - 3)

    def make() -> Parts:
        app = web.Application(middlewares=[note_headers, answer_errors(lambda _: None)])
        readiness.add_routes(app)
        app.router.add_get("/{what}", act)

        def operators(numbers: Numbers) -> web.Application:
            return create_operator_app(
                lambda: secrets.current.operator_keys,
                numbers,
                lambda _: None,
                service="relay",
                readiness=readiness,
                hsts=False,
            )

        if number is not None and death_of(number) == "listening":
            asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGKILL)
        return Parts(app, operators, readiness, drain)

    await serve_parts(settings, secrets, start, make)


if __name__ == "__main__":
    main()
