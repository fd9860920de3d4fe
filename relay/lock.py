"""Locking a session: what we tell the model, and whether what it answers is what we told it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from service_kit.session_token import Lock

_MUST_COME_BACK: Final = ("instructions", "tools", "tool_choice")


def lock_update(lock: Lock) -> dict[str, Any]:
    """The ``session.update`` that locks the session; the model is fixed by the URL and is not sent."""
    session = {key: value for key, value in lock.session.items() if key != "model"}
    return {"type": "session.update", "session": session}


def mismatch(sent: Mapping[str, Any], confirmed: Mapping[str, Any]) -> str | None:
    """The path of the first field that we sent and that came back different; None if all agree.

    A service adds defaults, and may leave a field out of its answer; but instructions, tools and tool_choice must
    come back if we sent them.
    """
    for key in _MUST_COME_BACK:
        if key in sent and key not in confirmed:
            return key
    return _difference(sent, confirmed)


def _difference(sent: Mapping[str, Any], confirmed: Mapping[str, Any]) -> str | None:
    for key, value in sent.items():
        if key not in confirmed:
            continue
        other = confirmed[key]
        if isinstance(value, Mapping) and isinstance(other, Mapping):
            inner = _difference(value, other)
            if inner is not None:
                return f"{key}.{inner}"
        elif not _same(value, other):
            return key
    return None


def _same(sent: object, confirmed: object) -> bool:
    """Equal; numbers by value, objects inside lists key by key (a service may add defaults to a tool)."""
    if isinstance(sent, list) and isinstance(confirmed, list):
        return len(sent) == len(confirmed) and all(map(_same, sent, confirmed))
    if isinstance(sent, Mapping) and isinstance(confirmed, Mapping):
        return all(key in confirmed and _same(value, confirmed[key]) for key, value in sent.items())
    if isinstance(sent, bool) or isinstance(confirmed, bool):
        return sent is confirmed
    if isinstance(sent, int | float) and isinstance(confirmed, int | float):
        # A service that keeps 32-bit floats answers 0.6 with 0.60000002384.
        return math.isclose(sent, confirmed, rel_tol=1e-6)
    return sent == confirmed
