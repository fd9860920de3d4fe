"""Why a session stopped, and what that means for the browser: event, close code, reason. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.channel import ChannelEnd, How
from service_kit.errors import TABLE, Ending, Refusal, Retry

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
TOO_BIG: Final = 1009
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006

_RETRY_AFTER_SECONDS: Final = {Ending.DRAINING: 2.0, Ending.LEASE_LOST: 10.0}

# Endings with one row in the error table are told by it; these have several, and this is the usual one.
_USUAL_CODE: Final = {
    Ending.MODEL_FAILED: "upstream_closed",
    Ending.POLICY: "policy_violation",
    Ending.PROTOCOL_ERROR: "invalid_frame",
    Ending.REVOKED: "session_revoked",
}
_CODE: Final = {ending: row.code for row in TABLE.values() for ending in row.endings} | _USUAL_CODE


@dataclass(frozen=True, slots=True)
class Over:
    """The one ending of a session.

    ``told`` is what the browser is told before the close frame; ``close_code`` is how its connection closes, which
    for 1005 and 1006 is only noted (RFC 6455 §7.4.1 keeps them off the wire).
    """

    ending: Ending
    told: Refusal | None
    close_code: int

    @property
    def code(self) -> str | None:
        """The public code, if the browser is told one."""
        return self.told.code if self.told else None


def over_by(ending: Ending, told: Refusal | None = None) -> Over:
    """The ending as its row in the error table says it; ``told`` replaces the row's refusal."""
    if told is None and ending in _CODE:
        told = Refusal(_CODE[ending], retry_after=_RETRY_AFTER_SECONDS.get(ending))
    return Over(ending, told, (told.close if told else None) or NORMAL)


def over_by_browser(end: ChannelEnd) -> Over:
    """How the session ends when the browser's end is gone."""
    match end:
        case ChannelEnd(How.CLOSED, code):
            return Over(Ending.BROWSER_CLOSED, None, code or NO_STATUS)
        case ChannelEnd(How.INVALID, code) if code == TOO_BIG:
            return over_by(Ending.PROTOCOL_ERROR, Refusal("message_too_big"))
        case ChannelEnd(How.INVALID, code):
            return over_by(Ending.PROTOCOL_ERROR, Refusal("invalid_frame", close=code))
    return Over(Ending.BROWSER_VANISHED, None, ABNORMAL)


def over_by_model(end: ChannelEnd, *, is_live: bool) -> Over:
    """How the session ends when the model's end is gone: its class of close code is kept, its text never."""
    if not is_live:
        return over_by(Ending.MODEL_FAILED, Refusal("upstream_unavailable"))
    match end:
        case ChannelEnd(How.CLOSED, 1000):
            return Over(Ending.MODEL_CLOSED, None, NORMAL)
        case ChannelEnd(How.CLOSED, 1001):
            return Over(Ending.MODEL_CLOSED, Refusal("upstream_closed"), GOING_AWAY)
        case ChannelEnd(How.CLOSED):
            return over_by(Ending.MODEL_CLOSED)
    return over_by(Ending.MODEL_FAILED)


def without_token(told: Refusal) -> None:
    """The token cannot be used again: make the hint say so."""
    if told.retry in (Retry.AFTER, Retry.SAME_TOKEN):
        told.retry = Retry.NEW_TOKEN
