"""Which upstream is tried, for how long, and what the client is told when none of them serves. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from service_kit.errors import Refusal, Retry

DIALS_SECONDS: Final = 10.0
"""All dials of one session together."""
PATIENCE_SECONDS: Final = 3.0
"""One dial, while there is another upstream to try."""


BUSY_RETRY_AFTER_SECONDS: Final = 5.0
"""For an upstream that is busy and does not say for how long."""
_RATE_LIMITS: Final = frozenset({"rate_limit_exceeded", "rate_limit_error"})
"""What an error about a rate limit has as its code or type (protocol reference §6); a spent quota is none."""


class Refused(Exception):
    """An upstream did not begin a session.

    Attributes:
        why: for our logs.
        bad_key: it does not accept our key: an operator must act.
        may_be_old_key: the key was good once, perhaps, and there may be a new one.
        retry_after: the seconds after which it may have time again, if it said that it is busy.
    """

    def __init__(
        self, why: str, *, bad_key: bool = False, may_be_old_key: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(why)
        self.why = why
        self.bad_key = bad_key
        self.may_be_old_key = may_be_old_key
        self.retry_after = retry_after


def refused_by_error(error: object) -> Refused:
    """The refusal in the ``error`` event that a service sends in place of ``session.created``.

    OpenAI accepts the upgrade first and refuses then (protocol reference §1.6), so this is also its 401 and its 429.
    """
    match error:
        case {"code": "invalid_api_key"}:
            return Refused("invalid_api_key", bad_key=True, may_be_old_key=True)
        case {**fields} if _RATE_LIMITS & {str(fields.get("code")), str(fields.get("type"))}:
            return Refused("rate limited", retry_after=BUSY_RETRY_AFTER_SECONDS)
    return Refused("error instead of session.created")


def patience(seconds_left: float, *, others_left: int) -> float:
    """How long the next dial may take, with ``seconds_left`` for it and the ``others_left`` together."""
    return min(PATIENCE_SECONDS, seconds_left) if others_left else seconds_left


def refusal(refused: Sequence[Refused]) -> Refusal:
    """What the client is told when those that were tried, in order, all refused.

    It is told to wait if the last one was busy; how long, the soonest says if all were.
    """
    last = refused[-1].retry_after if refused else None
    if last is None:
        return Refusal("upstream_unavailable")
    seconds = [reason.retry_after for reason in refused if reason.retry_after is not None]
    soonest = min(seconds) if len(seconds) == len(refused) else last
    return Refusal("upstream_busy", retry_after=soonest, retry=Retry.SAME_TOKEN)
