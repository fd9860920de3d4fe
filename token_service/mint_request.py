"""The body of a mint request: OpenAI's shape with an ``airlock`` object beside it.

Says what is well-formed; what is allowed is for :mod:`token_service.mint` to say. Pure.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service_kit.errors import Refusal


class Body(BaseModel):
    """A JSON object whose every key is known."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ExpiresAfter(Body):
    """OpenAI's range and default (realtime-protocol reference §2.1)."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Field(ge=10, le=7_200)] = 600


class AirlockOptions(Body):
    """What a caller may ask for beyond OpenAI's fields; metadata has OpenAI's bounds (protocol reference §5.9)."""

    profile: str | None = None
    subject: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    max_session_seconds: Annotated[int, Field(ge=1)] | None = None
    max_input_audio_seconds: Annotated[int, Field(ge=1)] | None = None
    max_total_tokens: Annotated[int, Field(ge=1)] | None = None
    max_cost_usd: Annotated[float, Field(gt=0)] | None = None
    origin: str | None = None
    reference_id: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None


class MintRequest(Body):
    """The whole body; everything in it is optional."""

    expires_after: ExpiresAfter | None = None
    session: dict[str, object] | None = None
    airlock: AirlockOptions | None = None


BodyT = TypeVar("BodyT", bound=Body)

_DEEP: Final = frozenset({"client_secret"})
"""Keys of a body under which parameters lie at a third level. Elsewhere that is the caller's own (a metadata key)."""


def parse_mint_request(body: object) -> MintRequest:
    """The request in a decoded JSON body. Raises Refusal naming the first offending parameter."""
    return parse_body(MintRequest, body)


def parse_body(model: type[BodyT], body: object) -> BodyT:
    """A decoded JSON body as ``model``. Raises Refusal naming the first offending parameter."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = [str(name) for name in problem["loc"]]
        param = ".".join(place[: 3 if place[0] in _DEEP else 2]) if place else None
        if problem["type"] == "extra_forbidden":
            raise Refusal("unsupported_parameter", param=param) from error
        raise Refusal("invalid_request", param=param, message=f"{param or 'The body'}: {problem['msg']}.") from error
