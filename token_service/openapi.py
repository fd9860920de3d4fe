"""The OpenAPI document of the public routes. Pure.

A route is one function here that says what it takes, answers and refuses; a test compares them with the router.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service_kit.openapi import (
    ANYWHERE,
    WITH_A_BODY,
    Json,
    answer,
    document,
    fields,
    json_body,
    ref,
    refusals,
    request_schemas,
    text,
)
from token_service.beta_mint import BetaSessionRequest, BetaTranscriptionSessionRequest
from token_service.mint_request import MintRequest

PATH: Final = "/openapi.json"

_BEHIND_THE_EDGE: Final = (*ANYWHERE, "edge_not_allowed")
"""Of every route but the probes, which the platform asks past the edge."""
# The issuer of OIDC callers and Redis may both be away: "unavailable".
_IDENTIFIED: Final = (*_BEHIND_THE_EDGE, "invalid_token", "origin_not_allowed", "rate_limited", "unavailable")
_MINT_CODES: Final = (
    *_IDENTIFIED,
    *WITH_A_BODY,
    "unsupported_parameter",
    "model_mismatch",
    "quota_exhausted",
    "blocked",
)
_LIMITS_CODES: Final = (*_IDENTIFIED, "blocked")

_SECURITY: Final[list[Json]] = [{}, {"bearer": []}]
_ORIGIN: Final[Json] = {
    "name": "Origin",
    "in": "header",
    "required": False,
    "description": "The page that asks; browsers set it. An anonymous caller needs it.",
    "schema": text(),
}


def public_document() -> Json:
    """What ``GET /openapi.json`` answers."""
    return document(
        title="Airlock token service",
        description="Mints single-use session tokens that live at most five minutes; a relay redeems them.",
        paths={
            "/v1/realtime/client_secrets": {"post": _mint()},
            "/v1/realtime/sessions": {"post": _mint_beta_session()},
            "/v1/realtime/transcription_sessions": {"post": _mint_beta_transcription_session()},
            "/v1/limits": {"get": _limits()},
            "/healthz": {"get": healthz(ANYWHERE)},
            "/readyz": {"get": readyz(ANYWHERE)},
            PATH: {"get": describe_itself(*_BEHIND_THE_EDGE)},
        },
        schemas={
            **request_schemas(MintRequest, BetaSessionRequest, BetaTranscriptionSessionRequest),
            "MintResponse": _mint_response(),
            "BetaMintResponse": _beta_mint_response(),
            "Session": _session(),
            "Limits": _own_limits(),
        },
    )


def _mint() -> Json:
    return _minting(
        "mint",
        "Mint one session token",
        "OpenAI's request and answer, with an `airlock` object beside them. A body that fits this "
        "schema may still be refused: what a caller may ask for depends on who it is, its profile and its ceilings; "
        "`param` then names the parameter. Without a credential the caller is anonymous; its Origin must be allowed.",
        "MintRequest",
        {"expires_after": {"seconds": 60}},
        "MintResponse",
        _MINT_CODES,
    )


def _mint_beta_session() -> Json:
    return _minting(
        "mintBetaSession",
        "Mint one session token, in the shape of OpenAI's beta",
        "For clients of before GA: the session's fields lie flat in the body. Rules and refusals are those of "
        "`/v1/realtime/client_secrets`; `param` names a field as it was written.",
        "BetaSessionRequest",
        {"client_secret": {"expires_after": {"anchor": "created_at", "seconds": 60}}},
        "BetaMintResponse",
        (*_MINT_CODES, "beta_api_shape_disabled"),
    )


def _mint_beta_transcription_session() -> Json:
    return _minting(
        "mintBetaTranscriptionSession",
        "Mint one session token for a transcription, in the shape of OpenAI's beta",
        "The same for a session that only writes down what is said. Without `airlock.profile` it gets the first of the "
        "caller's profiles that is for transcription.",
        "BetaTranscriptionSessionRequest",
        {"client_secret": {"expires_at": {"anchor": "created_at", "seconds": 60}}},
        "BetaMintResponse",
        (*(code for code in _MINT_CODES if code != "model_mismatch"), "beta_api_shape_disabled"),  # it names no model
    )


def _minting(
    operation_id: str, summary: str, description: str, request: str, example: Json, response: str, codes: Iterable[str]
) -> Json:
    return {
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        "security": _SECURITY,
        "parameters": [_ORIGIN],
        "requestBody": {
            "required": False,
            "description": "At most 16 KiB. No body is `{}`.",
            "content": json_body(ref(request), example=example),
        },
        "responses": {"200": answer("The token. It works once.", ref(response)), **refusals(codes)},
    }


def _limits() -> Json:
    return {
        "operationId": "limits",
        "summary": "What the caller may, and what is left of it",
        "description": "With the credential that it mints with. Looking takes nothing of what is left.",
        "security": _SECURITY,
        "parameters": [_ORIGIN],
        "responses": {
            "200": answer("The subject's own; an API key is also told its tenant's.", ref("Limits")),
            **refusals(_LIMITS_CODES),
        },
    }


def healthz(codes: Iterable[str]) -> Json:
    """The route that tells whether the process lives, which may be refused with these codes."""
    return {
        "operationId": "healthz",
        "summary": "Whether the process lives",
        "responses": {"200": answer("It does.", fields({"status": text(const="ok")})), **refusals(codes)},
    }


def readyz(codes: Iterable[str]) -> Json:
    """The route that tells whether the process should get work, likewise."""
    unavailable = fields({"status": text(const="unavailable"), "failing": {"type": "array", "items": text()}})
    return {
        "operationId": "readyz",
        "summary": "Whether the process should get work",
        "responses": {
            "200": answer("It should.", fields({"status": text(const="ok")})),
            **refusals(codes),
            "503": answer("It should not: something is missing (`redis`), or it is `draining`.", unavailable),
        },
    }


def describe_itself(*codes: str) -> Json:
    """The route of a document, which may be refused with these codes."""
    anything: Json = {"type": "object", "required": ["openapi", "info", "paths"]}
    return {
        "operationId": "openapi",
        "summary": "This document",
        "responses": {"200": answer("OpenAPI 3.1.", anything), **refusals(codes)},
    }


def _mint_response() -> Json:
    """What :func:`token_service.mint_response.mint_response` makes."""
    return fields({**_secret(), "session": ref("Session"), "airlock": _about_the_token()})


def _beta_mint_response() -> Json:
    """What :func:`token_service.beta_mint.beta_answer` makes."""
    named = {"id": text(), "object": _session_object()}
    session = fields({**named, "client_secret": fields(_secret()), "airlock": _about_the_token()})
    return {"description": "The session as it will be, in the beta's flat fields, and its token.", **session}


def _secret() -> Json:
    return {
        "value": text(pattern="^ek_", description="The session token. A secret: show it to the relay alone."),
        "expires_at": {
            "type": "integer",
            "description": "Until when it can be redeemed (Unix seconds): what was asked for, or less.",
        },
    }


def _about_the_token() -> Json:
    return fields(
        {
            "token_id": text(description="Public: it can revoke the token, never redeem it."),
            "relay_url": text(pattern="^wss?://", description="Where to connect with the token."),
            "max_session_seconds": {"type": "integer", "minimum": 1},
            "profile": text(),
            "provider": text(description="Every configured provider of models."),
            "stores": text(const="nothing"),
        }
    )


def _session_object() -> Json:
    return text(enum=["realtime.session", "realtime.transcription_session"])


def _session() -> Json:
    session = fields(
        {
            "id": text(),
            "object": _session_object(),
            "type": text(enum=["realtime", "transcription"]),
            "expires_at": {"type": "integer", "const": 0, "description": "No session runs yet."},
        }
    )
    return {"description": "The session as it will be, in OpenAI's fields, without what is hidden.", **session}


def _own_limits() -> Json:
    """What :func:`token_service.limits.limits_body` makes."""
    count: Json = {"type": "integer", "minimum": 0}
    amount: Json = {"type": "number", "minimum": 0}
    limit: Json = {"type": ["number", "null"], "description": "null is none."}
    mints = {"limit": count, "remaining": count, "resets_in_seconds": amount}
    quota = {
        "seconds": fields({"limit": limit, "used": amount}),
        "tokens": fields({"limit": limit, "used": count}),
        "usd": fields({"limit": limit, "used": amount}),
    }
    sessions = {"limit": count, "active": count}
    shown = {"mints_per_minute": fields(mints), "sessions": fields(sessions), "quota": fields(quota)}
    held: Json = {
        "type": "array",
        "items": text(enum=list(shown)),
        "description": "What the caller's tenant has none left of, so that the caller has none either.",
    }
    limits = fields({"limits": fields(shown), "held_by_tenant": held})
    limits["properties"]["tenant"] = {"description": "The tenant's own; API keys alone see it.", **fields(shown)}
    return limits
