"""What an application of a client is told to do, and what came of it: each is one line of JSON."""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from local_cloud.realtime.voice import speech

Conversation = Literal["text", "voice", "function", "interruption", "wait"]
"""The last is none: the application says nothing until it is told that it is over."""

CONVERSATIONS: Final[tuple[Conversation, ...]] = ("text", "voice", "function", "interruption")
SPEECH: Final = speech("I heard four seconds of you.") + bytes(48 * 700)
"""Spoken, then 0.7 s of silence, which ends the turn."""

_PIECE_BYTES: Final = 4_800


@dataclass(frozen=True, slots=True)
class Job:
    """One conversation.

    Attributes:
        base_url: where OpenAI's API would be, ``https://…/v1``.
        token: what the client takes for a key.
        speech: what it says, in base64, piece by piece.
    """

    base_url: str
    token: str
    model: str
    conversation: Conversation
    speech: tuple[str, ...] = tuple(
        base64.b64encode(SPEECH[at : at + _PIECE_BYTES]).decode() for at in range(0, len(SPEECH), _PIECE_BYTES)
    )

    @property
    def url(self) -> str:
        """The WebSocket's address, for clients that take it whole."""
        return f"{self.base_url.replace('http', 'ws', 1)}/realtime?model={self.model}"

    def as_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self) | {"url": self.url})

    @classmethod
    def from_json(cls, line: str) -> Job:
        """What ``as_json`` wrote."""
        told = json.loads(line)
        del told["url"]
        return cls(**told)


@dataclass(frozen=True, slots=True)
class Refused:
    """What an application is told instead of a conversation, or in its midst.

    Attributes:
        by: what tells it: an exception's class, or an event of type `error`.
        status: of the answer to the upgrade, where the application can read it.
        code: our public code, where it can read that.
        message: what it reads where it can read neither.
        close: the close code and its reason, where it sees them.
    """

    by: str
    status: int | None = None
    code: str | None = None
    message: str | None = None
    close: tuple[int, str] | None = None


@dataclass(slots=True)
class Outcome:
    """What an application heard and saw.

    Attributes:
        said: the transcript of the last answer.
        heard: all the audio that came, of all answers, in base64.
        called: the function that the model called, and with what.
        endings: how each response ended, in order: its status, and the reason of one that was cancelled.
        truncated_ms: where an interrupted answer was cut, as the service confirmed it.
        history: what the client remembers of the conversation, if it does: type, and role or name, of each item.
        refused: what it was told instead.
    """

    said: str = ""
    heard: str = ""
    called: list[Any] | None = None
    endings: list[list[str | None]] = field(default_factory=list)
    truncated_ms: int | None = None
    history: list[list[str]] | None = None
    refused: Refused | None = None

    @property
    def heard_audio(self) -> bytes:
        """As bytes."""
        return base64.b64decode(self.heard)

    def as_json(self) -> str:
        """One line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Outcome:
        """What an application told."""
        refused = told.pop("refused", None)
        if refused:
            close = refused.pop("close", None)
            refused = Refused(**refused, close=tuple(close) if close else None)
        return cls(**told, refused=refused)
