"""The relay under test, as the command line describes it, and the handshakes that clients ask it for. Pure."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import ssl
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from yarl import URL

Carriage = Literal["subprotocol", "header", "api-key"]
"""How a client shows its credential: as browsers must, in the Authorization header, or as Azure's clients do."""

CARRIAGES: tuple[Carriage, ...] = get_args(Carriage)
KEY_SUBPROTOCOL = "openai-insecure-api-key."
_WEBSOCKET_KEY = "Y29uZm9ybWFuY2Uga2l0IQ=="
WEBSOCKET_ACCEPT = base64.b64encode(
    hashlib.sha1(f"{_WEBSOCKET_KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
).decode()
"""What confirms an upgrade with that key (RFC 6455 §4.2.2)."""
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {_WEBSOCKET_KEY}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """Where a credential for each session comes from.

    Attributes:
        url: asked by POST, with these headers and this JSON body.
        value: where the credential stands in the answer: keys joined by dots.
        short_seconds: the shortest life that can be asked for by OpenAI's ``expires_after``.
    """

    url: URL
    headers: Mapping[str, str] = field(repr=False)
    body: Mapping[str, Any]
    value: str = "value"
    short_seconds: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is tested, and what its operator says about it.

    Attributes:
        relay: the address that clients connect to, without query.
        mint: None where every session has the same ``credential``.
        origin: of the page that clients say they are; None for clients that name none.
        model: the one that clients name.
        open_fields: what the relay means to leave to clients, as paths into OpenAI's session object.
        session_seconds: how long a session may last there.
        patience: seconds to wait for what should happen at once.
        logs: files that the relay writes, or wrote.
    """

    relay: URL
    mint: Mint | None
    credential: str | None = field(repr=False)
    carriage: Carriage = "subprotocol"
    origin: str | None = None
    model: str = "gpt-realtime-2.1"
    open_fields: Set[str] = frozenset()
    session_seconds: float = 15.0
    patience: float = 5.0
    logs: Sequence[Path] = ()
    tls: ssl.SSLContext | None = None

    @property
    def relay_tls(self) -> ssl.SSLContext | None:
        """What to connect to the relay with; the mint may be elsewhere."""
        return self.tls if self.relay.scheme == "wss" else None

    def lines(
        self,
        credential: str | None,
        *,
        carriage: Carriage | None = None,
        origin: str | None = "usual",
        upgrade: Sequence[str] = UPGRADE,
        extra: Sequence[str] = (),
    ) -> list[str]:
        """The header lines of a handshake."""
        lines = [f"Host: {self.relay.authority}", *upgrade, *extra]
        named = self.origin if origin == "usual" else origin
        if named is not None:
            lines.append(f"Origin: {named}")
        if credential is not None:
            lines.append(credential_line(credential, carriage or self.carriage))
        return lines


def credential_line(credential: str, carriage: Carriage) -> str:
    """The header line that shows a credential."""
    match carriage:
        case "header":
            return f"Authorization: Bearer {credential}"
        case "api-key":
            return f"api-key: {credential}"
    return f"Sec-WebSocket-Protocol: realtime, {KEY_SUBPROTOCOL}{credential}"


def is_loopback(url: URL) -> bool:
    """Whether nobody but this machine is meant."""
    if url.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.host or "").is_loopback
    except ValueError:
        return False


def value_at(answer: object, path: str) -> object:
    """What stands at a path of keys in an answer; None where there is nothing."""
    for key in path.split("."):
        if not isinstance(answer, Mapping):
            return None
        answer = answer.get(key)
    return answer
