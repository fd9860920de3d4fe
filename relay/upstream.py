"""Dialling the model: the one module that knows its URLs, headers and ways of refusing.

Nothing of the client's request is passed on; redirects and environment proxies are off; no beta header is ever sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from relay.channel import NotConnected, OpenChannel, WebSockets
from relay.deployments import Deployments
from relay.failover import BUSY_RETRY_AFTER_SECONDS, Refused
from relay.upstream_credentials import Credential, Headers
from service_kit.session_token import Lock
from service_kit.upstreams import UpstreamSettings

MAX_MODEL_MESSAGE_BYTES: Final = 22 * 1024 * 1024
_MAX_RETRY_AFTER_SECONDS: Final = 300.0


class Upstream:
    """One place that has models, in OpenAI's GA dialect.

    Attributes:
        name: what the operator calls it.
        provider: the name told to clients.
        credential: what it is dialled with.
    """

    def __init__(self, settings: UpstreamSettings, credential: Credential, websockets: WebSockets) -> None:
        parts = urlsplit(settings.base_url)
        scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
        self._base_url = urlunsplit((scheme, parts.netloc, parts.path.rstrip("/") + "/realtime", "", ""))
        self.credential = credential
        self._settings = settings
        self._websockets = websockets
        self.name = settings.name
        self.provider = settings.provider

    def has(self, model: str) -> bool:
        """Whether it has a deployment of this model."""
        return self._settings.deployment(model) is not None

    def deployments(self) -> Deployments:
        """How it calls the models of a new session."""
        return Deployments(self._settings.models or {})

    async def dial(
        self, lock: Lock, safety_identifier: str, authorization: Headers, on_frame: Callable[[bytes], None]
    ) -> OpenChannel:
        """The model's end of the session; ``on_frame`` gets its frames from the first.

        ``safety_identifier`` is the subject's pseudonym, ``authorization`` what its credential gave. Raises Refused;
        how long it may take is the caller's business.
        """
        headers = {**authorization, "OpenAI-Safety-Identifier": safety_identifier}
        try:
            return await self._websockets.connect(
                self._url(lock), headers, on_frame, max_message_bytes=MAX_MODEL_MESSAGE_BYTES
            )
        except NotConnected as error:
            raise _refused(error) from error

    def _url(self, lock: Lock) -> str:
        if lock.session["type"] == "transcription":
            return f"{self._base_url}?{lock.target}"
        return f"{self._base_url}?model={quote(self._settings.deployment(lock.model) or '', safe='')}"


def _refused(error: NotConnected) -> Refused:
    if error.status is None:
        return Refused(error.why)
    return Refused(
        f"HTTP {error.status}",
        bad_key=error.status in (401, 403),
        may_be_old_key=error.status == 401,
        retry_after=_retry_after(error.retry_after) if error.status == 429 else None,
    )


def _retry_after(text: str) -> float:
    """A Retry-After header in seconds, within reason; dates are not read."""
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _MAX_RETRY_AFTER_SECONDS)
    return BUSY_RETRY_AFTER_SECONDS
