"""A relay on trial: gets credentials, opens sessions as any client would, and looks at what reached the upstream."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from local_cloud.conformance.client import Client, Json, NoAnswer
from local_cloud.conformance.target import Mint, Target, value_at
from local_cloud.realtime import Connection, Simulator

MOST_AT_ONCE = 20
"""Connections of a race, and sessions that are asked for at the same time."""
_MOST_HEARD_BYTES = 64 << 20
_OPEN_SECONDS = 15.0
_MINT_SECONDS = 10.0
_MOST_RETRY_AFTER = 60.0
_MINT_TRIES = 3
FENCE = {"type": "input_audio_buffer.clear"}
"""An event that every session may send, and that the model confirms: what was sent before it has then been judged."""
FENCED = "input_audio_buffer.cleared"


class NoSession(Exception):
    """The relay did not do what it must before anything else can be judged: mint, or open an ordinary session."""


@dataclass(frozen=True, slots=True)
class Minted:
    """The answer of a mint."""

    credential: str
    body: Json
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Talk:
    """A session: the client's end, and the upstream's record of it."""

    client: Client
    upstream: Connection

    async def fenced(self, seconds: float) -> bool:
        """Wait until all that was sent so far has been judged, or the session is over; False if neither happens."""
        before = self.client.count(FENCED)
        await self.client.send(FENCE)
        return await self.client.until_event(FENCED, seconds, before + 1) or self.client.over

    def upstream_heard(self, words: str) -> bool:
        """Whether something that the upstream received holds these words."""
        return any(words in text for text in self.upstream.received_raw)


class Trial:
    """One relay and its upstream.

    Attributes:
        upstream_key: the key that the relay was given for the upstream.
        credentials: all that were used so far.
        heard: every byte that the relay told any client so far, up to a bound.
    """

    def __init__(self, target: Target, simulator: Simulator, http: aiohttp.ClientSession, upstream_key: str) -> None:
        self.target = target
        self.simulator = simulator
        self.upstream_key = upstream_key
        self.credentials: list[str] = []
        self.heard = bytearray()
        self._http = http

    # --- credentials ---

    async def credential(self) -> str:
        """One to use: a fresh one, unless there is only one."""
        if self.target.credential is not None:
            self.credentials.append(self.target.credential)
            return self.target.credential
        return (await self.mint()).credential

    async def mint(self, **more: Any) -> Minted:
        """Ask for a credential, with ``more`` in the body.

        Raises:
            NoSession: there is none.
        """
        mint = self.target.mint
        assert mint is not None  # noqa: S101 - the command line takes one or the other
        for _ in range(_MINT_TRIES):
            status, headers, body = await self.ask_mint(mint, mint.headers, {**mint.body, **more})
            value = value_at(body, mint.value)
            if status < 300 and isinstance(body, dict) and isinstance(value, str) and value:
                self.credentials.append(value)
                return Minted(value, body, headers)
            if status != 429:
                break
            retry_after = headers.get("Retry-After", "")
            await asyncio.sleep(min(float(retry_after) if retry_after.isdigit() else 1.0, _MOST_RETRY_AFTER))
        raise NoSession(f"the mint answered HTTP {status} without a credential at {mint.value!r}")

    async def ask_mint(
        self, mint: Mint, headers: Mapping[str, str], body: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], object]:
        """Post to the mint; status, headers and decoded body of its answer.

        Raises:
            NoSession: it does not answer.
        """
        try:
            async with self._http.post(
                mint.url,
                json=body,
                headers=headers,
                ssl=self.target.tls or True,
                timeout=aiohttp.ClientTimeout(total=_MINT_SECONDS),
                allow_redirects=False,  # nobody allowed testing what it leads to
            ) as answer:
                text = await answer.text()
                self._hear(str(dict(answer.headers)).encode() + text.encode())
                with contextlib.suppress(ValueError):
                    return answer.status, answer.headers, json.loads(text)
                return answer.status, answer.headers, None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoSession(f"the mint does not answer ({type(error).__name__})") from error

    # --- connections ---

    @property
    def dials(self) -> int:
        """How often the relay has connected to the upstream so far."""
        return self.simulator.connections[-1].number + 1 if self.simulator.connections else 0

    def dialled_since(self, number: int) -> list[Connection]:
        """The connections that the relay has made since there were ``number`` of them."""
        return [connection for connection in self.simulator.connections if connection.number >= number]

    async def knock(
        self,
        credential: str | None,
        *,
        query: Mapping[str, str] | str | None = None,
        method: str = "GET",
        version: str = "HTTP/1.1",
        after: bytes = b"",
        **how: Any,
    ) -> Client:
        """Ask for an upgrade, with the usual model unless a query is given; ``how`` is that of ``Target.lines``.

        Raises:
            NoAnswer: nothing came back.
        """
        url = self.target.relay.with_query({"model": self.target.model} if query is None else query)
        lines = self.target.lines(credential, **how)
        return await Client.connect(
            url, lines, tls=self.target.relay_tls, heard=self._hear, method=method, version=version, after=after
        )

    async def begins(self, client: Client) -> bool:
        """Whether a session begins on this connection."""
        return await client.until_event("session.created", _OPEN_SECONDS)

    async def begins_with(self, credential: str | None, **how: Any) -> bool:
        """Whether a session begins with this handshake; it is over again then."""
        try:
            client = await self.knock(credential, **how)
        except NoAnswer:
            return False
        try:
            return await self.begins(client)
        finally:
            await client.leave()

    async def why_not_refused(self, credential: str | None, **how: Any) -> str | None:
        """What is wrong, if a handshake that must be refused is not, or reaches the upstream; None if all is well."""
        before = self.dials
        if await self.begins_with(credential, **how):
            return "a session was opened"
        if self.dials > before:
            return "no session was opened, but the upstream was dialled"
        return None

    @asynccontextmanager
    async def session(self, **how: Any) -> AsyncIterator[Talk]:
        """An ordinary session while the block runs.

        Raises:
            NoSession: it does not begin.
        """
        number = self.dials
        try:
            client = await self.knock(await self.credential(), **how)
        except NoAnswer as error:
            raise NoSession(str(error)) from error
        try:
            if not await self.begins(client):
                raise NoSession(client.said())
            try:
                upstream = await self.simulator.connection(number)
            except TimeoutError:
                raise NoSession("session.created came, but not from the upstream that the kit runs") from None
            yield Talk(client, upstream)
        finally:
            await client.leave()

    async def settle(self) -> None:
        """Forget planned faults, and see to it that the upstream's sessions end: the relay's places are free then."""
        self.simulator.faults.clear()
        live = [each for each in self.simulator.connections if each.sent.counts and not each.ended]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.target.patience):
                for connection in live:
                    await connection.wait_ended(self.target.patience)
        for connection in live:
            if not connection.ended:
                connection.abort()

    def _hear(self, data: bytes) -> None:
        if len(self.heard) < _MOST_HEARD_BYTES:
            self.heard += data
