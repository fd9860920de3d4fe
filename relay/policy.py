"""What a browser may send: an allow-list of events and of fields in each, within the session's lock.

Nothing received is forwarded: an event is rebuilt from the fields named here, or refused (DESIGN: "Profiles: the
lock"). Pure, but that an accepted event is noted in the conversation it belongs to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from relay.conversation import MAX_OUT_OF_BAND_RESPONSES, Conversation
from relay.events import MAX_EVENT_ID_CHARS, InvalidAudio, audio_bytes, is_embedded_image
from service_kit.errors import Refusal
from service_kit.profiles import CLIENT_EVENTS
from service_kit.session_fields import (
    FIELDS_OF_RESPONSE,
    FIELDS_OF_SESSION,
    InvalidField,
    is_open,
    known_leaves,
    rebuild,
    unflatten,
)
from service_kit.session_token import Limits, Lock

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID_CHARS)]
_Index = Annotated[int, Meta(ge=0, le=2**31)]
_Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]


@dataclass(frozen=True, slots=True)
class Forward:
    """Send this rebuilt event to the model. ``audio_bytes`` counts the audio in it."""

    event: dict[str, Any]
    audio_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ShowSession:
    """Nothing is left to forward: answer with the session as it is."""


class _Event(Struct, tag_field="type", kw_only=True, omit_defaults=True):
    event_id: Annotated[str, Meta(max_length=MAX_EVENT_ID_CHARS)] | UnsetType = UNSET


class _SessionUpdate(_Event, tag="session.update"):
    session: dict[str, Any]


class _Append(_Event, tag="input_audio_buffer.append"):
    audio: str


class _Commit(_Event, tag="input_audio_buffer.commit"):
    pass


class _Clear(_Event, tag="input_audio_buffer.clear"):
    pass


class _ClearOutput(_Event, tag="output_audio_buffer.clear"):
    pass


class _CreateItem(_Event, tag="conversation.item.create"):
    item: dict[str, Any]
    previous_item_id: _Id | UnsetType | None = UNSET


class _RetrieveItem(_Event, tag="conversation.item.retrieve"):
    item_id: _Id


class _TruncateItem(_Event, tag="conversation.item.truncate"):
    item_id: _Id
    content_index: _Index
    audio_end_ms: _Index


class _DeleteItem(_Event, tag="conversation.item.delete"):
    item_id: _Id


class _CreateResponse(_Event, tag="response.create"):
    response: dict[str, Any] | UnsetType | None = UNSET


class _CancelResponse(_Event, tag="response.cancel"):
    response_id: _Id | UnsetType = UNSET


_Events = (
    _SessionUpdate
    | _Append
    | _Commit
    | _Clear
    | _ClearOutput
    | _CreateItem
    | _RetrieveItem
    | _TruncateItem
    | _DeleteItem
    | _CreateResponse
    | _CancelResponse
)


class _Part(Struct, kw_only=True, omit_defaults=True):
    pass


class _InputText(_Part, tag_field="type", tag="input_text"):
    text: str


class _InputAudio(_Part, tag_field="type", tag="input_audio"):
    audio: str
    transcript: str | UnsetType | None = UNSET


class _InputImage(_Part, tag_field="type", tag="input_image"):
    image_url: str
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class _UserMessage(_Part, tag_field="type", tag="message"):
    role: Literal["user"]
    content: list[_InputText | _InputAudio | _InputImage]
    id: _Id | UnsetType = UNSET


class _FunctionCallOutput(_Part, tag_field="type", tag="function_call_output"):
    call_id: _Id
    output: str
    id: _Id | UnsetType = UNSET


class _ItemReference(_Part, tag_field="type", tag="item_reference"):
    id: _Id


class _Response(_Part):
    """The fields of ``response.create`` that every profile leaves to the client (protocol reference §3.6)."""

    conversation: Literal["auto", "none"] | UnsetType = UNSET
    metadata: _Metadata | UnsetType | None = UNSET
    output_modalities: Annotated[list[Literal["audio", "text"]], Meta(min_length=1, max_length=1)] | UnsetType = UNSET
    max_output_tokens: Annotated[int, Meta(ge=1)] | Literal["inf"] | UnsetType = UNSET
    input: list[dict[str, Any]] | UnsetType = UNSET


_RESPONSE_FIELDS: Final = frozenset(_Response.__struct_fields__)
_INFORMATIONAL: Final = frozenset({"object", "status"})
"""Keys of every item that tell the service nothing (protocol reference §3.4): left out by every profile."""
_MAX_PARAM_CHARS: Final = 128
_AT: Final = re.compile(r" - at (?:`key` in )?`\$([^`]*)`\Z")
_MISSING: Final = re.compile(r"Object missing required field `([^`]*)`")


def judge_browser_event(
    event: dict[str, Any], *, lock: Lock, limits: Limits, conversation: Conversation
) -> Forward | ShowSession:
    """Decide what happens to one decoded event of the browser. Raises Refusal; the session lives on."""
    try:
        return _judge(event, lock, limits, conversation)
    except Refusal as refusal:
        event_id = event.get("event_id")
        if isinstance(event_id, str) and len(event_id) <= MAX_EVENT_ID_CHARS:
            refusal.event_id = event_id
        raise


def _judge(event: dict[str, Any], lock: Lock, limits: Limits, conversation: Conversation) -> Forward | ShowSession:
    event_type = event.get("type")
    if not isinstance(event_type, str) or event_type not in CLIENT_EVENTS:
        raise Refusal("invalid_event", param="type")
    if event_type not in lock.client_events or (
        lock.session["type"] == "transcription" and event_type.startswith("response.")
    ):
        raise Refusal("event_not_allowed", param="type")
    shaped = _shape(event, _Events, "")
    if lock.on_locked_field == "refuse":
        _refuse_unknown(event, shaped)
    rebuilt: dict[str, Any] = msgspec.to_builtins(shaped)
    match shaped:
        case _SessionUpdate(session=session):
            narrowed = narrow_session(session, lock, limits)
            if not narrowed:
                return ShowSession()
            rebuilt["session"] = {"type": lock.session["type"], **narrowed}
        case _Append(audio=audio):
            return Forward(rebuilt, _audio(audio, conversation, "audio"))
        case _CreateItem(item=item):
            answered: set[str] = set()
            rebuilt["item"], heard = _item(item, lock, conversation, "item", answered)
            conversation.open_calls -= answered
            return Forward(rebuilt, heard)
        case _CreateResponse(response=dict(response)):
            rebuilt["response"], heard = _response(response, lock, limits, conversation)
            if rebuilt["response"].get("conversation") == "none":
                rebuilt["event_id"] = conversation.asked_out_of_band(rebuilt.get("event_id"))
            if not rebuilt["response"]:
                del rebuilt["response"]
            return Forward(rebuilt, heard)
    return Forward(rebuilt)


def narrow_session(session: Mapping[str, Any], lock: Lock, limits: Limits) -> dict[str, Any]:
    """What a client's ``session.update`` may change: the open fields, rebuilt; nested, possibly empty.

    Raises Refusal for a bad value in an open field, or for a locked field where the profile refuses those.
    """
    leaves, unknown = known_leaves(session)
    fixed = [key for key in ("type", "model") if key in session and session[key] != lock.session.get(key)]
    kept = _open_leaves(leaves, fixed + unknown, FIELDS_OF_SESSION[str(lock.session["type"])], lock, limits, "session")
    return unflatten(kept)


def _open_leaves(
    leaves: Mapping[str, Any], unknown: list[str], existing: Set[str], lock: Lock, limits: Limits, prefix: str
) -> dict[str, Any]:
    open_leaves = {
        path: value for path, value in leaves.items() if path in existing and is_open(path, lock.open_fields)
    }
    if lock.on_locked_field == "refuse":
        for path in (*(path for path in leaves if path not in open_leaves), *unknown):
            raise Refusal("field_locked", param=f"{prefix}.{path}"[:_MAX_PARAM_CHARS])
    kept: dict[str, Any] = {}
    for path, value in open_leaves.items():
        try:
            kept[path] = rebuild(path, value, client=True)
        except InvalidField as error:
            raise Refusal("invalid_event", param=f"{prefix}.{path}") from error
        if path == "max_output_tokens":
            kept[path] = _at_most(kept[path], limits.max_output_tokens)
    return kept


def _response(
    response: dict[str, Any], lock: Lock, limits: Limits, conversation: Conversation
) -> tuple[dict[str, Any], int]:
    own = {key: value for key, value in response.items() if key in _RESPONSE_FIELDS}
    leaves, unknown = known_leaves({key: value for key, value in response.items() if key not in _RESPONSE_FIELDS})
    shaped = _shape(own, _Response, "response.")
    rebuilt: dict[str, Any] = msgspec.to_builtins(shaped)
    unknown += [key for key in ("type", "model") if key in response]
    rebuilt |= unflatten(_open_leaves(leaves, unknown, FIELDS_OF_RESPONSE, lock, limits, "response"))
    heard = 0
    answered: set[str] = set()
    if shaped.max_output_tokens is not UNSET:
        rebuilt["max_output_tokens"] = _at_most(shaped.max_output_tokens, limits.max_output_tokens)
    if shaped.input is not UNSET:
        rebuilt["input"] = []
        for index, item in enumerate(shaped.input):
            path = f"response.input[{index}]"
            item_rebuilt, item_heard = _item(item, lock, conversation, path, answered, may_refer=True)
            rebuilt["input"].append(item_rebuilt)
            heard += item_heard
    if shaped.conversation == "none" and conversation.out_of_band_responses >= MAX_OUT_OF_BAND_RESPONSES:
        raise Refusal("response_limit")
    conversation.open_calls -= answered
    return rebuilt, heard


def _item(
    item: dict[str, Any],
    lock: Lock,
    conversation: Conversation,
    path: str,
    answered: set[str],
    *,
    may_refer: bool = False,
) -> tuple[dict[str, Any], int]:
    """An item a browser may add, rebuilt, and the audio bytes in it.

    Calls that it answers go to ``answered``: they count as answered once the whole event was accepted.
    """
    match item.get("type"):
        case "message":
            if item.get("role") != "user":
                raise Refusal("event_not_allowed", param=f"{path}.role")
            message = _shape_item(item, _UserMessage, lock, path)
            heard = sum(
                _part(part, lock, conversation, f"{path}.content[{index}]")
                for index, part in enumerate(message.content)
            )
            return msgspec.to_builtins(message), heard
        case "function_call_output":
            output = _shape_item(item, _FunctionCallOutput, lock, path)
            if output.call_id not in conversation.open_calls or output.call_id in answered:
                raise Refusal("event_not_allowed", param=f"{path}.call_id")
            answered.add(output.call_id)
            return msgspec.to_builtins(output), 0
        case "item_reference" if may_refer:
            return msgspec.to_builtins(_shape_item(item, _ItemReference, lock, path)), 0
    raise Refusal("event_not_allowed", param=f"{path}.type")


def _part(part: _Part, lock: Lock, conversation: Conversation, path: str) -> int:
    """Check one part of a message; the audio bytes in it."""
    if part.__struct_config__.tag not in lock.client_content:
        raise Refusal("event_not_allowed", param=f"{path}.type")
    match part:
        case _InputAudio(audio=audio):
            return _audio(audio, conversation, f"{path}.audio")
        case _InputImage(image_url=url) if not is_embedded_image(url):
            # An address would make the service fetch what the client names.
            raise Refusal("invalid_event", param=f"{path}.image_url")
    return 0


def _shape_item(item: dict[str, Any], type_: Any, lock: Lock, path: str) -> Any:
    shaped = _shape(item, type_, f"{path}.")
    if lock.on_locked_field == "refuse":
        _refuse_unknown(item, shaped, f"{path}.", _INFORMATIONAL)
        for index, part in enumerate(getattr(shaped, "content", ())):
            _refuse_unknown(item["content"][index], part, f"{path}.content[{index}].")
    return shaped


def _audio(audio: str, conversation: Conversation, path: str) -> int:
    try:
        return audio_bytes(audio, conversation.input_format.bytes_per_sample)
    except InvalidAudio as error:
        raise Refusal("invalid_event", param=path) from error


def _shape(value: object, type_: Any, prefix: str) -> Any:
    """``value`` as one of our structs, unknown keys left out. Raises Refusal naming the offending field."""
    try:
        return msgspec.convert(value, type=type_)
    except msgspec.ValidationError as error:
        raise Refusal("invalid_event", param=(prefix + _place(str(error))).rstrip(".") or None) from error


def _place(complaint: str) -> str:
    """The field that msgspec complains about, such as ``content[0].text``.

    The place ends its text, and a missing field begins it; what is between may quote the value.
    """
    place = _AT.search(complaint)
    missing = _MISSING.match(complaint)
    return ".".join(filter(None, [place and place[1].lstrip("."), missing and missing[1]]))


def _refuse_unknown(
    received: Mapping[str, Any], shaped: Struct, prefix: str = "", ignored: Set[str] = frozenset()
) -> None:
    known = {"type", *shaped.__struct_fields__} | ignored
    for key in received:
        if key not in known:
            raise Refusal("field_locked", param=(prefix + key)[:_MAX_PARAM_CHARS])


def _at_most(asked: int | str, ceiling: int) -> int:
    return min(asked, ceiling) if isinstance(asked, int) else ceiling
