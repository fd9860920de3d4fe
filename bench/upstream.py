"""The model's end of a measurement: ``python -m bench.upstream --port PORT [--certificate CHAIN KEY]``.

It confirms a lock as a model does and answers each append with one delta of as much audio, made beforehand: no JSON is
read or written per message, so that it is not what a measurement finds.
"""

from __future__ import annotations

import argparse
import itertools
import ssl
from typing import Final

import msgspec
import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from bench import frames

_TYPE_IS_WITHIN: Final = 80
_APPEND: Final = b"input_audio_buffer.append"
_DELTAS: Final = {frame_ms: itertools.cycle(frames.deltas(frame_ms)) for frame_ms in frames.FRAME_MS}
_BY_SIZE: dict[int, itertools.cycle[bytes]] = {}


class Model(WSListener):
    """One session."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Greet."""
        transport.send(WSMsgType.TEXT, frames.session_created())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Answer an append with a delta, an update with what it says."""
        if frame.msg_type is WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif _APPEND in bytes(frame.get_payload_as_memoryview()[:_TYPE_IS_WITHIN]):
            size = frame.payload_size
            deltas = _BY_SIZE.get(size)
            if deltas is None:
                deltas = _BY_SIZE[size] = _DELTAS[frames.frame_ms_of(size)]
            transport.send(WSMsgType.TEXT, next(deltas))
        elif frame.msg_type is WSMsgType.TEXT:
            event = msgspec.json.decode(frame.get_payload_as_bytes())
            if event["type"] == "session.update":
                transport.send(WSMsgType.TEXT, frames.session_updated(event))


def _answer(request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
    """A session for who upgrades; over HTTP, where the relay asks when it starts, every model exists."""
    if "Upgrade" in request.headers:
        return Model()
    model = {"id": request.path.decode().rpartition("/")[2], "object": "model", "created": 0, "owned_by": "bench"}
    body = msgspec.json.encode(model)
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    response = WSUpgradeResponse.create_ok_response(body, headers)
    return WSUpgradeResponseWithListener(response, None)


async def _serve(port: int, certificate: tuple[str, str] | None) -> None:
    tls = None
    if certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
    server = await ws_create_server(_answer, "127.0.0.1", port, ssl=tls, backlog=1_024)
    await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(prog="python -m bench.upstream")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", nargs=2, metavar=("CHAIN", "KEY"))
    options = parser.parse_args()
    uvloop.run(_serve(options.port, options.certificate))


if __name__ == "__main__":
    main()
