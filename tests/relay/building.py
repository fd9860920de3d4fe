"""Locks, limits, claims and events for the relay's tests: the shipped defaults, less what a test changes."""

import base64
import json
from collections.abc import Iterable
from typing import Any, Literal

from service_kit.profiles import CLIENT_EVENTS, ProfileLimits
from service_kit.session_fields import OPENABLE
from service_kit.session_token import Claims, Limits, Lock

SECRET = "You are Marvin. The password is swordfish."
HIDDEN = frozenset({"instructions", "tools", "tool_choice", "prompt", "tracing"})
EVERYTHING = frozenset(OPENABLE)
OPEN_BY_DEFAULT = frozenset({"audio.output.voice", "audio.input.turn_detection", "output_modalities"})
SESSION: dict[str, object] = {
    "type": "realtime",
    "model": "gpt-realtime-2.1",
    "instructions": SECRET,
    "audio": {"output": {"voice": "marin"}},
    "tools": [{"type": "function", "name": "look_up", "parameters": {"type": "object"}}],
    "max_output_tokens": 4096,
}
TRANSCRIPTION: dict[str, object] = {
    "type": "transcription",
    "model": "gpt-live-transcribe",
    "audio": {"input": {"transcription": {"model": "gpt-live-transcribe"}}},
}


def make_limits(**changes: float | None) -> Limits:
    """The limits of a profile that says nothing, with ``changes``."""
    return Limits(**(ProfileLimits().model_dump(exclude={"token_seconds"}) | changes))


def make_lock(
    *,
    session: dict[str, object] | None = None,
    open_fields: Iterable[str] = OPEN_BY_DEFAULT,
    on_locked_field: Literal["narrow", "refuse"] = "narrow",
    hide: Iterable[str] = HIDDEN,
    client_events: Iterable[str] = CLIENT_EVENTS,
    client_content: Iterable[str] = ("input_text", "input_audio"),
) -> Lock:
    """A lock like the shipped profile's, but with every client event allowed."""
    return Lock(
        session=SESSION if session is None else session,
        open_fields=frozenset(open_fields),
        on_locked_field=on_locked_field,
        hide=frozenset(hide),
        client_events=frozenset(client_events),
        client_content=frozenset(client_content),
    )


def make_claims(lock: Lock | None = None, limits: Limits | None = None) -> Claims:
    """What a token of an anonymous browser stands for."""
    return Claims(
        subject="someone",
        tenant="anonymous",
        anonymous=True,
        profile="default",
        origin=None,
        issued_at=1_000,
        expires_at=1_300,
        lock=lock or make_lock(),
        limits=limits or make_limits(),
    )


def to_frame(event: object) -> bytes:
    """An event as any JSON library would write it."""
    return json.dumps(event).encode()


def audio_text(size: int) -> str:
    """``size`` bytes of audio as base64."""
    return base64.b64encode(bytes(size)).decode()


def append_frame(size: int) -> bytes:
    """An append event in the canonical spelling, with ``size`` bytes of audio."""
    return b'{"type":"input_audio_buffer.append","audio":"' + audio_text(size).encode() + b'"}'


def audio_delta(size: int, **more: Any) -> bytes:
    """One audio delta of the model, with ``size`` bytes of audio and ``more`` keys."""
    return to_frame(
        {
            "type": "response.output_audio.delta",
            "event_id": "event_1",
            "response_id": "resp_1",
            "item_id": "item_1",
            "output_index": 0,
            "content_index": 0,
            "delta": audio_text(size),
            **more,
        }
    )
