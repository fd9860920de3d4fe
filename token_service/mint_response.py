"""The answer to a mint: OpenAI's shape, showing the session as it will be but for what is hidden. Pure."""

from __future__ import annotations

from typing import Final

from service_kit.session_fields import Session, merge, scrub
from service_kit.session_token import Claims

# What the service fills in where the session says nothing: the documented defaults (realtime-protocol reference §5.1).
# Strict typed clients want these keys present.
_INPUT_DEFAULTS: Final[Session] = {
    "format": {"type": "audio/pcm", "rate": 24_000},
    "transcription": None,
    "noise_reduction": None,
    "turn_detection": {"type": "server_vad"},
}
_REALTIME_DEFAULTS: Final[Session] = {
    "object": "realtime.session",
    "output_modalities": ["audio"],
    "audio": {
        "input": _INPUT_DEFAULTS,
        "output": {"format": {"type": "audio/pcm", "rate": 24_000}, "speed": 1.0},
    },
    "tools": [],
    "tool_choice": "auto",
    "truncation": "auto",
    "tracing": None,
    "prompt": None,
    "include": None,
}
_TRANSCRIPTION_DEFAULTS: Final[Session] = {
    "object": "realtime.transcription_session",
    "audio": {"input": _INPUT_DEFAULTS},
    "include": None,
}


def mint_response(claims: Claims, *, token: str, token_id: str, relay_url: str, provider: str) -> dict[str, object]:
    """The body of a successful mint."""
    return {
        "value": token,
        "expires_at": claims.expires_at,
        "session": _shown_session(claims, token_id),
        "airlock": {
            "token_id": token_id,
            "relay_url": relay_url,
            "max_session_seconds": claims.limits.max_session_seconds,
            "profile": claims.profile,
            "provider": provider,
            "stores": "nothing",
        },
    }


def _shown_session(claims: Claims, token_id: str) -> Session:
    """The effective session. No session runs yet: its id only fills the shape, and it expires at 0 as OpenAI's does."""
    session = claims.lock.session
    defaults = _TRANSCRIPTION_DEFAULTS if session["type"] == "transcription" else _REALTIME_DEFAULTS
    effective = merge(defaults, session)
    return {"id": token_id.replace("tok_", "sess_", 1), "expires_at": 0, **scrub(effective, claims.lock.hide)}
