"""A conversation: its items in order, with the audio that events leave out and the tokens each item costs."""

import base64
import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil

from local_cloud.realtime.audio_formats import PCM, AudioFormat
from local_cloud.realtime.events import Json, Refused

USER_MS_PER_TOKEN, ASSISTANT_MS_PER_TOKEN, CHARS_PER_TOKEN = 100, 50, 4
_MOST_AUDIO_BYTES = 16 << 20


def text_tokens(text: str) -> int:
    """Return about how many tokens ``text`` costs."""
    return ceil(len(text) / CHARS_PER_TOKEN)


@dataclass(slots=True)
class Entry:
    """One item of a conversation.

    Attributes:
        body: the item as events show it, without audio.
        audio: the audio of each content part that has some, by content index.
        audio_ms: how long it plays; stays when old audio is let go.
        speech_ms: for a user's turn, how long someone spoke.
        was_input: an earlier response has read the item, so that its tokens now count as cached.
    """

    body: Json
    audio: dict[int, bytearray] = field(default_factory=dict)
    format: AudioFormat = PCM
    audio_ms: int = 0
    speech_ms: int = 0
    was_input: bool = False

    @property
    def id(self) -> str:
        """The item's id."""
        return str(self.body["id"])

    def public(self) -> Json:
        """Return the item for an event: without audio, and safe from later changes."""
        return copy.deepcopy(self.body)

    def with_audio(self) -> Json:
        """Return the item for ``conversation.item.retrieved``."""
        body = self.public()
        for index, part in enumerate(body.get("content", ())):  # has no part yet that is still being spoken
            if index in self.audio:
                part["audio"] = base64.b64encode(self.audio[index]).decode()
        return body

    def tokens(self) -> tuple[int, int]:
        """Return what the item costs as input: text tokens, audio tokens."""
        spoken = self.body.get("role") == "assistant"
        text = sum(text_tokens(str(self.body.get(key, ""))) for key in ("name", "arguments", "output"))
        for part in self.body.get("content", ()):
            text += text_tokens(part.get("text") or (spoken and part.get("transcript")) or "")
        return text, ceil(self.audio_ms / (ASSISTANT_MS_PER_TOKEN if spoken else USER_MS_PER_TOKEN))

    def texts(self) -> str:
        """Return the item's typed text."""
        return " ".join(part["text"] for part in self.body.get("content", ()) if "text" in part)


class Conversation:
    """The default conversation of a session."""

    def __init__(self, conversation_id: str) -> None:
        self.id = conversation_id
        self.entries: list[Entry] = []

    @property
    def has_assistant_audio(self) -> bool:
        """Whether the model has been heard: from then on its voice is fixed."""
        return any(entry.audio_ms and entry.body.get("role") == "assistant" for entry in self.entries)

    @property
    def last_id(self) -> str | None:
        """The id of the newest item."""
        return self.entries[-1].id if self.entries else None

    def has_call(self, call_id: object) -> bool:
        """Whether the model called a function under this id."""
        return any(
            entry.body["type"] == "function_call" and entry.body.get("call_id") == call_id for entry in self.entries
        )

    def insert(self, entry: Entry, previous_item_id: str | None = None) -> str | None:
        """Put an item after another (``"root"``: first; None: last) and return the id of its predecessor.

        Raises:
            Refused: the id is taken, or ``previous_item_id`` is unknown.
        """
        if any(entry.id == other.id for other in self.entries):
            raise Refused(f"Item with id '{entry.id}' already exists.", "invalid_value", "item.id")
        if previous_item_id is None:
            at = len(self.entries)
        elif previous_item_id == "root":
            at = 0
        else:
            at = 1 + self.entries.index(self.get(previous_item_id, "previous_item_id"))
        self.entries.insert(at, entry)
        self._let_old_audio_go()
        return self.entries[at - 1].id if at else None

    def get(self, item_id: str, param: str = "item_id") -> Entry:
        """Return an item.

        Raises:
            Refused: there is none; ``param`` is the field that named it.
        """
        for entry in self.entries:
            if entry.id == item_id:
                return entry
        raise Refused(f"Item with item_id '{item_id}' not found.", "item_not_found", param)

    def delete(self, item_id: str) -> None:
        """Remove an item.

        Raises:
            Refused: there is none.
        """
        self.entries.remove(self.get(item_id))

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut what the assistant said to what was heard; its transcript goes, since nobody knows where it was cut.

        Raises:
            Refused: no such item, no assistant audio, or the audio is shorter than ``audio_end_ms``.
        """
        entry = self.get(item_id)
        if entry.body.get("role") != "assistant":
            raise Refused("Only model output audio messages can be truncated.", "invalid_value", "item_id")
        content = entry.body["content"]
        if entry.audio_ms == 0 or content_index >= max(len(content), 1):
            raise Refused("The content part holds no audio.", "invalid_value", "content_index")
        if audio_end_ms > entry.audio_ms:
            raise Refused(
                f"Audio content of {entry.audio_ms}ms is already shorter than {audio_end_ms}ms",
                "invalid_value",
                "audio_end_ms",
            )
        entry.audio_ms = audio_end_ms
        for audio in entry.audio.values():
            del audio[audio_end_ms * entry.format.bytes_per_ms :]
        entry.body["content"] = [{"type": "output_audio"}]

    def _let_old_audio_go(self) -> None:
        kept = 0
        for entry in reversed(self.entries):
            kept += sum(map(len, entry.audio.values()))
            if kept > _MOST_AUDIO_BYTES:
                entry.audio.clear()


def input_usage(entries: Iterable[Entry], preface: str, *, preface_was_input: bool) -> Json:
    """Return the input half of a response's usage, and mark the items as read.

    Args:
        entries: the items the response reads.
        preface: the text that precedes them: instructions and tools.
        preface_was_input: an earlier response has read the preface.
    """
    text = text_tokens(preface)
    audio, cached_text, cached_audio = 0, text if preface_was_input else 0, 0
    for entry in entries:
        its_text, its_audio = entry.tokens()
        text, audio = text + its_text, audio + its_audio
        if entry.was_input:
            cached_text, cached_audio = cached_text + its_text, cached_audio + its_audio
        entry.was_input = True
    return {
        "input_tokens": text + audio,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": audio,
            "image_tokens": 0,
            "cached_tokens": cached_text + cached_audio,
            "cached_tokens_details": {"text_tokens": cached_text, "audio_tokens": cached_audio, "image_tokens": 0},
        },
    }
