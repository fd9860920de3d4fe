"""What the OpenAPI documents of a service are made of: request models as they are checked, refusals as they are told.

Everything that can be taken from the code is taken from it, so that a document cannot say something else. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service_kit.errors import TABLE, Retry, Row

Json = dict[str, Any]

VERSION: Final = "0.1.0"
OPENAPI_VERSION: Final = "3.1.1"
SCHEMA_REF: Final = "#/components/schemas/{model}"

ANYWHERE: Final = ("invalid_request", "headers_too_large", "internal_error")
"""What any route may refuse: what is not HTTP or expects too much, headers over the limit, and our own failures."""
WITH_A_BODY: Final = ("request_timeout", "body_too_large", "unsupported_media_type")
_BEFORE_ANY_ROUTE: Final = frozenset({400, 431, 500})
"""Statuses that are also said of what is not HTTP, before there is a request that could have an id header."""

_REQUEST_ID: Final[Json] = {
    "description": "A public name for this request; it joins the answer to our log line.",
    "schema": {"type": "string", "pattern": "^req_[0-9a-f]{16}$"},
}
_RETRY_AFTER: Final[Json] = {
    "description": "Wait this many seconds, then try again.",
    "schema": {"type": "integer", "minimum": 1},
}
_CHALLENGE: Final[Json] = {"required": True, "schema": {"type": "string", "const": "Bearer"}}


def document(*, title: str, description: str, paths: Mapping[str, Json], schemas: Mapping[str, Json]) -> Json:
    """The whole document. ``schemas`` lie beside the shape of every error."""
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": title,
            "version": VERSION,
            "description": description,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(paths),
        "components": {
            "schemas": {**schemas, "Error": _error()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def request_schemas(*models: type[BaseModel]) -> dict[str, Json]:
    """The schemas by which request bodies are checked, with those they refer to, by name."""
    _, schema = models_json_schema([(model, "validation") for model in models], ref_template=SCHEMA_REF)
    return plain_schemas(schema["$defs"])


def plain_schemas(schemas: Mapping[str, Json]) -> dict[str, Json]:
    """Generated schemas without the docstrings of their classes, which speak to whoever reads the code."""
    return {
        name: {key: value for key, value in schema.items() if key != "description"} for name, schema in schemas.items()
    }


def ref(name: str) -> Json:
    """A reference to one of the document's schemas."""
    return {"$ref": SCHEMA_REF.format(model=name)}


def text(**constraints: object) -> Json:
    """A string."""
    return {"type": "string", **constraints}


def fields(properties: Mapping[str, Json]) -> Json:
    """An object that always has these; later versions may add more."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def json_body(schema: Json, **more: Any) -> Json:
    """JSON of this schema, as the content of a request or an answer."""
    return {"application/json": {"schema": schema, **more}}


def answer(description: str, schema: Json) -> Json:
    """An answer that is no refusal."""
    return {"description": description, "headers": _headers(required_id=True), "content": json_body(schema)}


def refusals(codes: Iterable[str]) -> dict[str, Json]:
    """The answers that say these public codes, by HTTP status; their texts are the error table's."""
    by_status: dict[int, list[Row]] = {}
    for code in codes:
        row = TABLE[code]
        if row.http is None:
            raise ValueError(f"{code} is never said over HTTP")
        by_status.setdefault(row.http, []).append(row)
    return {str(status): _refusal(status, rows) for status, rows in sorted(by_status.items())}


def _refusal(status: int, rows: list[Row]) -> Json:
    headers = _headers(required_id=status not in _BEFORE_ANY_ROUTE)
    if status == 401:
        headers["WWW-Authenticate"] = _CHALLENGE
    if any(row.retry is Retry.AFTER for row in rows):
        headers["Retry-After"] = _RETRY_AFTER
    codes = {"properties": {"error": {"properties": {"code": {"enum": [row.code for row in rows]}}}}}
    return {
        "description": "\n\n".join(f"`{row.code}`: {row.message}" for row in rows),
        "headers": headers,
        "content": json_body({"allOf": [ref("Error"), codes]}),
    }


def _headers(*, required_id: bool) -> dict[str, Json]:
    return {"X-Request-Id": {**_REQUEST_ID, "required": required_id}}


def _error() -> Json:
    """What :meth:`service_kit.errors.Refusal.body` makes."""
    said = [row for row in TABLE.values() if row.http is not None]
    error = fields(
        {
            "type": text(enum=sorted({row.type for row in said})),
            "code": text(description="What went wrong; every code is in docs/errors.md."),
            "message": text(description="What to do next, with the request's id."),
            "param": {"type": ["string", "null"], "description": "The offending parameter, in dotted form."},
        }
    )
    error["properties"]["retry"] = text(
        enum=[hint.value for hint in Retry if hint is not Retry.NO],
        description="Whether trying again helps; absent where it does not.",
    )
    error["properties"]["retry_after"] = {"type": "integer", "minimum": 1, "description": "In seconds."}
    return {"description": "Why the answer is no, in OpenAI's shape.", **fields({"error": error})}
