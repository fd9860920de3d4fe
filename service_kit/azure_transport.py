"""How Azure's asynchronous clients send: over our TLS context, straight, and with few and short second tries.

Their own ways fall short. ``connection_verify="ca.pem"`` trusts that file alone, not the machine's authorities too, and
reads it anew for each request; environment proxies are on; and ten tries with waits of up to two minutes would hold up
whoever asks. A ``Retry-After`` is obeyed however long it is, so bound each call with ``asyncio.timeout`` besides.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from azure.core.pipeline.transport import AioHttpTransport

SHORT_RETRIES: Final[Mapping[str, Any]] = {
    "retry_total": 2,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 1,
    "connection_timeout": 3,
    "read_timeout": 5,
}
"""Options of any Azure client. Who asks again later, in the background, needs no more."""


def open_transport(tls: ssl.SSLContext) -> AioHttpTransport:
    """A transport for one client, which closes it with itself; to be made while the loop runs."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls),  # what a client leaves at its default is decided here
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # the SDK does it
        trust_env=False,
    )
    return AioHttpTransport(session=session)
