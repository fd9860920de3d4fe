"""The items a client may put into a conversation, checked and turned into entries."""

# ruff: noqa: D101 - the shapes are the protocol's; a docstring for each would only repeat its name

import base64
import binascii
from typing import Literal

import msgspec

from local_cloud.realtime.audio_formats import AudioFormat
from local_cloud.realtime.conversation import Entry
from local_cloud.realtime.events import Json, Refused, new_id
from local_cloud.realtime.schema import Shape, check


class InputText(Shape, tag="input_text"):
    text: str


class InputAudio(Shape, tag="input_audio"):
    audio: str | None = None
    transcript: str | None = None


class InputImage(Shape, tag="input_image"):
    image_url: str
    detail: Literal["auto", "low", "high"] | None = None


class OutputText(Shape, tag="output_text"):
    text: str


class Item(Shape, kw_only=True):
    id: str | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class Message(Item, tag="message"):
    role: Literal["system", "user", "assistant"]
    content: list[InputText | InputAudio | InputImage | OutputText]


class FunctionCall(Item, tag="function_call"):
    name: str
    arguments: str
    call_id: str | None = None


class FunctionCallOutput(Item, tag="function_call_output"):
    call_id: str
    output: str


class McpApprovalResponse(Item, tag="mcp_approval_response"):
    approval_request_id: str
    approve: bool
    reason: str | None = None


AnyItem = Message | FunctionCall | FunctionCallOutput | McpApprovalResponse
_PARTS_OF = {"system": (InputText,), "user": (InputText, InputAudio, InputImage), "assistant": (OutputText,)}


def new_entry(item: Json, audio_format: AudioFormat, root: str = "item") -> Entry:
    """Return a client's item as an entry of a conversation, with the fields the service adds.

    Args:
        item: as the client sent it.
        audio_format: of the audio in it.
        root: where the item stands in the client's event.

    Raises:
        Refused: it is not an item a client may create.
    """
    checked: AnyItem = check(item, AnyItem, root)
    body = {"id": new_id("item"), "object": "realtime.item", "status": "completed", **msgspec.to_builtins(checked)}
    entry = Entry(body, format=audio_format)
    if isinstance(checked, FunctionCall):
        body.setdefault("call_id", new_id("call"))
    if isinstance(checked, Message):
        for index, part in enumerate(checked.content):
            where = f"{root}.content[{index}]"
            if not isinstance(part, _PARTS_OF[checked.role]):
                raise Refused(f"Invalid content part for role '{checked.role}'.", "invalid_value", f"{where}.type")
            if isinstance(part, InputAudio):
                audio = decode_audio(part.audio or "", f"{where}.audio")
                body["content"][index] = {"type": "input_audio", "transcript": part.transcript}
                entry.audio[index] = bytearray(audio)
                entry.audio_ms += audio_format.duration_ms(audio)
    entry.speech_ms = entry.audio_ms
    return entry


def decode_audio(text: str, param: str = "audio") -> bytes:
    """Return the bytes of base64 audio.

    Raises:
        Refused: it is not base64; ``param`` is the field that held it.
    """
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused("Invalid audio: expected base64-encoded bytes.", "invalid_value", param) from error
