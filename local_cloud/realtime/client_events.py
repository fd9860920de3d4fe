"""The eleven events a client may send."""

# ruff: noqa: D101 - the shapes are the protocol's; a docstring for each would only repeat its name

from typing import Annotated

import msgspec
from msgspec import Meta

from local_cloud.realtime.events import Json, Refused
from local_cloud.realtime.schema import Shape, refusal


class ClientEvent(Shape, tag_field="type", kw_only=True):
    """What all of them share."""

    event_id: Annotated[str, Meta(max_length=512)] | None = None


class SessionUpdate(ClientEvent, tag="session.update"):
    session: Json


class AppendAudio(ClientEvent, tag="input_audio_buffer.append"):
    audio: str


class CommitAudio(ClientEvent, tag="input_audio_buffer.commit"):
    pass


class ClearAudio(ClientEvent, tag="input_audio_buffer.clear"):
    pass


class ClearOutputAudio(ClientEvent, tag="output_audio_buffer.clear"):
    pass


class CreateItem(ClientEvent, tag="conversation.item.create"):
    item: Json
    previous_item_id: str | None = None


class RetrieveItem(ClientEvent, tag="conversation.item.retrieve"):
    item_id: str


class TruncateItem(ClientEvent, tag="conversation.item.truncate"):
    item_id: str
    content_index: int
    audio_end_ms: Annotated[int, Meta(ge=0)]


class DeleteItem(ClientEvent, tag="conversation.item.delete"):
    item_id: str


class CreateResponse(ClientEvent, tag="response.create"):
    response: Json | None = None


class CancelResponse(ClientEvent, tag="response.cancel"):
    response_id: str | None = None


AnyClientEvent = (
    SessionUpdate
    | AppendAudio
    | CommitAudio
    | ClearAudio
    | ClearOutputAudio
    | CreateItem
    | RetrieveItem
    | TruncateItem
    | DeleteItem
    | CreateResponse
    | CancelResponse
)
_decoder = msgspec.json.Decoder(AnyClientEvent)


def read(text: str) -> AnyClientEvent:
    """Return the event a client sent as ``text``.

    Raises:
        Refused: it is no JSON, or no event a client may send.
    """
    try:
        event: AnyClientEvent = _decoder.decode(text)
    except msgspec.ValidationError as error:
        refused = refusal(error)
        if refused.error["param"] == "type":
            raise Refused(str(refused), "invalid_event", "type") from error
        raise refused from error
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise Refused("We could not parse the JSON of your event.", "invalid_json") from error
    return event


def event_id_in(text: str) -> str | None:
    """Return the ``event_id`` of a text that `read` refused, if it has one that can be echoed."""
    try:
        event = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    event_id = event.get("event_id") if isinstance(event, dict) else None
    return event_id if isinstance(event_id, str) else None
