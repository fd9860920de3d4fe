"""The one table of refusals and endings: what may go wrong, and what each side of the wire is told.

A *refusal* is "we said no" before or during a session; an *ending* is why a session stopped. Both say the same
public ``code``, so one row carries HTTP status, WebSocket close code, ending, message and retry hint
(DESIGN: "HTTP contract" and "A session's life"). Messages say what to do next, never what failed inside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_CLOSE_REASON_BYTES: Final = 123
"""RFC 6455 §5.5: a control frame's payload is at most 125 bytes, two of them the close code."""


class Retry(StrEnum):
    """Whether trying again helps, and with which token."""

    NO = "no"
    LATER = "later"
    NEW_TOKEN = "with a new token"  # noqa: S105 - a hint, not a secret
    SAME_TOKEN = "with the same token while it lasts"  # noqa: S105 - a hint, not a secret
    AFTER = "after retry_after"


class Ending(StrEnum):
    """Why a session stopped; every session has exactly one."""

    BROWSER_CLOSED = "browser_closed"
    BROWSER_VANISHED = "browser_vanished"
    MODEL_CLOSED = "model_closed"
    MODEL_FAILED = "model_failed"
    NOT_LOCKED = "not_locked"
    TIME_LIMIT = "time_limit"
    IDLE = "idle"
    BUDGET = "budget"
    QUOTA = "quota"
    REVOKED = "revoked"
    REPLAYED = "replayed"
    POLICY = "policy"
    PROTOCOL_ERROR = "protocol_error"
    SLOW_CONSUMER = "slow_consumer"
    LEASE_LOST = "lease_lost"
    DRAINING = "draining"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One public code and everything that is said with it.

    ``http`` is None where nothing can be said over HTTP any more; ``close`` is None where the connection lives on
    or was never upgraded. ``endings`` names the endings that are told with this code.
    """

    code: str
    http: int | None
    close: int | None
    retry: Retry
    message: str
    endings: tuple[Ending, ...] = ()

    @property
    def type(self) -> str:
        """The error's ``type`` in OpenAI's shape, which its SDKs map to exception classes."""
        if self.code in ("budget_exhausted", "quota_exhausted"):
            return "insufficient_quota"
        if self.retry is Retry.AFTER and self.http == 429:
            return "rate_limit_error"
        if (self.http or 0) >= 500 or self.close in (1011, 1012, 1013):
            return "server_error"
        return "invalid_request_error"


_ROWS: Final = (
    Row(
        code="invalid_request",
        http=400,
        close=4400,
        retry=Retry.NO,
        message="The request is not valid. Correct it and send it again.",
    ),
    Row(
        code="unsupported_parameter",
        http=400,
        close=4400,
        retry=Retry.NO,
        message="A parameter is not supported here. Leave it out and send the request again.",
    ),
    Row(
        code="beta_api_shape_disabled",
        http=400,
        close=4400,
        retry=Retry.NO,
        message="The beta protocol is not spoken here. Use the GA protocol: client_secrets, and no 'OpenAI-Beta'.",
    ),
    Row(
        code="invalid_token",
        http=401,
        close=4401,
        retry=Retry.NEW_TOKEN,
        message="The credential is not valid. Get a new session token and connect again.",
    ),
    Row(
        code="token_expired",
        http=401,
        close=4401,
        retry=Retry.NEW_TOKEN,
        message="The session token has expired. Get a new one and connect again.",
    ),
    Row(
        code="token_used",
        http=401,
        close=4401,
        retry=Retry.NEW_TOKEN,
        message="The session token has been used. Tokens work once: get a new one and connect again.",
    ),
    Row(
        code="token_revoked",
        http=401,
        close=4401,
        retry=Retry.NEW_TOKEN,
        message="The session token was revoked. Get a new one and connect again.",
    ),
    Row(
        code="budget_exhausted",
        http=402,
        close=4402,
        retry=Retry.LATER,
        message="This session has used what it was allowed. Start a new session later.",
        endings=(Ending.BUDGET,),
    ),
    Row(
        code="quota_exhausted",
        http=402,
        close=4402,
        retry=Retry.LATER,
        message="The allowance for today is used up. Try again tomorrow.",
        endings=(Ending.QUOTA,),
    ),
    Row(
        code="edge_not_allowed",
        http=403,
        close=4403,
        retry=Retry.NO,
        message="This address is not served directly. Use the public address of the service.",
    ),
    Row(
        code="origin_not_allowed",
        http=403,
        close=4403,
        retry=Retry.NO,
        message="This site may not use the service with this credential. Use the site the token was made for.",
    ),
    Row(
        code="model_mismatch",
        http=403,
        close=4403,
        retry=Retry.NO,
        message="The session token is for another model. Connect with the model it was made for, or name none.",
    ),
    Row(
        code="session_revoked",
        http=403,
        close=4403,
        retry=Retry.NO,
        message="The session was ended by an operator.",
        endings=(Ending.REVOKED, Ending.REPLAYED),
    ),
    Row(
        code="blocked",
        http=403,
        close=4403,
        retry=Retry.NO,
        message="Access is blocked. Ask the operator.",
        endings=(Ending.REVOKED,),
    ),
    Row(code="not_found", http=404, close=None, retry=Retry.NO, message="There is nothing at this address."),
    Row(
        code="method_not_allowed",
        http=405,
        close=None,
        retry=Retry.NO,
        message="This address does not answer this method. The Allow header lists those it answers.",
    ),
    Row(
        code="request_timeout",
        http=408,
        close=None,
        retry=Retry.NO,
        message="The request took too long to arrive. Send it again in one piece.",
    ),
    Row(code="body_too_large", http=413, close=None, retry=Retry.NO, message="The request body is too large."),
    Row(
        code="unsupported_media_type",
        http=415,
        close=None,
        retry=Retry.NO,
        message="Send the body as application/json, without Content-Encoding.",
    ),
    Row(
        code="upgrade_required",
        http=426,
        close=None,
        retry=Retry.NO,
        message="This address speaks WebSocket version 13. Connect with a WebSocket client.",
    ),
    Row(
        code="headers_too_large",
        http=431,
        close=None,
        retry=Retry.NO,
        message="The request headers are too large. Send fewer or shorter ones.",
    ),
    Row(
        code="invalid_event",
        http=None,
        close=None,
        retry=Retry.NO,
        message="The event is not valid and was not forwarded. Send one JSON object of a known type per message.",
    ),
    Row(
        code="event_not_allowed",
        http=None,
        close=None,
        retry=Retry.NO,
        message="This event is not allowed in this session and was not forwarded.",
    ),
    Row(
        code="field_locked",
        http=None,
        close=None,
        retry=Retry.NO,
        message="A field of the event is locked in this session; the event was not forwarded.",
    ),
    Row(
        code="response_limit",
        http=None,
        close=None,
        retry=Retry.NO,
        message="Too many responses are in progress. Wait for one to finish.",
    ),
    Row(
        code="idle_timeout",
        http=None,
        close=4408,
        retry=Retry.NEW_TOKEN,
        message="The session ended because nothing was said for a while. Start a new one.",
        endings=(Ending.IDLE,),
    ),
    Row(
        code="slow_consumer",
        http=None,
        close=4408,
        retry=Retry.NEW_TOKEN,
        message="The session ended because the connection was too slow. Start a new one.",
        endings=(Ending.SLOW_CONSUMER,),
    ),
    Row(
        code="session_limit_reached",
        http=None,
        close=4410,
        retry=Retry.NEW_TOKEN,
        message="The session reached its time limit. Start a new one.",
        endings=(Ending.TIME_LIMIT,),
    ),
    Row(
        code="rate_limited",
        http=429,
        close=4429,
        retry=Retry.AFTER,
        message="Too much, too fast. Wait, then try again.",
        endings=(Ending.POLICY,),
    ),
    Row(
        code="too_many_sessions",
        http=429,
        close=4429,
        retry=Retry.AFTER,
        message="Too many sessions are live. End one, or wait, then try again.",
    ),
    Row(
        code="policy_violation",
        http=None,
        close=1008,
        retry=Retry.NO,
        message="The session ended because too many events were refused.",
        endings=(Ending.POLICY,),
    ),
    Row(
        code="message_too_big",
        http=None,
        close=1009,
        retry=Retry.NO,
        message="The session ended because a message was too big. Send audio in smaller pieces.",
        endings=(Ending.PROTOCOL_ERROR,),
    ),
    Row(
        code="invalid_frame",
        http=None,
        close=1002,
        retry=Retry.NO,
        message="The session ended because a frame was not a valid WebSocket text message.",
        endings=(Ending.PROTOCOL_ERROR,),
    ),
    Row(
        code="upstream_unavailable",
        http=None,
        close=1011,
        retry=Retry.SAME_TOKEN,
        message="The speech service is not answering. Try again.",
        endings=(Ending.MODEL_FAILED, Ending.NOT_LOCKED),
    ),
    Row(
        code="upstream_closed",
        http=None,
        close=1011,
        retry=Retry.NEW_TOKEN,
        message="The speech service ended the session. Start a new one.",
        endings=(Ending.MODEL_CLOSED, Ending.MODEL_FAILED),
    ),
    Row(
        code="upstream_busy",
        http=None,
        close=1013,
        retry=Retry.AFTER,
        message="The speech service is busy. Wait, then try again.",
        endings=(Ending.MODEL_FAILED,),
    ),
    Row(
        code="draining",
        http=503,
        close=1012,
        retry=Retry.AFTER,
        message="The service is restarting. Connect again in a moment.",
        endings=(Ending.DRAINING,),
    ),
    Row(
        code="unavailable",
        http=503,
        close=1013,
        retry=Retry.AFTER,
        message="The service cannot take this right now. Wait, then try again.",
    ),
    Row(
        code="lease_lost",
        http=503,
        close=1013,
        retry=Retry.AFTER,
        message="The session could not be kept. Wait, then start a new one.",
        endings=(Ending.LEASE_LOST,),
    ),
    Row(
        code="internal_error",
        http=500,
        close=1011,
        retry=Retry.LATER,
        message="Something went wrong on our side. Try again later and report the request id if it persists.",
        endings=(Ending.INTERNAL_ERROR,),
    ),
)

TABLE: Final[dict[str, Row]] = {row.code: row for row in _ROWS}


class Refusal(Exception):
    """We said no: one row of the table, with what the caller may be told about this case.

    ``param`` names the offending field in OpenAI's dotted form; ``message`` replaces the row's text where a more
    exact one helps the caller; ``retry_after`` is in seconds; ``event_id`` echoes the refused client event;
    ``retry`` replaces the row's hint (a token that cannot be given back needs a new one). ``close`` replaces the
    row's close code where a code has several (1002, 1003, 1007).
    """

    def __init__(
        self,
        code: str,
        *,
        param: str | None = None,
        message: str | None = None,
        retry_after: float | None = None,
        event_id: str | None = None,
        retry: Retry | None = None,
        close: int | None = None,
    ) -> None:
        super().__init__(code)
        self.row = TABLE[code]
        self.param = param
        self.message = message or self.row.message
        self.retry_after = retry_after
        self.event_id = event_id
        self.retry = retry or self.row.retry
        self.close = close or self.row.close

    @property
    def code(self) -> str:
        """The public code."""
        return self.row.code

    def body(self, request_id: str) -> dict[str, object]:
        """The HTTP answer in OpenAI's shape."""
        return {"error": self._error(request_id)}

    def event(self, request_id: str, event_id: str) -> dict[str, object]:
        """The ``error`` event in OpenAI's shape; ``event_id`` is the new event's own id."""
        return {"type": "error", "event_id": event_id, "error": {**self._error(request_id), "event_id": self.event_id}}

    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer; a 401 must name the scheme it wants (RFC 9110 §15.5.2)."""
        headers = {"WWW-Authenticate": "Bearer"} if self.row.http == 401 else {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return headers

    def _error(self, request_id: str) -> dict[str, object]:
        error: dict[str, object] = {
            "type": self.row.type,
            "code": self.row.code,
            "message": f"{self.message} (request {request_id})",
            "param": self.param,
        }
        if self.retry is not Retry.NO:
            error["retry"] = self.retry.value
        if self.retry_after is not None:
            error["retry_after"] = max(1, math.ceil(self.retry_after))
        return error


def close_reason(text: str) -> bytes:
    """``text`` as a close frame's reason: at most 123 bytes of UTF-8, cut between characters."""
    return text.encode()[:MAX_CLOSE_REASON_BYTES].decode(errors="ignore").encode()
