"""Who may come in, as far as it can be told without I/O: Origin, upgrade, query, subprotocols, the token's text.

Every step is cheaper than the next, and nothing is spent before the token is redeemed (DESIGN: "Order of admission").
Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from multidict import CIMultiDictProxy, MultiMapping

from service_kit.errors import Refusal
from service_kit.session_token import (
    TOKEN_PREFIX,
    TRANSCRIPTION_TARGET,
    InvalidToken,
    SessionTokenCodec,
    TokenExpired,
    TokenKeys,
)

KEY_SUBPROTOCOL = "openai-insecure-api-key."
AIRLOCK_SUBPROTOCOL = "airlock.v1"
BETA_SUBPROTOCOL = "openai-beta.realtime-v1"
BETA_HEADER_VALUE = "realtime=v1"
REALTIME_SUBPROTOCOL = "realtime"

_CREDENTIAL_PARAMETERS = frozenset({"token", "api-key", "api_key", "access_token", "key", "authorization"})


@dataclass(frozen=True, slots=True)
class Ticket:
    """A connection whose token was proven genuine and in time; it is not redeemed yet.

    Attributes:
        keys: everything the token's id yields.
        expires_at: Unix seconds.
        target: the model (or ``intent=transcription``) that the client named; None if it named none.
        by_subprotocol: the client is one that cannot read a failed upgrade.
        subprotocol: what the upgrade selects; None for clients that offered nothing.
        speaks_airlock: it also wants our own events.
        speaks_beta: it announced that it speaks the beta protocol of 2024/25 (see :mod:`relay.beta`).
    """

    keys: TokenKeys
    expires_at: int
    origin: str | None
    target: str | None
    by_subprotocol: bool
    subprotocol: str | None
    speaks_airlock: bool
    speaks_beta: bool


class Expired(Refusal):
    """The token is genuine and its time is over: told so that the client can read it, after the upgrade if need be."""

    def __init__(self, *, by_subprotocol: bool) -> None:
        super().__init__("token_expired")
        self.by_subprotocol = by_subprotocol


def admit(
    version: tuple[int, int],
    headers: CIMultiDictProxy[str],
    query: MultiMapping[str],
    *,
    allowed_origins: Collection[str],
    codec: SessionTokenCodec,
    now: float,
) -> Ticket:
    """Judge a handshake; ``version`` is HTTP's. Raises Refusal, Expired for a token of ours whose time is over."""
    origin = _origin(headers, allowed_origins)
    _require_upgrade(version, headers)
    offered = subprotocols(headers.getall("Sec-WebSocket-Protocol", ()))
    speaks_beta = BETA_SUBPROTOCOL in offered or BETA_HEADER_VALUE in _listed(headers.getall("OpenAI-Beta", ()))
    target = _target(query, by_beta_helper=speaks_beta)
    if offered and REALTIME_SUBPROTOCOL not in offered:
        raise Refusal("invalid_request", message="Offer the subprotocol 'realtime'.")
    credential, by_subprotocol = _credential(headers, offered)
    try:
        token = codec.decode(credential, now)
    except InvalidToken as error:
        raise Refusal("invalid_token") from error
    except TokenExpired as error:
        raise Expired(by_subprotocol=by_subprotocol) from error
    return Ticket(
        keys=TokenKeys.of(token.secret),
        expires_at=token.expires_at,
        origin=origin,
        target=target,
        by_subprotocol=by_subprotocol,
        subprotocol=REALTIME_SUBPROTOCOL if offered else None,
        speaks_airlock=AIRLOCK_SUBPROTOCOL in offered,
        speaks_beta=speaks_beta,
    )


def subprotocols(lines: Sequence[str]) -> list[str]:
    """Every subprotocol offered, over all header lines in order."""
    return _listed(lines)


def _listed(lines: Sequence[str]) -> list[str]:
    return [each.strip() for line in lines for each in line.split(",") if each.strip()]


def _origin(headers: CIMultiDictProxy[str], allowed_origins: Collection[str]) -> str | None:
    origins = headers.getall("Origin", ())
    if len(origins) > 1 or (origins and origins[0] not in allowed_origins):
        raise Refusal("origin_not_allowed")
    return origins[0] if origins else None


def _require_upgrade(version: tuple[int, int], headers: CIMultiDictProxy[str]) -> None:
    """RFC 6455 §4.2.1; only version 13, though aiohttp would also take 7 and 8.

    No body: whoever stands before us could take for one what we would read as frames.
    """
    if version < (1, 1):
        raise Refusal("upgrade_required")
    if "Transfer-Encoding" in headers or set(headers.getall("Content-Length", ())) - {"0"}:
        raise Refusal("invalid_request", message="An upgrade has no body.")
    connection = {part.strip().lower() for part in ",".join(headers.getall("Connection", ())).split(",")}
    upgrades = [protocol.strip().lower() for protocol in headers.getall("Upgrade", ())]
    if upgrades != ["websocket"] or "upgrade" not in connection:
        raise Refusal("upgrade_required")
    if [version.strip() for version in headers.getall("Sec-WebSocket-Version", ())] != ["13"]:
        raise Refusal("upgrade_required")
    keys = headers.getall("Sec-WebSocket-Key", ())
    try:
        nonce = base64.b64decode(keys[0], validate=True) if len(keys) == 1 else b""
    except ValueError:
        nonce = b""
    if len(nonce) != 16:
        raise Refusal("invalid_request", message="The Sec-WebSocket-Key header is missing or not valid.")


def _target(query: MultiMapping[str], *, by_beta_helper: bool) -> str | None:
    """What the client wants to talk to; everything else in the query is ignored and never forwarded.

    The beta helpers of OpenAI's SDKs always name a model, so for them the intent alone counts.
    """
    for name, value in query.items():
        if name.lower() in _CREDENTIAL_PARAMETERS or name.startswith(TOKEN_PREFIX) or value.startswith(TOKEN_PREFIX):
            raise Refusal(
                "invalid_request",
                param=name.lower() if name.lower() in _CREDENTIAL_PARAMETERS else None,
                message="A credential never goes into the URL. Send it in the Authorization header or a subprotocol.",
            )
    if "call_id" in query:
        raise Refusal("unsupported_parameter", param="call_id")
    named = [*query.getall("model", ()), *query.getall("deployment", ())]
    if query.get("intent") == "transcription":
        if named and not by_beta_helper:
            raise Refusal("invalid_request", param="model", message="Name the model or the intent, not both.")
        return TRANSCRIPTION_TARGET
    if len(named) > 1:
        raise Refusal("invalid_request", param="model", message="Name the model once.")
    if named and any("\ud800" <= char <= "\udfff" for char in named[0]):  # bytes that were not UTF-8
        raise Refusal("invalid_request", param="model", message="The model's name is not valid text.")
    return named[0] if named else None


def _credential(headers: CIMultiDictProxy[str], offered: Sequence[str]) -> tuple[str, bool]:
    """The one credential, and whether it came as a subprotocol."""
    in_subprotocol = [offer.removeprefix(KEY_SUBPROTOCOL) for offer in offered if offer.startswith(KEY_SUBPROTOCOL)]
    in_headers = list(headers.getall("api-key", ()))
    for line in headers.getall("Authorization", ()):
        scheme, _, value = line.partition(" ")
        if scheme.lower() != "bearer":
            raise Refusal("invalid_token")
        in_headers.append(value.strip())
    found = in_subprotocol + in_headers
    if not found:
        raise Refusal("invalid_token")
    if len(found) > 1:
        raise Refusal("invalid_request", message="Send exactly one credential.")
    return found[0], bool(in_subprotocol)
