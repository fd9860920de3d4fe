"""What a browser may see of the model's events: everything, less the configuration that is hidden.

Known events are scrubbed by type and unknown ones by field name, so that new event types keep working. Error texts of
the service are replaced, since they can hold key fragments and organisation ids (security reference §4.5). Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from service_kit.session_fields import scrub
from service_kit.session_token import Lock

_ERRORS: Final = {
    "cannot_update_voice": "The voice cannot change after the first audio of the assistant.",
    "conversation_already_has_active_response": "A response is in progress. Wait for it, or cancel it first.",
    "input_audio_buffer_commit_empty": "The audio buffer is too small to commit. Send more audio first.",
    "insufficient_quota": "The speech service has no quota left for this account.",
    "invalid_event": "The service did not accept the event.",
    "invalid_value": "The service did not accept a value of the event.",
    "item_not_found": "There is no such item in the conversation.",
    "missing_required_parameter": "A required field of the event is missing.",
    "model_not_found": "The model is not available.",
    "rate_limit_exceeded": "The speech service is limiting requests. Wait a moment.",
    "response_cancel_not_active": "There is no response to cancel.",
    "server_error": "The speech service had a problem. Try again.",
    "session_expired": "The session reached the service's time limit.",
    "unknown_parameter": "A field of the event is not known to the service.",
}
"""Codes of the service that clients act on (protocol reference §6), with our words."""

_UNKNOWN_ERROR: Final = "The speech service reported a problem with the last event."
_ERROR_TYPES: Final = frozenset({"invalid_request_error", "server_error", "rate_limit_error"})
_TOOL_ERROR_TYPES: Final = ("protocol_error", "http_error", "tool_execution_error")
_PARAM: Final = re.compile(
    r"(type|event_id|session|response|item|audio|item_id|previous_item_id|content_index|audio_end_ms)"
    r"(\.[a-z_]{1,40}|\[[0-9]{1,4}\]){0,8}"
)
_NOT_SHOWN: Final = frozenset({"rate_limits.updated"})


def show_to_browser(event: Mapping[str, Any], lock: Lock) -> dict[str, Any] | None:
    """The event as the browser may see it; None if it may not."""
    event_type = event["type"]
    if event_type in _NOT_SHOWN or event_type == "session.created":
        return None  # the one session.created is sent when the lock is confirmed
    shown = _without(event, lock.hide)
    if event_type == "conversation.item.input_audio_transcription.failed":
        shown["error"] = {
            key: value
            for key, value in show_error(event.get("error")).items()
            if key != "event_id" and value is not None
        }
    elif event_type == "error" or event.get("error") is not None:
        shown["error"] = show_error(event.get("error"))
    match event, shown:
        case {"response": {"status_details": {"error": said}}}, {"response": {"status_details": dict(details)}}:
            error = show_error(said)
            details["error"] = {key: error[key] for key in ("type", "code", "message")}
    return shown


def show_session(session: Mapping[str, Any], lock: Lock) -> dict[str, Any]:
    """A session object without what the lock hides."""
    return _without(session, lock.hide)


def show_error(error: object) -> dict[str, Any]:
    """An error of the service in our words: a known code or ``upstream_error``, no free text."""
    if not isinstance(error, Mapping):
        error = {}
    code = error.get("code")
    kind = error.get("type")
    if code is None and kind == "server_error":
        code = kind
    known = isinstance(code, str) and code in _ERRORS
    param = error.get("param")
    return {
        "type": kind if isinstance(kind, str) and kind in _ERROR_TYPES else "invalid_request_error",
        "code": code if known else "upstream_error",
        "message": _ERRORS[str(code)] if known else _UNKNOWN_ERROR,
        "param": param if isinstance(param, str) and _PARAM.fullmatch(param) else None,
        "event_id": error.get("event_id") if isinstance(error.get("event_id"), str) else None,
    }


def _without(value: Mapping[str, Any], hide: Collection[str]) -> dict[str, Any]:
    """A copy without the hidden paths at any depth. A client's own ``metadata`` is its own."""
    names = {path for path in hide if "." not in path}
    dotted = [path for path in hide if "." in path]

    def walk(node: Any) -> Any:
        if isinstance(node, Mapping):
            kept = scrub(node, dotted) if dotted else node
            return {
                key: item if key == "metadata" else _in_our_words(item) if key == "error" else walk(item)
                for key, item in kept.items()
                if key not in names
            }
        if isinstance(node, list):
            return [walk(item) for item in node]
        return node

    built: dict[str, Any] = walk(value)
    return built


def _in_our_words(error: Any) -> Any:
    """An error anywhere inside an event, such as a failed tool call's: its kind stays, its text does not."""
    if not isinstance(error, Mapping):
        return None if error is None else _UNKNOWN_ERROR
    kind = error.get("type")
    return {"type": kind if kind in _TOOL_ERROR_TYPES else "server_error", "message": _UNKNOWN_ERROR}
