"""What every server event has in common: an id, and for errors OpenAI's shape."""

import itertools
import secrets
from typing import Any

Json = dict[str, Any]

_serial = itertools.count(1)


def new_id(prefix: str) -> str:
    """Return an id such as ``item_000000012f3a9c…``: unique in this process, and between processes by chance."""
    return f"{prefix}_{next(_serial):09x}{secrets.token_hex(6)}"


class Refused(Exception):
    """A client event that the session answers with an ``error`` event; the session goes on."""

    def __init__(
        self, message: str, code: str | None = None, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.error: Json = {"type": kind, "code": code, "message": message, "param": param}


def error_event(error: Json, event_id: str | None = None) -> Json:
    """Return the ``error`` event for ``error``; ``event_id`` names the client event that caused it."""
    return {"type": "error", "event_id": new_id("event"), "error": {**error, "event_id": event_id}}
