"""Minting in the beta's shapes: the session lies flat in the body, and the token in ``client_secret`` of the answer.

Who may ask for what is decided on GA's form of the same (:mod:`token_service.mint`); what is refused is named as the
caller wrote it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service_kit.beta_session import beta_path, to_beta, to_ga
from service_kit.errors import Refusal
from token_service.mint_request import AirlockOptions, Body, ExpiresAfter, MintRequest, parse_body


class SecretOptions(Body):
    """When the token shall expire; OpenAI lets it be said here."""

    expires_after: ExpiresAfter | None = None


class TranscriptionSecretOptions(Body):
    """The same, under the name that it has for transcriptions."""

    expires_at: ExpiresAfter | None = None


class _Request(Body):
    """What both kinds of session have (realtime-protocol reference §2.2, §4.4); values are checked as GA's."""

    airlock: AirlockOptions | None = None
    modalities: object = None
    input_audio_format: object = None
    input_audio_transcription: object = None
    input_audio_noise_reduction: object = None
    turn_detection: object = None
    include: object = None


class BetaSessionRequest(_Request):
    """The body of ``POST /v1/realtime/sessions``."""

    client_secret: SecretOptions | None = None
    model: object = None
    instructions: object = None
    voice: object = None
    speed: object = None
    output_audio_format: object = None
    tools: object = None
    tool_choice: object = None
    tracing: object = None
    temperature: object = None
    max_response_output_tokens: object = None


class BetaTranscriptionSessionRequest(_Request):
    """The body of ``POST /v1/realtime/transcription_sessions``."""

    client_secret: TranscriptionSecretOptions | None = None


def parse_beta_session_request(body: object) -> MintRequest:
    """What a decoded body asks for. Raises Refusal naming the first offending parameter."""
    request = parse_body(BetaSessionRequest, body)
    expires_after = request.client_secret.expires_after if request.client_secret else None
    session = to_ga(_given(request))
    return _mint_request(request, expires_after, session or None)


def parse_beta_transcription_request(body: object) -> MintRequest:
    """The same for a transcription session."""
    request = parse_body(BetaTranscriptionSessionRequest, body)
    expires_after = request.client_secret.expires_at if request.client_secret else None
    session = to_ga({name: value for name, value in _given(request).items() if name != "modalities"})
    return _mint_request(request, expires_after, {"type": "transcription", **session})


def _given(request: _Request) -> Mapping[str, Any]:
    return {name: getattr(request, name) for name in request.model_fields_set - {"airlock", "client_secret"}}


def _mint_request(
    request: _Request, expires_after: ExpiresAfter | None, session: dict[str, object] | None
) -> MintRequest:
    return MintRequest(expires_after=expires_after, session=session, airlock=request.airlock)


def beta_answer(minted: Mapping[str, Any]) -> dict[str, object]:
    """A mint's answer in the beta's shape."""
    return {
        **to_beta(minted["session"]),
        "client_secret": {"value": minted["value"], "expires_at": minted["expires_at"]},
        "airlock": minted["airlock"],
    }


def in_beta_words(refusal: Refusal) -> None:
    """Name what was refused as the caller wrote it."""
    root, _, path = (refusal.param or "").partition(".")
    if root == "session" and path:
        named = beta_path(path)
        refusal.message = refusal.message.replace(str(refusal.param), named)
        refusal.param = named
