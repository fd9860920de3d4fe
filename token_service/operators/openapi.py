"""The OpenAPI document of the operators' listener. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from service_kit.live_entries import LiveEntry
from service_kit.openapi import (
    ANYWHERE,
    SCHEMA_REF,
    WITH_A_BODY,
    Json,
    answer,
    document,
    fields,
    json_body,
    plain_schemas,
    ref,
    refusals,
    request_schemas,
    text,
)
from service_kit.revocation import Kind
from token_service.openapi import PATH, describe_itself
from token_service.operators.requests import SESSION_ID, TOKEN_ID, BlockRequest

_CODES: Final = (*ANYWHERE, "invalid_token", "unavailable")
_WHOSE: Final = ("unsupported_parameter",)

_TIME: Final[Json] = {"type": "number", "description": "Unix seconds."}
_BOOLEAN: Final[Json] = {"type": "boolean"}
_BLOCKED: Final[Json] = {"kind": text(enum=[Kind.SUBJECT.value, Kind.TENANT.value]), "id": text()}
_WHO: Final[list[Json]] = [
    {
        "name": "subject",
        "in": "query",
        "description": "The pseudonym of the list; with `tenant` beside it the plain name.",
        "schema": text(minLength=1),
        "example": "alice",
    },
    {"name": "tenant", "in": "query", "schema": text(minLength=1), "example": "acme"},
]


def operator_document() -> Json:
    """What ``GET /openapi.json`` answers on the operators' listener."""
    (_, schemas) = msgspec.json.schema_components([LiveEntry], ref_template=SCHEMA_REF.format(model="{name}"))
    return document(
        title="Airlock operators",
        description="Lists and ends live sessions, revokes tokens, blocks subjects and tenants. Each act is audited.",
        paths={
            "/v1/operator/sessions": {"get": _list_sessions(), "delete": _end_sessions()},
            "/v1/operator/sessions/{id}": {"delete": _end_session()},
            "/v1/operator/tokens/{id}": {"delete": _revoke_token()},
            "/v1/operator/blocks": {"get": _list_blocks(), "put": _block(), "delete": _unblock()},
            "/v1/operator/summary": {"get": _summary()},
            PATH: {"get": describe_itself(*ANYWHERE)},
        },
        schemas={**request_schemas(BlockRequest), **plain_schemas(schemas)},
    )


def _operation(name: str, summary: str, answered: Json, *codes: str, **more: Any) -> Json:
    return {
        "operationId": name,
        "summary": summary,
        "security": [{"bearer": []}],
        "responses": {"200": answered, **refusals((*_CODES, *codes))},
        **more,
    }


def _id(pattern: str, description: str) -> list[Json]:
    schema = text(pattern=f"^{pattern}$")
    return [{"name": "id", "in": "path", "required": True, "description": description, "schema": schema}]


def _list_sessions() -> Json:
    sessions = fields({"sessions": {"type": "array", "items": ref("LiveEntry")}})
    listed = answer("What is live, the oldest first.", sessions)
    return _operation(
        "list_sessions", "List live sessions, all of them or whose they are", listed, *_WHOSE, parameters=_WHO
    )


def _end_sessions() -> Json:
    return _operation(
        "end_sessions",
        "End the sessions of a subject or tenant, and what was minted for it before",
        _ended(),
        *_WHOSE,
        parameters=_WHO,
    )


def _end_session() -> Json:
    parameters = _id(SESSION_ID.pattern, "Of the list.")
    return _operation("end_session", "End one session", _ended(), "not_found", parameters=parameters)


def _ended() -> Json:
    return answer("The ids that were live.", fields({"ended": {"type": "array", "items": text()}}))


def _revoke_token() -> Json:
    return _operation(
        "revoke_token",
        "Make one token useless, and end the session it opened",
        answer("Whether there was a record of it.", fields({"token_id": text(), "was_known": _BOOLEAN})),
        "not_found",
        parameters=_id(TOKEN_ID.pattern, "The public `token_id`."),
    )


def _list_blocks() -> Json:
    block = fields({**_BLOCKED, "name": text(), "until": _TIME})
    blocks = fields({"blocks": {"type": "array", "items": block}})
    return _operation("list_blocks", "List who is blocked", answer("Who, and until when.", blocks))


def _block() -> Json:
    return _operation(
        "block",
        "Allow no token, redemption or live session to a subject or tenant, for so many seconds",
        answer("It is blocked.", fields({**_BLOCKED, "seconds": {"type": "integer"}})),
        *_WHOSE,
        *WITH_A_BODY,
        parameters=_WHO,
        requestBody={"required": True, "content": json_body(ref("BlockRequest"), example={"seconds": 3_600})},
    )


def _unblock() -> Json:
    lifted = answer("Whether it was blocked.", fields({**_BLOCKED, "was_blocked": _BOOLEAN}))
    return _operation("unblock", "Lift a block", lifted, *_WHOSE, parameters=_WHO)


def _summary() -> Json:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    minute = fields({"at": {"type": "integer", "description": "When the minute began."}, "counts": counts})
    minutes = fields({"minutes": {"type": "array", "items": minute}})
    return _operation("summary", "Count what happened", answer("The last 60 minutes, from all processes.", minutes))
