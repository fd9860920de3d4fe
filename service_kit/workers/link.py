"""What a parent and a worker tell each other, and the line between them: a pair of sockets that nobody else holds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Final, Generic, TypeVar

import msgspec

from service_kit.telemetry.values import Snapshot


class Report(msgspec.Struct, frozen=True, tag=True):
    """A worker listens, and this is how it is: what is not ready, and its numbers. Comes about once in a second."""

    failing: list[str]
    numbers: Snapshot


class AskNumbers(msgspec.Struct, frozen=True, tag=True):
    """A worker wants to know the numbers of all; here are its own."""

    own: Snapshot


class Numbers(msgspec.Struct, frozen=True, tag=True):
    """The answer: those of all workers together, the dead among them."""

    of_all: Snapshot


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Which workers are ready; told to each whenever it changes."""

    workers: list[int]


class StopNow(msgspec.Struct, frozen=True, tag=True):
    """The order to stop: to drain, or at once."""

    at_once: bool


FromWorker = Report | AskNumbers
FromParent = Numbers | Ready | StopNow
Message = TypeVar("Message")
_LENGTH_BYTES: Final = 4
_encode: Final = msgspec.msgpack.Encoder().encode


class Link(Generic[Message]):
    """One end of the line; the messages that come are of one kind."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Any) -> None:
        self._reader = reader
        self._writer = writer
        self._decode = msgspec.msgpack.Decoder(kind).decode

    async def messages(self) -> AsyncIterator[Message]:
        """What the other end sends, until it is gone, or not to be understood."""
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES))
                message: Message = self._decode(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, ConnectionError, msgspec.MsgspecError):
                return  # the last: of another version, as when it was replaced under a running service
            yield message

    def send(self, message: FromWorker | FromParent) -> None:
        """Send without waiting; to nobody, if the other end is gone."""
        encoded = _encode(message)
        self._writer.write(len(encoded).to_bytes(_LENGTH_BYTES) + encoded)

    def close(self) -> None:
        """End the line, once everything was sent."""
        self._writer.close()


async def parents_end(end: socket.socket) -> Link[FromWorker]:
    """The parent's end."""
    return Link(*await asyncio.open_unix_connection(sock=end), FromWorker)


async def workers_end(end: socket.socket) -> Link[FromParent]:
    """The worker's end."""
    return Link(*await asyncio.open_unix_connection(sock=end), FromParent)
