"""The exchange that locks a session: the model greets, we set the session, it confirms.

What counts as confirmed is decided in :mod:`relay.lock`.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from relay.channel import Channel
from relay.events import decode_model_event, encode
from relay.lock import lock_update, mismatch
from service_kit.session_fields import Session, merge
from service_kit.session_token import Lock

ANSWER_SECONDS: Final = 10.0
"""How long the model may take for its first event, and again to answer the lock."""


class NotLocked(Exception):
    """The model did not confirm the lock.

    Attributes:
        why: for our logs.
        param: the field that came back different, if one did.
        bad_key: the model does not accept our key.
    """

    def __init__(self, why: str, *, param: str | None = None, bad_key: bool = False) -> None:
        super().__init__(why)
        self.why = why
        self.param = param
        self.bad_key = bad_key


async def confirm_lock(model: Channel, lock: Lock, events: asyncio.Queue[bytes]) -> Session:
    """Lock the session and make sure of it; the session as the model has it.

    ``events`` holds what the model sends. Raises NotLocked.
    """
    created = await _expect("session.created", events)
    update = lock_update(lock)
    model.send(encode(update))
    updated = await _expect("session.updated", events)
    wrong = mismatch(update["session"], updated)
    if wrong is not None:
        raise NotLocked("lock not confirmed", param=wrong)
    return merge(created, updated)


async def _expect(event_type: str, events: asyncio.Queue[bytes]) -> dict[str, Any]:
    """The session object of the next event of this type; other events are passed over, an error is not."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                match decode_model_event(await events.get()):
                    case {"type": str(seen), "session": dict(session)} if seen == event_type:
                        return session
                    case {"type": "error", "error": {"code": "invalid_api_key"}}:
                        raise NotLocked("invalid_api_key", bad_key=True)
                    case {"type": "error"}:
                        raise NotLocked(f"error instead of {event_type}")
    except TimeoutError as error:
        raise NotLocked(f"no {event_type}") from error
