"""The product over TLS that it serves itself, with a certificate of an authority that is thrown away."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from cryptography import x509

from local_cloud.certificates import ThrowAwayAuthority
from local_cloud.realtime import Simulator
from local_cloud.redis_server import RedisServer
from tests.end_to_end.clients import Talk, connect, mint
from tests.end_to_end.conftest import DEFAULTS
from tests.stack import Stack

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Secured:
    """The product over TLS, the two files that both services serve with, and who vouches for them."""

    stack: Stack
    authority: ThrowAwayAuthority
    http: aiohttp.ClientSession

    @property
    def files(self) -> list[Path]:
        return [Path(self.stack.environment[name]) for name in ("TLS_CERT_FILE", "TLS_KEY_FILE")]

    def base_url(self, service: str) -> str:
        return self.stack.mint_base_url if service == "token_service" else self.stack.relay_base_urls[0]

    async def opened(self, service: str, tls: ssl.SSLContext | None) -> Connection:
        name = "localhost" if tls else None
        return await asyncio.open_connection(
            "localhost", urlsplit(self.base_url(service)).port, ssl=tls, server_hostname=name
        )

    @asynccontextmanager
    async def talking(self) -> AsyncIterator[Talk]:
        """A live session."""
        async with await connect(self.http, self.stack, await mint(self.http, self.stack)) as talk:
            await talk.until("session.created")
            yield talk

    async def shown(self, service: str) -> int:
        """The serial number of the certificate that a new connection is shown."""
        _, writer = await self.opened(service, self.authority.client_context())
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        return x509.load_der_x509_certificate(certificate).serial_number


@asynccontextmanager
async def serving_tls(
    folder: Path, simulator: Simulator, websocket_library: str, **settings: str
) -> AsyncIterator[Secured]:
    """The product while the block runs, with ``settings`` beside the usual ones."""
    authority = ThrowAwayAuthority(folder)
    environment = DEFAULTS | settings | {"WEBSOCKETS": websocket_library}
    connector = aiohttp.TCPConnector(limit=0, ssl=authority.client_context())
    with RedisServer() as redis:
        stack = Stack(folder, openai_base_url=simulator.base_url, redis=redis, authority=authority, **environment)
        await asyncio.to_thread(stack.__enter__)
        try:
            async with aiohttp.ClientSession(connector=connector) as http:
                yield Secured(stack, authority, http)
        finally:
            await asyncio.to_thread(stack.__exit__)
