"""Realtime events as bytes: reading them strictly, and proving the commonest ones without a full parse. Pure."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import pybase64

from service_kit import strict_json
from service_kit.errors import Refusal

MAX_EVENT_ID_CHARS: Final = 512

_APPEND_HEAD: Final = b'{"type":"input_audio_buffer.append","audio":"'
_TAIL: Final = b'"}'
_SHORTEST_APPEND: Final = len(_APPEND_HEAD) + len(_TAIL)
_APPENDED: Final = slice(len(_APPEND_HEAD), -len(_TAIL))
_IMAGE_HEADS: Final = ("data:image/png;base64,", "data:image/jpeg;base64,")
_BYTES_PER_MILLISECOND: Final = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}

encode: Final = msgspec.json.Encoder().encode
# Called by position, which takes no alphabet and then is strict: by name it would cost half as much again.
_decode_audio: Final = pybase64.b64decode


def new_event_id() -> str:
    """An id for an event of our own."""
    return "event_" + secrets.token_hex(10)


@dataclass(frozen=True)  # without slots, which Cython gives it
class AudioFormat:
    """How many bytes one millisecond takes, and one sample (protocol reference §5.3)."""

    bytes_per_millisecond: int
    bytes_per_sample: int

    @classmethod
    def of(cls, format_type: object) -> AudioFormat:
        """The format of a session's ``audio.*.format.type``; PCM when it says nothing we know."""
        size = _BYTES_PER_MILLISECOND.get(str(format_type), 48)
        return cls(size, 2 if size == 48 else 1)


class InvalidAudio(ValueError):
    """Not standard base64, or not whole samples."""


def audio_bytes(audio: str | bytes, sample_bytes: int) -> int:
    """How many bytes of audio a base64 text holds, after a strict decode. Raises InvalidAudio."""
    try:
        size = len(_decode_audio(audio, None, True))
    except ValueError as error:
        raise InvalidAudio("not base64") from error
    if size % sample_bytes:
        raise InvalidAudio("not whole samples")
    return size


def is_embedded_image(url: str) -> bool:
    """Whether an image stands in the URL itself: a PNG or JPEG as strict base64 (protocol reference §3.1)."""
    head = next((head for head in _IMAGE_HEADS if url.startswith(head)), None)
    if head is None:
        return False
    try:
        return len(_decode_audio(url[len(head) :], None, True)) > 0
    except ValueError:
        return False


def canonical_append(frame: bytes, sample_bytes: int) -> int | None:
    """The audio bytes of an append event that is spelled exactly as we would rebuild it, else None.

    Exact head, valid base64, exact tail: no JSON parser can read anything else in it, so it may be forwarded as it is.
    """
    if not (frame.startswith(_APPEND_HEAD) and frame.endswith(_TAIL)):
        return None
    try:
        size = len(_decode_audio(frame[_APPENDED], None, True))
    except ValueError:
        return None
    if size % sample_bytes or (not size and len(frame) < _SHORTEST_APPEND):  # head and tail may share no quote
        return None
    return size


def decode_browser_event(frame: bytes) -> dict[str, Any]:
    """One event of a browser, by the strict reading.

    Raises Refusal: ``invalid_frame`` where it is not UTF-8, which ends the session (RFC 6455 §8.1), ``invalid_event``.
    """
    try:
        event = strict_json.decode(frame)
    except strict_json.InvalidJson as error:
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise Refusal("invalid_frame", close=1007) from error
        raise Refusal("invalid_event") from error
    if not isinstance(event, dict):
        raise Refusal("invalid_event")
    return event


class _Delta(msgspec.Struct, tag_field="type", forbid_unknown_fields=True, kw_only=True, gc=False):
    """A streaming event of the model: these keys and no other, so there is nothing in it to hide."""

    event_id: Annotated[str, msgspec.Meta(max_length=MAX_EVENT_ID_CHARS)]
    response_id: str
    item_id: str
    output_index: int
    content_index: int = 0
    obfuscation: str = ""


class _AudioDelta(_Delta, tag="response.output_audio.delta", kw_only=True, gc=False):
    delta: str


class _TextDelta(_Delta, tag="response.output_text.delta", kw_only=True, gc=False):
    delta: msgspec.Raw  # not a str: half of an emoji's escape is none, and may end a piece of text


class _TranscriptDelta(_TextDelta, tag="response.output_audio_transcript.delta", gc=False):
    pass


class _ArgumentsDelta(_TextDelta, tag="response.function_call_arguments.delta", kw_only=True, gc=False):
    call_id: str = ""


_NOT_AN_EVENT: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, not UTF-8, or nested too deep."""

_decode_delta: Final = msgspec.json.Decoder(_AudioDelta | _TranscriptDelta | _TextDelta | _ArgumentsDelta).decode


class Deltas:
    """Reads the streaming events of one session's model.

    Those that bring audio are spelled alike but for their event's id and the audio. What is alike was proved by a full
    parse once; of the next only the two others are looked at, and neither can hold more than letters and digits.
    """

    __slots__ = ("_head", "_middle", "_start")

    def __init__(self) -> None:
        self._head = self._middle = b'"'  # no event begins with it
        self._start = 1

    def audio_bytes(self, frame: bytes) -> int | None:
        """How much audio a streaming event carries, in bytes (0 for text), or None if it is another event."""
        if frame.startswith(self._head):
            end = frame.find(b'"', self._start)
            if frame.startswith(self._middle, end) and frame[self._start : end].isalnum() and frame.endswith(_TAIL):
                try:
                    size = len(_decode_audio(frame[end + len(self._middle) : -2], None, True))
                except ValueError:
                    size = 0
                if size:
                    return size
        return self._parsed(frame)

    def _parsed(self, frame: bytes) -> int | None:
        try:
            delta = _decode_delta(frame)
        except _NOT_AN_EVENT:
            return None
        if not isinstance(delta, _AudioDelta):
            return 0 if bytes(delta.delta).startswith(b'"') else None
        audio = delta.delta
        self._learn(frame, delta.event_id.encode(), audio.encode())
        return max(0, len(audio) // 4 * 3 - audio.count("=", -2))

    def _learn(self, frame: bytes, event_id: bytes, audio: bytes) -> None:
        """Keep what of this event will be alike in the next, if they are spelled without blanks and its audio is last.

        Quotes within a text are escaped, so this key and value stand nowhere but where they mean themselves.
        """
        before, found, after = frame.partition(b'"event_id":"' + event_id + b'"')
        if found and after.endswith(b'"delta":"' + audio + _TAIL):
            self._head = before + b'"event_id":"' + event_id[: event_id.rfind(b"_") + 1]
            self._middle = b'"' + after[: -len(audio + _TAIL)]
            self._start = len(self._head)


def decode_model_event(frame: bytes) -> dict[str, Any] | None:
    """One event of the model; None for what is no event at all."""
    try:
        event = msgspec.json.decode(frame)
    except _NOT_AN_EVENT:
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None
