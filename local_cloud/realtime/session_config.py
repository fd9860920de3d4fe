"""The session object: its defaults, what a client may set in it, and how an update is merged (protocol: GA, 2026-11).

Only present fields change; ``audio``, ``audio.input`` and ``audio.output`` are merged key by key, all else is replaced.
"""

import copy

from local_cloud.realtime.events import Json, Refused
from local_cloud.realtime.schema import check
from local_cloud.realtime.session_shapes import (
    FunctionTool,
    McpTool,
    RealtimeSession,
    ResponseParameters,
    SemanticVad,
    ServerVad,
    TranscriptionSession,
)

DEFAULT_INSTRUCTIONS = "You are a simulated voice. Say how long you were spoken to."


def new_session(session_id: str, model: str, expires_at: int) -> Json:
    """Return a conversation's session object before any update."""
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": DEFAULT_INSTRUCTIONS,
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": _new_input(),
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def new_transcription_session(session_id: str, expires_at: int) -> Json:
    """Return a transcription session's object before any update."""
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": session_id,
        "expires_at": expires_at,
        "audio": {"input": _new_input()},
        "include": None,
    }


def _new_input() -> Json:
    return {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": None,
        "noise_reduction": None,
        "turn_detection": _with_defaults({"type": "server_vad"}),
    }


def updated(session: Json, update: Json, *, voice_is_fixed: bool) -> Json:
    """Return ``session`` with a client's ``update`` merged in; neither argument is changed.

    Raises:
        Refused: the update holds something unknown, malformed or no longer changeable; nothing of it is applied.
    """
    if "type" not in update:
        raise Refused("Missing required parameter: 'session.type'.", "missing_required_parameter", "session.type")
    if update["type"] != session["type"]:
        raise Refused(f"Passing '{update['type']}' is not allowed here.", "invalid_value", "session.type")
    check(update, RealtimeSession if session["type"] == "realtime" else TranscriptionSession, "session")
    for index, tool in enumerate(update.get("tools") or []):
        check(tool, FunctionTool | McpTool, f"session.tools[{index}]")
    if update.get("model", session.get("model")) != session.get("model"):
        raise Refused("The model of a running session cannot be changed.", "invalid_value", "session.model")
    merged = copy.deepcopy(session)
    _merge(merged, update)
    if voice_is_fixed and merged["audio"]["output"]["voice"] != session["audio"]["output"]["voice"]:
        raise Refused(
            "Cannot update a conversation's voice if assistant audio is present.",
            "cannot_update_voice",
            "session.voice",
        )
    return merged


_MERGED = {"audio", "input", "output"}
_CLEARED_BY_NULL = {"transcription", "noise_reduction", "turn_detection", "tracing", "prompt", "include"}


def _merge(into: Json, update: Json) -> None:
    for key, value in update.items():
        if key in _MERGED and isinstance(value, dict):
            _merge(into[key], value)
        elif key == "turn_detection" and value is not None:
            into[key] = _with_defaults(value)
        elif key == "format" and value == {"type": "audio/pcm"}:
            into[key] = {"type": "audio/pcm", "rate": 24000}
        elif key == "noise_reduction" and value is not None:
            strength = (into[key] or {}).get("strength", 1.0)
            into[key] = {"strength": strength, **value}
        elif value is not None or key in _CLEARED_BY_NULL:
            into[key] = copy.deepcopy(value)


def _with_defaults(turn_detection: Json) -> Json:
    kind = SemanticVad if turn_detection["type"] == "semantic_vad" else ServerVad
    defaults = {field: getattr(kind(), field) for field in kind.__struct_fields__}
    return {"type": turn_detection["type"], **defaults, **copy.deepcopy(turn_detection)}


_NOT_IN_A_SESSION = {"conversation", "input", "metadata"}


def for_response(session: Json, parameters: Json) -> Json:
    """Return the session as one response sees it: with the parameters of its ``response.create`` laid over.

    Raises:
        Refused: a parameter is unknown or malformed.
    """
    check(parameters, ResponseParameters, "response")
    for index, tool in enumerate(parameters.get("tools") or []):
        check(tool, FunctionTool | McpTool, f"response.tools[{index}]")
    merged = copy.deepcopy(session)
    _merge(merged, {key: value for key, value in parameters.items() if key not in _NOT_IN_A_SESSION})
    return merged
