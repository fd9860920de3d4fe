"""The frames of a measurement, made once before it: what a browser appends, what a model answers. Pure.

They have the sizes of real ones: 24 kHz PCM, as base64 in the JSON that the SDKs write. Several differ only in their
audio, so that no cache sees the same bytes again and again.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping
from typing import Any, Final

import msgspec

FRAME_MS: Final = (20, 100)
VARIANTS: Final = 16
_BYTES_PER_MS: Final = 48
_RESPONSE: Final = '"response_id":"resp_BenchmarkResponse0001","item_id":"item_BenchmarkAnswer000001"'


def appends(frame_ms: int) -> list[bytes]:
    """What a browser sends: ``VARIANTS`` appends of so much audio."""
    return [b'{"type":"input_audio_buffer.append","audio":"%b"}' % audio for audio in _audio(frame_ms, seed=1)]


def deltas(frame_ms: int) -> list[bytes]:
    """What a model sends: ``VARIANTS`` deltas of so much audio."""
    return [
        b'{"type":"response.output_audio.delta","event_id":"event_Benchmark%012d",%b,"output_index":0,'
        b'"content_index":0,"delta":"%b"}' % (number, _RESPONSE.encode(), audio)
        for number, audio in enumerate(_audio(frame_ms, seed=2))
    ]


def frame_ms_of(append_bytes: int) -> int:
    """How much audio an append of this size carries; a peer may have spelled it with more spaces than we did."""
    return min(FRAME_MS, key=lambda frame_ms: abs(frame_ms * _BYTES_PER_MS * 4 / 3 - append_bytes))


def session_created() -> bytes:
    """The model's greeting."""
    return _session_event("session.created", {})


def session_updated(update: Mapping[str, Any]) -> bytes:
    """The model's answer to a ``session.update``: the session as it was asked for."""
    return _session_event("session.updated", update.get("session", {}))


def _session_event(event_type: str, session: Mapping[str, Any]) -> bytes:
    usual = {"type": "realtime", "object": "realtime.session", "id": "sess_Benchmark0001", "model": "gpt-realtime-2.1"}
    return msgspec.json.encode({"type": event_type, "event_id": "event_Benchmark", "session": {**usual, **session}})


def _audio(frame_ms: int, *, seed: int) -> list[bytes]:
    chance = random.Random(seed)
    return [base64.b64encode(chance.randbytes(frame_ms * _BYTES_PER_MS)) for _ in range(VARIANTS)]
