"""Application Insights' ingestion on loopback: it takes what the exporters post, and shows what arrived.

It is posted to as the service is (``POST /v2/track`` and ``/v2.1/track``; a JSON array, or an object per line; gzip or
not). It can be made to fail: by its attributes within a process, or under ``/_ingestion`` on the same port.

| Route | What |
| --- | --- |
| ``GET /`` | a page that shows what arrived, newest first, and refreshes itself |
| ``GET /_ingestion/envelopes`` | what arrived as JSON, oldest first |
| ``DELETE /_ingestion/envelopes`` | forget it |
| ``PATCH /_ingestion/behaviour`` | change some of it: ``{"status": 500, "every": 2}``, ``{"delay_seconds": 10}`` |

As a process: ``python -m local_cloud.application_insights --port 9200 --print``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import html
import json
import re
import ssl
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import msgspec
from aiohttp import web

from local_cloud.stand_in import StandIn, serve

Json = dict[str, Any]

INSTRUMENTATION_KEY = "00000000-1111-2222-3333-444444444444"
MAX_ENVELOPES = 50_000
MAX_BODY_BYTES = 16 << 20
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SHOWN = 500
_TAKES = (200, 206)


class Behaviour(msgspec.Struct, forbid_unknown_fields=True):
    """How it answers.

    Attributes:
        status: of the answer. With 200 all is taken, with 206 every second envelope, with any other none.
        every: of so many requests one gets that status, beginning with the first; the others get 200.
        delay_seconds: before each answer; what is taken, is taken before that.
        is_black_hole: takes nothing and never answers.
        retry_after: the header of an answer that is not 200.
        location: the header of an answer that redirects.
    """

    status: int = 200
    every: int = 1
    delay_seconds: float = 0.0
    is_black_hole: bool = False
    retry_after: str | None = None
    location: str | None = None


class ApplicationInsights(StandIn[Behaviour]):
    """``async with ApplicationInsights() as ingestion`` listens until the block ends.

    Attributes:
        behaviour: how it answers from now on.
        envelopes: what was taken, oldest first; the oldest are forgotten when there are too many.
        requests: how many there were, however they were answered.
        authorizations: the Authorization header of each, newest last; None where there was none.
        on_envelope: called with each that was taken.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        on_envelope: Callable[[Json], None] | None = None,
    ) -> None:
        super().__init__(Behaviour(), port=port, tls=tls)
        self.envelopes: deque[Json] = deque(maxlen=MAX_ENVELOPES)
        self.requests = 0
        self.authorizations: deque[str | None] = deque(maxlen=100)
        self.on_envelope = on_envelope
        self._transports: WeakSet[asyncio.Transport] = WeakSet()
        self._stopping = asyncio.Event()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        for path in ("/v2/track", "/v2.1/track"):
            app.router.add_post(path, self._track)
        app.router.add_get("/", self._show_page)
        app.router.add_get("/_ingestion/envelopes", self._show_envelopes)
        app.router.add_delete("/_ingestion/envelopes", self._forget)
        app.router.add_patch("/_ingestion/behaviour", self._change)
        return app

    async def start(self) -> None:
        """See ``StandIn``."""
        self._stopping.clear()
        await super().start()

    async def stop(self) -> None:
        """Stop listening, and let go of whom it never answers."""
        self._stopping.set()
        await super().stop()
        for transport in self._transports:
            transport.abort()  # who keeps its connection, or does not read, would be waited for
        for _ in range(3):
            await asyncio.sleep(0)  # what was aborted is gone some steps later

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://localhost:{self._port}" if self._tls else f"http://127.0.0.1:{self._port}"

    @property
    def connection_string(self) -> str:
        """As the portal shows it, trailing semicolon and all."""
        return f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={self.url}/;"

    async def _track(self, request: web.Request) -> web.StreamResponse:
        if isinstance(request.transport, asyncio.Transport):
            self._transports.add(request.transport)
        behaviour = msgspec.structs.replace(self.behaviour)
        number, self.requests = self.requests, self.requests + 1
        self.authorizations.append(request.headers.get("Authorization"))
        if behaviour.is_black_hole:
            await self._stopping.wait()
            return web.json_response({}, status=503)
        try:
            envelopes = _read(await request.read(), is_gzip=request.headers.get("Content-Encoding") == "gzip")
        except ValueError:
            return web.json_response({"itemsReceived": 0, "itemsAccepted": 0, "errors": []}, status=400)
        status = behaviour.status if number % behaviour.every == 0 else 200
        errors = [
            {"index": index, "statusCode": code, "message": "refused"}
            for index, envelope in enumerate(envelopes)
            if (code := _why_not(envelope) or (500 if status == 206 and index % 2 else 0))
        ]
        refused = {error["index"] for error in errors}
        if status in _TAKES:
            await self._take([envelope for index, envelope in enumerate(envelopes) if index not in refused])
            status = (206 if len(refused) < len(envelopes) else 400) if refused else 200
        else:
            refused = set(range(len(envelopes)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(behaviour.delay_seconds):
                await self._stopping.wait()
        body = {"itemsReceived": len(envelopes), "itemsAccepted": len(envelopes) - len(refused), "errors": errors}
        headers = {"Retry-After": behaviour.retry_after, "Location": behaviour.location}
        return web.json_response(body, status=status, headers={k: v for k, v in headers.items() if v is not None})

    async def _take(self, envelopes: list[Json]) -> None:
        self.envelopes.extend(envelopes)
        if self.on_envelope is not None:
            for envelope in envelopes:
                self.on_envelope(envelope)
        await self._tell()

    async def _show_page(self, _request: web.Request) -> web.Response:
        newest = list(self.envelopes)[-_SHOWN:][::-1]
        rows = "".join(_row(envelope) for envelope in newest)
        return web.Response(text=_PAGE.format(total=len(self.envelopes), rows=rows), content_type="text/html")

    async def _show_envelopes(self, _request: web.Request) -> web.Response:
        return web.json_response({"envelopes": list(self.envelopes)})

    async def _forget(self, _request: web.Request) -> web.Response:
        self.envelopes.clear()
        return web.Response(status=204)


def _read(body: bytes, *, is_gzip: bool) -> list[Json]:
    """The envelopes in a request. Raises ValueError."""
    try:
        text = gzip.decompress(body) if is_gzip else body
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError("no gzip") from error
    if text.lstrip()[:1] == b"[":
        envelopes = json.loads(text)
    else:
        envelopes = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(envelope, dict) for envelope in envelopes):
        raise ValueError("not envelopes")
    return list(envelopes)


def _why_not(envelope: Json) -> int:
    """The status of an envelope that the service would not take; 0 for one that it would."""
    match envelope:
        case {"name": str(), "time": str(), "iKey": str(key), "data": {"baseType": str(), "baseData": dict()}}:
            return 0 if _GUID.fullmatch(key) else 400
    return 400


def in_a_line(envelope: Json) -> str:
    """One envelope as people read it: when, whose, what, and what it says."""
    kind, data = envelope["data"]["baseType"].removesuffix("Data"), envelope["data"]["baseData"]
    role = (envelope.get("tags") or {}).get("ai.cloud.role", "")
    said = dict(data.get("properties") or {}) | dict(data.get("measurements") or {})
    name = data.get("name", "")
    if kind == "Metric":
        (point,) = data["metrics"]
        name = point["name"]
        said |= {key: point[key] for key in ("value", "count", "max") if point.get(key) is not None}
    else:
        keys = ("duration", "responseCode", "success", "type")
        said |= {key: data[key] for key in keys if data.get(key) not in (None, "")}
    return " ".join([envelope["time"], role, kind, name, *(f"{key}={value}" for key, value in said.items())])


def _row(envelope: Json) -> str:
    whole = html.escape(json.dumps(envelope, indent=1))
    return f"<details><summary>{html.escape(in_a_line(envelope))}</summary><pre>{whole}</pre></details>"


_PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>What arrived</title>
<style>body {{ font: 13px/1.5 ui-monospace, monospace; margin: 2em }} summary {{ cursor: pointer }}</style>
<h1>Application Insights, on loopback</h1><p>{total} envelopes arrived; the newest first.</p>{rows}"""


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m local_cloud.application_insights", description="Application Insights, stood in for."
    )
    parser.add_argument("--port", type=int, default=9200, help="0 takes a free port and prints it")
    parser.add_argument("--print", action="store_true", help="print each envelope that arrives in a line")
    parser.add_argument("--status", type=int, default=200, help="of the answers")
    parser.add_argument("--every", type=int, default=1, help="only every so manieth answer has that status")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--black-hole", action="store_true", help="never answer")
    given = parser.parse_args()
    behaviour = Behaviour(
        status=given.status, every=given.every, delay_seconds=given.delay, is_black_hole=given.black_hole
    )

    def show(envelope: Json) -> None:
        print(in_a_line(envelope), flush=True)

    ingestion = ApplicationInsights(port=given.port, on_envelope=show if given.print else None)
    ingestion.behaviour = behaviour
    connection = "APPLICATIONINSIGHTS_CONNECTION_STRING"
    asyncio.run(
        serve(
            ingestion,
            lambda: [f"Application Insights on {ingestion.url}/", f"{connection}={ingestion.connection_string}"],
        )
    )


if __name__ == "__main__":
    main()
