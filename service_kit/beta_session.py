"""The session object of the beta, which is flat, and GA's: each from the other (protocol reference §4.4).

Nothing is judged here: a value that fits neither is passed on as it is, and named by whoever checks GA's. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from service_kit.session_fields import TRANSCRIPTION, Session, known_leaves, merge, unflatten

GA_PATHS: Final = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "speed": "audio.output.speed",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": TRANSCRIPTION,
    "input_audio_noise_reduction": "audio.input.noise_reduction",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}
"""Where GA has what the beta has under another name."""
SAME: Final = ("id", "object", "expires_at", "model", "instructions", "tools", "tool_choice", "tracing", "include")
"""What both have under one name; shown to a beta client beside what has another."""
GONE: Final = frozenset({"temperature", "client_secret"})
"""What a beta client sends and GA has no place for: left out."""

_FORMATS: Final[dict[str, Session]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24_000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
_FORMAT_NAMES: Final = {shape["type"]: name for name, shape in _FORMATS.items()}


def to_ga(flat: Mapping[str, object]) -> Session:
    """The GA form of a beta session, or of a beta ``response.create``'s response.

    What has no other name stays where it is, GA's own fields too.
    """
    rest = {key: value for key, value in flat.items() if key not in GA_PATHS and key not in GONE}
    return merge(
        rest, unflatten({path: _ga_value(name, flat[name]) for name, path in GA_PATHS.items() if name in flat})
    )


def to_beta(session: Mapping[str, object]) -> Session:
    """A GA session as the beta shows one; what the beta does not know is left out."""
    flat = {key: session[key] for key in SAME if key in session} | named_in_beta(session)
    tools = session.get("tools")
    if isinstance(tools, list):
        flat["tools"] = [tool for tool in tools if isinstance(tool, Mapping) and tool.get("type") == "function"]
    if not isinstance(session.get("tool_choice"), str):
        flat.pop("tool_choice", None)
    return flat


def named_in_beta(node: Mapping[str, object]) -> Session:
    """The fields of a GA session or response that have another name in the beta, under that one."""
    leaves, _ = known_leaves(node)
    shown = {name: _beta_value(name, leaves[path]) for name, path in GA_PATHS.items() if path in leaves}
    return {name: value for name, value in shown.items() if isinstance(value, str) or not name.endswith("_format")}


def beta_path(path: str) -> str:
    """What a beta client calls the field at a GA path, which may lead into it."""
    for name, ga_path in GA_PATHS.items():
        if path == ga_path or path.startswith((ga_path + ".", ga_path + "[")):
            return name + path.removeprefix(ga_path)
    return path


def _ga_value(name: str, value: Any) -> Any:
    match name, value:
        case "modalities", [*modalities] if all(each in ("text", "audio") for each in modalities):
            return ["audio"] if "audio" in modalities else modalities
        case (("input_audio_format" | "output_audio_format"), str(known)) if known in _FORMATS:
            return _FORMATS[known]
        case "turn_detection", {"type": "none"}:
            return None  # of old Azure pages
    return value


def _beta_value(name: str, value: Any) -> Any:
    match name, value:
        case "modalities", ["audio"]:
            return ["text", "audio"]  # speech came with its transcript
        case (("input_audio_format" | "output_audio_format"), {"type": str(known)}) if known in _FORMAT_NAMES:
            return _FORMAT_NAMES[known]
        case "voice", {"id": str(own)}:
            return own
    return value
