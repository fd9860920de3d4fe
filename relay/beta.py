"""The beta protocol of 2024/25 and GA, event by event: a beta browser's into GA, the model's into the beta.

Policy, lock and meter see GA alone: what comes out of here for the model is judged like any other browser's event, so a
mistake here can lose an event but cannot widen the lock. The names are those of the protocol reference's §4. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.events import decode_model_event, encode
from service_kit import strict_json
from service_kit.beta_session import beta_path, named_in_beta, to_beta, to_ga

BETA_NAMES: Final = {
    "conversation.item.added": "conversation.item.created",
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
}
"""Events of the model that have another name in the beta."""

SAME_NAMES: Final = frozenset(
    {
        "error",
        "session.created",
        "session.updated",
        "conversation.created",
        "conversation.item.created",
        "conversation.item.retrieved",
        "conversation.item.truncated",
        "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "conversation.item.input_audio_transcription.failed",
        "input_audio_buffer.committed",
        "input_audio_buffer.cleared",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "output_audio_buffer.started",
        "output_audio_buffer.stopped",
        "output_audio_buffer.cleared",
        "rate_limits.updated",
        "response.created",
        "response.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.content_part.added",
        "response.content_part.done",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
    }
)
"""Events of the model that are called the same in both. Any other is not told: a beta client knows no more."""

TRANSCRIPTION_NAMES: Final = {
    "session.created": "transcription_session.created",
    "session.updated": "transcription_session.updated",
}

_PARTS: Final = {"text": "output_text", "audio": "output_audio"}
_BETA_PARTS: Final = {ga: beta for beta, ga in _PARTS.items()} | {
    each: each for each in ("input_text", "input_audio", "text", "audio")
}
_ITEMS: Final = ("message", "function_call", "function_call_output")
_OURS: Final = "airlock."
_APPEND: Final = b'{"type":"input_audio_buffer.append",'


def frame_to_ga(frame: bytes) -> bytes:
    """A beta browser's frame in GA's words; what is no event is left for others to refuse."""
    if frame.startswith(_APPEND):  # as in GA, and by far the commonest
        return frame
    try:
        event = strict_json.decode(frame)
    except strict_json.InvalidJson:
        return frame
    if not isinstance(event, dict):
        return frame
    translated = event_to_ga(event)
    return frame if translated is event else encode(translated)


def event_to_ga(event: dict[str, Any]) -> dict[str, Any]:
    """A beta browser's event in GA's words; the same object if it is called the same there."""
    match event:
        case {"type": "session.update", "session": dict(session)}:
            return event | {"session": {"type": "realtime", **to_ga(session)}}
        case {"type": "transcription_session.update", "session": dict(session)}:
            heard = to_ga(session)
            heard.pop("output_modalities", None)  # it says nothing, and GA does not have it here
            return event | {"type": "session.update", "session": {"type": "transcription", **heard}}
        case {"type": "transcription_session.update"}:
            return event | {"type": "session.update"}
        case {"type": "conversation.item.create", "item": dict(item)}:
            return event | {"item": _item_to_ga(item)}
        case {"type": "response.create", "response": dict(response)}:
            return event | {"response": _response_to_ga(response)}
    return event


def _response_to_ga(response: dict[str, Any]) -> dict[str, Any]:
    translated = to_ga(response)
    items = response.get("input")
    if isinstance(items, list):
        translated["input"] = [_item_to_ga(item) if isinstance(item, dict) else item for item in items]
    return translated


def _item_to_ga(item: dict[str, Any]) -> dict[str, Any]:
    match item:
        case {"role": "assistant", "content": list(parts)}:
            return item | {"content": [_part_to_ga(part) for part in parts]}
    return item


def _part_to_ga(part: Any) -> Any:
    match part:
        case {"type": str(kind)} if kind in _PARTS:
            return part | {"type": _PARTS[kind]}
    return part


def frame_to_beta(frame: bytes) -> bytes | None:
    """A frame meant for the browser in the beta's words; None if there are none for it."""
    event = decode_model_event(frame)
    shown = None if event is None else event_to_beta(event)
    return None if shown is None else encode(shown)


def event_to_beta(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """An event meant for the browser, of the model's or ours, in the beta's words; None if there are none for it."""
    event_type: str = event["type"]
    if event_type.startswith(_OURS):
        return dict(event)
    name = event_type if event_type in SAME_NAMES else BETA_NAMES.get(event_type)
    if name is None:
        return None
    shown = {**event, "type": name}
    match event:
        case {"type": "error", "error": {"param": str(param), **error}}:
            shown["error"] = {**error, "param": _param_to_beta(param)}
        case {"type": "session.created" | "session.updated", "session": dict(session)}:
            shown["session"] = to_beta(session)
            if session.get("type") == "transcription":
                shown["type"] = TRANSCRIPTION_NAMES[name]
        case {"response": dict(response)}:
            shown["response"] = _response_to_beta(response)
        case {"item": dict(item)}:
            shown_item = _item_to_beta(item)
            if shown_item is None:
                return None
            shown["item"] = shown_item
        case {"part": {"type": str(kind), **part}}:
            shown["part"] = {**part, "type": _BETA_PARTS.get(kind, kind)}
    return shown


def _param_to_beta(param: str) -> str:
    root, dot, path = param.partition(".")
    return root + dot + beta_path(path) if root in ("session", "response") else param


def _response_to_beta(response: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in response.items() if key not in ("output_modalities", "audio")}
    renamed = named_in_beta(response)
    renamed.pop("max_response_output_tokens", None)  # a response's own was called as it is now
    shown |= renamed
    output = response.get("output")
    if isinstance(output, list):
        items = (_item_to_beta(item) for item in output if isinstance(item, dict))
        shown["output"] = [item for item in items if item is not None]
    return shown


def _item_to_beta(item: dict[str, Any]) -> dict[str, Any] | None:
    if item.get("type") not in _ITEMS:
        return None
    parts = item.get("content")
    if not isinstance(parts, list):
        return item
    shown = [
        {**part, "type": _BETA_PARTS[part["type"]]}
        for part in parts
        if isinstance(part, dict) and part.get("type") in _BETA_PARTS
    ]
    return item | {"content": shown}
