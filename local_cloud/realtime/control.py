"""The simulator's HTTP control API, for processes that are not in its own: under ``/_simulator`` on the same port.

| Route | What |
| --- | --- |
| ``GET /connections`` | a summary of every connection kept, oldest first |
| ``GET /connections/{number}`` | one: the summary, ``received``, ``sent`` (events), ``received_audio`` (base64) |
| ``GET /connections/{number}/audio.wav`` | the audio it received, as a file to listen to |
| ``POST /connections/{number}/emit`` | send the event in the body, exactly as it is |
| ``POST /connections/{number}/close`` | close; body ``{"code": 1011, "reason": ""}`` |
| ``POST /connections/{number}/abort`` | cut the TCP connection |
| ``POST /faults`` | add a fault: ``{"fault": {"kind": "http_status", "status": 429}, "times": 1}``; null is always |
| ``DELETE /faults`` | forget the faults still to come |
| ``POST /answers`` | what the next response says or calls: ``[{"type": "say", "text": "one two"}]`` |

``number`` counts from 0; ``last`` is the newest connection. A body that does not fit is answered 400 with why.
"""

import base64
import io
import wave
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from local_cloud.realtime.answers import Answer, CallFunction, Say
from local_cloud.realtime.audio_formats import FORMATS, decode
from local_cloud.realtime.events import Json
from local_cloud.realtime.faults import Fault, Faults
from local_cloud.realtime.record import Connection

T = TypeVar("T")


class _AddFault(msgspec.Struct, forbid_unknown_fields=True):
    fault: Fault
    times: int | None = 1


class _Close(msgspec.Struct, forbid_unknown_fields=True):
    code: int = 1011
    reason: str = ""


class Control:
    """The handlers of the control API."""

    def __init__(self, connections: Sequence[Connection], faults: Faults, answers: deque[Answer]) -> None:
        self._connections = connections
        self._faults = faults
        self._answers = answers

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Put them in place."""
        one = "/_simulator/connections/{number}"
        router.add_get("/_simulator/connections", self._list)
        router.add_get(one, self._show)
        router.add_get(f"{one}/audio.wav", self._audio)
        router.add_post(f"{one}/emit", self._emit)
        router.add_post(f"{one}/close", self._close)
        router.add_post(f"{one}/abort", self._abort)
        router.add_post("/_simulator/faults", self._add_fault)
        router.add_delete("/_simulator/faults", self._clear_faults)
        router.add_post("/_simulator/answers", self._add_answer)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([connection.summary() for connection in self._connections])

    async def _show(self, request: web.Request) -> web.Response:
        connection = self._named(request)
        audio = base64.b64encode(connection.received_audio).decode()
        events: Json = {"received": connection.received.events, "sent": connection.sent.events, "received_audio": audio}
        return web.json_response({**connection.summary(), **events})

    async def _audio(self, request: web.Request) -> web.Response:
        connection = self._named(request)
        audio_format = FORMATS[connection.audio_format]
        file = io.BytesIO()
        with wave.open(file, "wb") as wav:
            wav.setnchannels(1)
            wav.setsampwidth(2)
            wav.setframerate(24_000 if audio_format.name == "audio/pcm" else 8_000)
            wav.writeframes(decode(bytes(connection.received_audio), audio_format).tobytes())
        return web.Response(body=file.getvalue(), content_type="audio/wav")

    async def _emit(self, request: web.Request) -> web.Response:
        connection = self._named(request)
        connection.emit(_read(await request.read(), Json))
        return _done()

    async def _close(self, request: web.Request) -> web.Response:
        connection = self._named(request)
        how = _read(await request.read() or b"{}", _Close)
        connection.close(how.code, how.reason)
        return _done()

    async def _abort(self, request: web.Request) -> web.Response:
        self._named(request).abort()
        return _done()

    async def _add_fault(self, request: web.Request) -> web.Response:
        added = _read(await request.read(), _AddFault)
        self._faults.add(added.fault, times=added.times)
        return _done()

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return _done()

    async def _add_answer(self, request: web.Request) -> web.Response:
        self._answers.append(_read(await request.read(), list[Say | CallFunction]))
        return _done()

    def _named(self, request: web.Request) -> Connection:
        number = request.match_info["number"]
        for connection in reversed(self._connections):
            if number in ("last", str(connection.number)):
                return connection
        raise web.HTTPNotFound(text=f"no connection {number}")


def _read(body: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error


def _done() -> web.Response:
    return web.Response(status=204)
