"""Ordinary values for tests that care about something else."""

from __future__ import annotations

from typing import Any

import msgspec

from service_kit.profiles import Profiles, parse_profiles
from service_kit.session_token import Claims

KEY = "0123456789abcdef0123456789abcdef"
OTHER_KEY = "fedcba9876543210fedcba9876543210"
PAGE = "http://localhost:8080"
NOW = 1_795_000_000

PROFILES_TOML = """
[profiles.default]
model = "gpt-realtime-2.1"
callers = ["anonymous", "oidc", "api_key"]
open_fields = ["audio.output.voice", "audio.input.turn_detection", "output_modalities"]

[profiles.default.session]
instructions = "canary-instructions"
tools = [{ type = "function", name = "canary_tool" }]

[profiles.default.session.audio.output]
voice = "marin"

[profiles.default.limits]
max_cost_usd = 2.0

[profiles.trusted]
model = "gpt-realtime-2.1"
callers = ["api_key"]

[profiles.staff]
model = "gpt-realtime-2.1"
callers = ["anonymous", "oidc", "api_key"]
roles = ["voice", "admin"]

[profiles.acme]
model = "gpt-realtime-2.1-mini"
callers = ["anonymous", "api_key"]
tenants = ["acme"]

[profiles.dictation]
model = "gpt-transcribe"
callers = ["anonymous", "api_key"]
open_fields = ["audio.input"]

[profiles.dictation.session]
type = "transcription"

[profiles.dictation.limits]
token_seconds = 60

[profiles.modern]
model = "gpt-realtime-2.1"
callers = ["api_key"]
beta_clients = false

[profiles.modern-dictation]
model = "gpt-transcribe"
callers = ["api_key"]
beta_clients = false

[profiles.modern-dictation.session]
type = "transcription"
"""


def profiles() -> Profiles:
    """The profiles above."""
    return parse_profiles(PROFILES_TOML)


def claims(**changes: Any) -> Claims:
    """Claims of the default profile, with ``changes``."""
    profile = profiles().profiles["default"]
    usual = Claims(
        subject="canary-subject",
        tenant="acme",
        anonymous=False,
        profile="default",
        origin=PAGE,
        issued_at=NOW,
        expires_at=NOW + 300,
        lock=profile.lock(),
        limits=profile.session_limits,
    )
    return msgspec.structs.replace(usual, **changes)
