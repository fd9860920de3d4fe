"""What an application of a client is told to do, and what came of it."""

from __future__ import annotations

import base64
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from local_cloud.realtime.voice import speech

Conversation = Literal["text", "voice", "function", "interruption"]
CONVERSATIONS: Final[tuple[Conversation, ...]] = ("text", "voice", "function", "interruption")
SPEECH: Final = speech("I heard four seconds of you.") + bytes(48 * 700)
"""Spoken, then 0.7 s of silence, which ends the turn."""


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
        base64.b64encode(SPEECH[at : at + 4_800]).decode() for at in range(0, len(SPEECH), 4_800)
    )

    @property
    def url(self) -> str:
        """The WebSocket's address, for clients that take it whole."""
        return f"{self.base_url.replace('http', 'ws', 1)}/realtime?model={self.model}"

    def as_json(self, **more: Any) -> str:
        """For a client that is not Python's."""
        return json.dumps(dataclasses.asdict(self) | {"url": self.url} | more)


@dataclass(slots=True)
class Outcome:
    """What an application heard and saw.

    Attributes:
        said: the transcript of the last answer.
        heard_bytes: how much audio came, of all answers.
        called: the function that the model called, and with what.
        endings: how each response ended, in order.
        truncated_ms: where an interrupted answer was cut, as the service confirmed it.
        refused: what it was told instead of a conversation.
    """

    said: str = ""
    heard_bytes: int = 0
    called: list[Any] | None = None
    endings: list[str] = field(default_factory=list)
    truncated_ms: int | None = None
    refused: dict[str, Any] | None = None
