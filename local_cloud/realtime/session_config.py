"""The session object: its defaults, what a client may set in it, and how an update is merged (protocol: GA, 2026-11).

Only present fields change; ``audio``, ``audio.input`` and ``audio.output`` are merged key by key, all else is replaced.
"""

# ruff: noqa: D101 - the shapes are the protocol's; a docstring for each would only repeat its name

import copy
from typing import Annotated, Literal

from msgspec import Meta

from local_cloud.realtime.events import Json, Refused
from local_cloud.realtime.schema import Shape, check

DEFAULT_INSTRUCTIONS = "You are a simulated voice. Say how long you were spoken to."
Modalities = Annotated[list[Literal["audio", "text"]], Meta(min_length=1, max_length=1)]
MaxOutputTokens = Annotated[int, Meta(ge=1, le=4096)] | Literal["inf"]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


class PcmFormat(Shape, tag="audio/pcm"):
    rate: Literal[24000] = 24000


class UlawFormat(Shape, tag="audio/pcmu"):
    pass


class AlawFormat(Shape, tag="audio/pcma"):
    pass


Format = PcmFormat | UlawFormat | AlawFormat


class Transcription(Shape):
    model: str | None = None
    language: str | None = None
    languages: list[str] | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class NoiseReduction(Shape):
    type: Literal["near_field", "far_field"]
    strength: float | None = None


class ServerVad(Shape, tag="server_vad"):
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Meta(ge=0)] = 300
    silence_duration_ms: Annotated[int, Meta(ge=0)] = 500
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: Annotated[int, Meta(ge=5000, le=30000)] | None = None


class SemanticVad(Shape, tag="semantic_vad"):
    eagerness: Literal["auto", "low", "medium", "high"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


class CustomVoice(Shape):
    id: str


class Input(Shape):
    format: Format | None = None
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: ServerVad | SemanticVad | None = None


class Output(Shape):
    format: Format | None = None
    voice: str | CustomVoice | None = None
    speed: Annotated[float, Meta(ge=0.25, le=1.5)] | None = None


class Audio(Shape):
    input: Input | None = None
    output: Output | None = None


class FunctionTool(Shape, tag="function"):
    name: str
    description: str | None = None
    parameters: Json | None = None


class McpTool(Shape, tag="mcp"):
    server_label: str
    server_url: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    authorization: str | None = None
    headers: dict[str, str] | None = None
    allowed_tools: list[str] | Json | None = None
    require_approval: str | Json | None = None
    server_description: str | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


class FunctionChoice(Shape, tag="function"):
    name: str


class McpChoice(Shape, tag="mcp"):
    server_label: str
    name: str | None = None


ToolChoice = Literal["auto", "none", "required"] | FunctionChoice | McpChoice


class Reasoning(Shape):
    effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class Prompt(Shape):
    id: str
    version: str | None = None
    variables: Json | None = None


class RealtimeSession(Shape):
    """What ``session.update`` may carry in a conversation (protocol §5.1)."""

    type: Literal["realtime"]
    model: str | None = None
    output_modalities: Modalities | None = None
    instructions: str | None = None
    audio: Audio | None = None
    tools: list[Json] | None = None  # checked one by one, so that the error can name the index
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: MaxOutputTokens | None = None
    truncation: Literal["auto", "disabled"] | Json | None = None
    tracing: Literal["auto"] | Json | None = None
    prompt: Prompt | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


class TranscriptionAudio(Shape):
    input: Input | None = None


class TranscriptionSession(Shape):
    """What ``session.update`` may carry in a transcription session (protocol §5.2)."""

    type: Literal["transcription"]
    audio: TranscriptionAudio | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


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


_CLEARED_BY_NULL = {"transcription", "noise_reduction", "turn_detection", "tracing", "prompt", "include"}


def _with_defaults(turn_detection: Json) -> Json:
    kind = SemanticVad if turn_detection["type"] == "semantic_vad" else ServerVad
    defaults = {field: getattr(kind(), field) for field in kind.__struct_fields__}
    return {"type": turn_detection["type"], **defaults, **copy.deepcopy(turn_detection)}


class ResponseOutput(Shape):
    format: Format | None = None
    voice: str | CustomVoice | None = None


class ResponseAudio(Shape):
    output: ResponseOutput | None = None


class ResponseParameters(Shape):
    """What ``response.create`` may override for one response (protocol §3.6)."""

    conversation: Literal["auto", "none"] = "auto"
    input: list[Json] | None = None
    instructions: str | None = None
    audio: ResponseAudio | None = None
    max_output_tokens: MaxOutputTokens | None = None
    metadata: Metadata | None = None
    output_modalities: Modalities | None = None
    parallel_tool_calls: bool | None = None
    prompt: Prompt | None = None
    reasoning: Reasoning | None = None
    tool_choice: ToolChoice | None = None
    tools: list[Json] | None = None


def for_response(session: Json, parameters: Json) -> Json:
    """Return the session as one response sees it: with the parameters of its ``response.create`` laid over.

    Raises:
        Refused: a parameter is unknown or malformed.
    """
    check(parameters, ResponseParameters, "response")
    for index, tool in enumerate(parameters.get("tools") or []):
        check(tool, FunctionTool | McpTool, f"response.tools[{index}]")
    merged = copy.deepcopy(session)
    _merge(merged, parameters)
    return merged
