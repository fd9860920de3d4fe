"""The exchange that locks a session: the model greets, we set the session, it confirms.

Until it has greeted, another upstream may still be tried (:mod:`relay.upstreams`); from then on, none.

What counts as confirmed is decided in :mod:`relay.lock`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from relay.channel import Channel
from relay.deployments import Deployments
from relay.events import decode_model_event, encode
from relay.failover import Refused, refused_by_error
from relay.lock import lock_update, mismatch
from service_kit.session_fields import Session, merge
from service_kit.session_token import Lock

ANSWER_SECONDS: Final = 10.0
"""How long the model may take to answer the lock."""


class NotLocked(Exception):
    """The model did not confirm the lock.

    Attributes:
        why: for our logs.
        param: the field that came back different, if one did.
    """

    def __init__(self, why: str, *, param: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.param = param


async def greeting(events: asyncio.Queue[bytes]) -> Session:
    """The session as the model first has it; ``events`` holds what it sends.

    Other events are passed over; an error, or what is no event, is a no. Raises Refused.
    """
    while True:
        match decode_model_event(await events.get()):
            case {"type": "session.created", "session": dict(session)}:
                return session
            case {"type": "error", **event}:
                raise refused_by_error(event.get("error"))
            case None:
                raise Refused("no event")


async def confirm_lock(
    model: Channel, lock: Lock, created: Session, events: asyncio.Queue[bytes], deployments: Deployments
) -> Session:
    """Lock the session that the model ``created`` and make sure of it; the session as the model has it.

    ``events`` holds what the model sends. Raises NotLocked.
    """
    update = lock_update(lock)
    model.send(encode({**update, "session": deployments.to_service(update["session"])}))
    updated = deployments.from_service(await _answer(events))
    wrong = mismatch(update["session"], updated)
    if wrong is not None:
        raise NotLocked("lock not confirmed", param=wrong)
    return merge(created, updated)


async def _answer(events: asyncio.Queue[bytes]) -> dict[str, Any]:
    """The session object of the next ``session.updated``; other events are passed over, an error is not."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                match decode_model_event(await events.get()):
                    case {"type": "session.updated", "session": dict(session)}:
                        return session
                    case {"type": "error"}:
                        raise NotLocked("error instead of session.updated")
    except TimeoutError as error:
        raise NotLocked("no session.updated") from error
