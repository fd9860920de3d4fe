"""Dialling the model: the one module that knows its URLs, headers and ways of refusing.

Nothing of the client's request is passed on; redirects and environment proxies are off; no beta header is ever sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from relay.channel import Channel, NotConnected, WebSockets
from service_kit.errors import Refusal, Retry
from service_kit.provider import provider_name
from service_kit.session_token import Lock

DIAL_SECONDS: Final = 10.0
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

    def __init__(self, base_url: str, api_key: str, websockets: WebSockets) -> None:
        parts = urlsplit(base_url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        self._base_url = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/realtime", "", ""))
        self._api_key = api_key
        self._websockets = websockets
        self.provider = provider_name(base_url)

    @contextlib.asynccontextmanager
    async def dial(
        self, lock: Lock, safety_identifier: str, on_frame: Callable[[bytes], None]
    ) -> AsyncIterator[Channel]:
        """The model's end of the session, for as long as the block runs; ``on_frame`` gets its frames from the first.

        ``safety_identifier`` is the subject's pseudonym. Raises Refusal: ``upstream_busy``, ``upstream_unavailable``.
        """
        headers = {
            "Authorization": f"Bearer {self._api_key}",
            "OpenAI-Safety-Identifier": safety_identifier,
        }
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                channel = await self._websockets.connect(
                    self._url(lock), headers, on_frame, max_message_bytes=MAX_MODEL_MESSAGE_BYTES
                )
        except NotConnected as error:
            raise _refusal(error) from error
        except TimeoutError as error:
            raise Refusal("upstream_unavailable") from error
        async with channel:
            try:
                yield channel
            finally:
                await channel.close(_NORMAL, "")

    def _url(self, lock: Lock) -> str:
        if lock.session["type"] == "transcription":
            return f"{self._base_url}?{lock.target}"
        return f"{self._base_url}?model={quote(lock.model, safe='')}"


def _refusal(error: NotConnected) -> Refusal:
    if error.status == 429:
        return Refusal("upstream_busy", retry_after=_retry_after(error.retry_after), retry=Retry.SAME_TOKEN)
    if error.status in (401, 403):
        return AuthenticationFailed()
    return Refusal("upstream_unavailable")


def _retry_after(text: str) -> float:
    """A Retry-After header in seconds, within reason; dates are not read."""
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _MAX_RETRY_AFTER_SECONDS)
    return _BUSY_RETRY_AFTER_SECONDS
