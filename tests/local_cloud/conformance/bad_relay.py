"""A relay that does everything wrong, for the conformance kit to find: each check is seen failing against it.

``python -m tests.local_cloud.conformance.bad_relay PORT UPSTREAM KEY [VICE…]``; it mints at ``/mint``. It pumps: what a
client sends goes to the upstream with the client's own headers and query, what the upstream sends goes to the client,
and no credential is ever looked at. Its WebSocket is its own and takes any frame. Vices that exclude others, or take
long, are chosen: ``parrot`` tells clients what the upstream said as it ended, where otherwise it only hangs up;
``hoarding`` keeps the upstream's sessions when clients are gone; ``clumsy`` turns honest clients away; ``fragile`` is
gone after the first broken frame.
"""

import asyncio
import contextlib
import json
import os
import struct
import sys
import time
from collections.abc import Set
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from local_cloud.conformance.frames import CLOSE, CONTINUATION, PING, PONG, TEXT
from local_cloud.conformance.target import WEBSOCKET_ACCEPT

_DIAL_SECONDS = 1.0
_MOST_CHARS = 8_000
"""Of a header, or the upstream does not take it."""
_NOT_PASSED = {
    "host", "connection", "upgrade", "authorization", "content-length", "sec-websocket-key", "sec-websocket-version",
    "sec-websocket-extensions",
}  # fmt: skip
_DROPPED = {"response.output_text.delta", "session.updated", "session.novelty", "response.output_audio.delta"}


class BadRelay:
    """Serves until it is killed."""

    def __init__(self, upstream: str, key: str, vices: Set[str], http: aiohttp.ClientSession) -> None:
        self._upstream = URL(upstream)
        self._key = key
        self._vices = vices
        self._http = http
        self._minted = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection, however long its request takes."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.split("\r\n")[:-2]
            path = first.split(" ")[1]
            headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            print(first, headers, flush=True)  # noqa: T201 - tokens in the log are among its faults
            if path.startswith("/mint"):
                length = next(int(value) for name, value in headers if name.lower() == "content-length")
                writer.write(self._mint(json.loads(await reader.readexactly(length))))
            else:
                await self._relay(reader, writer, path, headers)
        writer.close()

    def _mint(self, body: dict[str, object]) -> bytes:
        self._minted += 1
        ends_at = time.time() + (0 if "expires_after" in body else 3600)
        answer = {
            "value": f"bad_{self._minted:040d}",
            "expires_at": ends_at,
            "session": {"instructions": "Be kind."},
            "upstream_key": self._key,
        }
        return _http(200, json.dumps(answer).encode())

    async def _relay(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, headers: list[tuple[str, str]]
    ) -> None:
        names = {name.lower() for name, _ in headers}
        if "clumsy" in self._vices and ({"api-key", "x-stainless-lang"} & names or "model=" not in path):
            writer.write(_http(401, b"{}"))
            return
        passed = [
            (name, value) for name, value in headers if name.lower() not in _NOT_PASSED and len(value) < _MOST_CHARS
        ]
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                upstream = await self._http.ws_connect(
                    self._upstream.with_query(urlsplit(path).query),
                    headers=[*passed, ("Authorization", f"Bearer {self._key}")],
                    max_msg_size=0,
                    autoclose=False,
                )
        except (aiohttp.ClientError, TimeoutError):
            return
        writer.write(self._upgrade(headers, upstream))
        await upstream.send_str('{"type":"session.update","session":{"type":"realtime","instructions":"Be kind."}}')
        down = asyncio.create_task(self._pump_down(upstream, writer))
        await self._pump_up(reader, writer, upstream)
        if "hoarding" not in self._vices:
            await upstream.close()
        await down

    def _upgrade(self, headers: list[tuple[str, str]], upstream: aiohttp.ClientWebSocketResponse) -> bytes:
        offered = [value for name, value in headers if name.lower() == "sec-websocket-protocol"]
        extensions = any(name.lower() == "sec-websocket-extensions" for name, _ in headers)
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}",
            "Server: BadRelay/0.1",
            *([f"Sec-WebSocket-Protocol: {offered[-1].split(',')[-1].strip()}"] if offered else []),
            *(["Sec-WebSocket-Extensions: permessage-deflate"] if extensions else []),
            *(f"{name}: {value}" for name, value in upstream._response.headers.items() if name.startswith("OpenAI-")),
        ]
        if "clumsy" in self._vices:
            lines = [line for line in lines if not line.startswith("Sec-WebSocket-Protocol")]
            lines += [] if offered else ["Sec-WebSocket-Protocol: realtime"]
        return "\r\n".join((*lines, "", "")).encode()

    async def _pump_up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: aiohttp.ClientWebSocketResponse
    ) -> None:
        message, appends = bytearray(), 0
        while True:
            try:
                first, second = await reader.readexactly(2)
                size = second & 0x7F
                if size > 125:
                    size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
                mask = await reader.readexactly(4) if second & 0x80 else bytes(4)
                payload = await reader.readexactly(size)
            except (ConnectionError, asyncio.IncompleteReadError):
                return
            if any(mask):
                payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            opcode, fin = first & 0x0F, first & 0x80
            if "fragile" in self._vices and not second & 0x80:
                os._exit(1)
            if opcode == CLOSE:
                if "clumsy" not in self._vices:
                    writer.write(_frame(CLOSE, payload))
                return
            if opcode == PING:
                if "clumsy" not in self._vices:
                    writer.write(_frame(PONG, payload))
                continue
            message = message + payload if opcode == CONTINUATION else bytearray(payload)
            if fin:
                text = message.decode(errors="replace")
                print(text[:1000], flush=True)  # noqa: T201 - what is said is in the log, too
                appends += "input_audio_buffer.append" in text
                if "clumsy" in self._vices and appends == 1:
                    continue
                with contextlib.suppress(ConnectionError):
                    await upstream.send_str(text)

    async def _pump_down(self, upstream: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        while (message := await upstream.receive()).type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data = message.data.encode() if isinstance(message.data, str) else message.data
            if "clumsy" in self._vices:
                data = _mangled(data)
            if data:
                writer.write(_frame(TEXT, data))
        if "parrot" in self._vices and message.type is aiohttp.WSMsgType.CLOSE:
            writer.write(_frame(CLOSE, struct.pack("!H", message.data) + (message.extra or "").encode()))
        writer.close()


def _mangled(data: bytes) -> bytes:
    """An event without what clients need of it; nothing, of some."""
    event = json.loads(data)
    if event["type"] in _DROPPED:
        return b""
    if event["type"] == "error":
        del event["error"]["event_id"]
    return json.dumps(event).encode()


def _http(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} So\r\nServer: BadRelay/0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def _frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    if size < 1 << 16:
        return bytes([0x80 | opcode, 126]) + struct.pack("!H", size) + payload
    return bytes([0x80 | opcode, 127]) + struct.pack("!Q", size) + payload


async def main(port: int, upstream: str, key: str, vices: Set[str]) -> None:
    """Listen on loopback."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        relay = BadRelay(upstream, key, vices, http)
        server = await asyncio.start_server(relay.serve, "127.0.0.1", port, limit=1 << 26)
        async with server:
            await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], set(sys.argv[4:])))
