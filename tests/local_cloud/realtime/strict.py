"""Holds a server event to the `openai` package's GA types, and to what the Agents SDK for JavaScript demands beyond.

Source of the second part: protocol reference §3.5, read from @openai/agents-realtime 0.20.
"""

from typing import Any

import pydantic
from openai.types.realtime import RealtimeServerEvent

Json = dict[str, Any]

_ANY_EVENT: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(RealtimeServerEvent)
# The GA types give server events the request's shape of a session, which lacks what only the service sets.
_UNTYPED = {"session.id", "session.object", "session.expires_at"}
_PARTS = {"input_text", "input_audio", "output_text", "audio", "output_audio"}


def check(event: Json) -> None:
    """Fail unless strict clients accept ``event``."""
    model = _ANY_EVENT.validate_python(event, strict=True)
    assert model.type == event["type"]
    unknown = set(_extras(model, ""))
    assert unknown <= _UNTYPED, f"{event['type']} has fields that the GA types lack: {unknown - _UNTYPED}"
    _check_for_agents_js(event)


def _extras(value: object, path: str) -> list[str]:
    found = []
    if isinstance(value, pydantic.BaseModel):
        found += [f"{path}{name}" for name in value.model_extra or {}]
        for name in type(value).model_fields:
            found += _extras(getattr(value, name), f"{path}{name}.")
    elif isinstance(value, list):
        for one in value:
            found += _extras(one, path)
    return found


def _check_for_agents_js(event: Json) -> None:
    assert isinstance(event["event_id"], str)
    if "item" in event:
        _check_item(event["item"])
    if "part" in event:
        assert all(isinstance(value, str) for value in event["part"].values())
    if event["type"].endswith("transcription.completed") and event["usage"]["type"] == "tokens":
        assert set(event["usage"]["input_token_details"]) == {"text_tokens", "audio_tokens"}
    if "response" in event:
        response = event["response"]
        for item in response["output"]:
            _check_item(item)
        assert isinstance(response["audio"]["output"]["voice"], str | None)
        if response["usage"] is not None:
            assert isinstance(response["usage"]["input_tokens"], int)
            assert isinstance(response["usage"]["output_tokens"], int)


def _check_item(item: Json) -> None:
    assert isinstance(item["id"], str)
    for name in ("call_id", "name", "arguments", "role", "status"):
        assert isinstance(item.get(name, ""), str), f"{name} must not be null"
    for part in item.get("content", []):
        assert part["type"] in _PARTS
        if part["type"] == "input_audio":
            assert "transcript" in part
