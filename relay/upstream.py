"""Dialling the model: the one module that knows its URLs, headers and ways of refusing.

Nothing of the client's request is passed on; redirects and environment proxies are off; no beta header is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp
from aiohttp.typedefs import LooseHeaders

from relay.aiohttp_channel import CLOSE_SECONDS, HEARTBEAT_SECONDS, AiohttpChannel, UpstreamSocket
from relay.channel import Channel
from service_kit.errors import Refusal, Retry
from service_kit.session_token import Lock

DIAL_SECONDS: Final = 10.0
"""Dial, and first event: each of the two."""
MAX_MODEL_MESSAGE_BYTES: Final = 22 * 1024 * 1024
_NORMAL: Final = 1000
_BUSY_RETRY_AFTER_SECONDS: Final = 5.0
_MAX_RETRY_AFTER_SECONDS: Final = 300.0


class AuthenticationFailed(Refusal):
    """The service does not accept our key: an operator must act. The client is told that the service is away."""

    def __init__(self) -> None:
        super().__init__("upstream_unavailable")


class Upstream:
    """One provider of realtime models, in OpenAI's GA dialect.

    Attributes:
        provider: the name told to clients.
    """

    def __init__(self, base_url: str, api_key: str, http: aiohttp.ClientSession) -> None:
        parts = urlsplit(base_url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        self._base_url = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/realtime", "", ""))
        self._api_key = api_key
        self._http = http
        self.provider = provider_name(base_url)

    @contextlib.asynccontextmanager
    async def dial(
        self, lock: Lock, safety_identifier: str, on_frame: Callable[[bytes], None]
    ) -> AsyncIterator[Channel]:
        """The model's end of the session, for as long as the block runs; ``on_frame`` gets its frames from the first.

        ``safety_identifier`` is the subject's pseudonym. Raises Refusal: ``upstream_busy``, ``upstream_unavailable``.
        """
        headers: LooseHeaders = {
            "Authorization": f"Bearer {self._api_key}",
            "OpenAI-Safety-Identifier": safety_identifier,
        }
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                socket = await self._http.ws_connect(
                    self._url(lock),
                    headers=headers,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                    autoclose=False,
                    autoping=False,
                    heartbeat=HEARTBEAT_SECONDS,
                    max_msg_size=MAX_MODEL_MESSAGE_BYTES,
                    decode_text=False,
                )
        except aiohttp.WSServerHandshakeError as error:
            raise _refusal(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Refusal("upstream_unavailable") from error
        assert isinstance(socket, UpstreamSocket)  # noqa: S101 - the client session makes no other
        channel = AiohttpChannel(socket, socket.transport)
        channel.on_frame = on_frame
        async with channel:
            try:
                yield channel
            finally:
                await channel.close(_NORMAL, "")

    def _url(self, lock: Lock) -> str:
        if lock.session["type"] == "transcription":
            return f"{self._base_url}?{lock.target}"
        return f"{self._base_url}?model={quote(lock.model, safe='')}"


def provider_name(base_url: str) -> str:
    """What the provider behind a base URL is called towards clients."""
    host = urlsplit(base_url).hostname or ""
    if host == "api.openai.com":
        return "OpenAI"
    if host in ("127.0.0.1", "localhost", "::1"):
        return "simulator"
    return host


def _refusal(error: aiohttp.WSServerHandshakeError) -> Refusal:
    if error.status == 429:
        return Refusal("upstream_busy", retry_after=_retry_after(error), retry=Retry.SAME_TOKEN)
    if error.status in (401, 403):
        return AuthenticationFailed()
    return Refusal("upstream_unavailable")


def _retry_after(error: aiohttp.WSServerHandshakeError) -> float:
    """Its Retry-After in seconds, within reason; dates are not read."""
    text = error.headers.get("Retry-After", "") if error.headers else ""
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _MAX_RETRY_AFTER_SECONDS)
    return _BUSY_RETRY_AFTER_SECONDS


def open_client(user_agent: str) -> aiohttp.ClientSession:
    """The one HTTP client of the process: one TLS context, no cookies, no redirects, no second try."""

    async def refuse_redirect(*_: Any) -> None:
        raise aiohttp.ClientError("redirects are off")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_redirect.append(refuse_redirect)
    client = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": user_agent},
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[tracing],
        trust_env=False,
        ws_response_class=UpstreamSocket,
    )
    # aiohttp dials once more, unasked, when the connection breaks before an answer; one dial per client's try is ours.
    client._retry_connection = False  # noqa: SLF001 - aiohttp has no public switch
    return client
