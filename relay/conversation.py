"""What must be remembered of a conversation to judge its next event. Pure: fed with events, asked by policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.events import MAX_EVENT_ID_CHARS, AudioFormat, new_event_id
from service_kit.session_fields import Session, merge, transcription_model

MAX_OUT_OF_BAND_RESPONSES: Final = 4
_MAX_REMEMBERED: Final = 1_024
"""Calls and responses beyond so many are not remembered: what the model sends must not fill our memory."""


class Conversation:
    """One session's conversation so far.

    Attributes:
        effective: the session object as the model last confirmed it, unscrubbed.
        open_calls: ids of function calls that the model made and nobody has answered.
        in_flight: ids of the responses that are being generated.
    """

    def __init__(self, effective: Session) -> None:
        self.effective: Session = {}
        self.open_calls: set[str] = set()
        self.in_flight: set[str] = set()
        self._out_of_band: set[str] = set()
        self._asked_out_of_band: dict[str, str | None] = {}
        self.session_updated(effective)

    def session_updated(self, session: Mapping[str, Any]) -> None:
        """The model confirmed a session."""
        self.effective = merge(self.effective, session)
        self.input_format = _format(self.effective, "input")
        self.output_format = _format(self.effective, "output")
        self.transcription_model = transcription_model(self.effective)

    @property
    def out_of_band_responses(self) -> int:
        """Responses outside the conversation that were asked for and are not done."""
        return len(self._asked_out_of_band) + len(self._out_of_band)

    def asked_out_of_band(self, event_id: str | None) -> str:
        """A response outside the conversation is asked for; the event id to ask with, in place of the client's.

        Only so can an error be told to be about this request: a client may give one id to many events.
        """
        ours = new_event_id()
        self._asked_out_of_band[ours] = event_id
        return ours

    def observe(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the model; an error about a request that bears our event id gets the client's back."""
        match event:
            case {"type": "session.updated", "session": dict(session)}:
                self.session_updated(session)
            case {"type": "response.created", "response": {"id": str(response_id), **rest}}:
                _remember(response_id, self.in_flight)
                if rest.get("conversation_id") is None and self._asked_out_of_band:
                    del self._asked_out_of_band[next(iter(self._asked_out_of_band))]
                    self._out_of_band.add(response_id)
            case {"type": "response.done", "response": {"id": str(response_id)}}:
                self.in_flight.discard(response_id)
                self._out_of_band.discard(response_id)
            case {"type": "response.output_item.done", "item": {"type": "function_call", "call_id": str(call_id)}}:
                _remember(call_id, self.open_calls)
            case {"type": "error", "error": {"event_id": str(ours)}} if ours in self._asked_out_of_band:
                event["error"]["event_id"] = self._asked_out_of_band.pop(ours)


def _remember(id_: str, remembered: set[str]) -> None:
    if len(id_) <= MAX_EVENT_ID_CHARS and len(remembered) < _MAX_REMEMBERED:
        remembered.add(id_)


def _format(session: Mapping[str, Any], direction: str) -> AudioFormat:
    match session.get("audio"):
        case {**audio}:
            match audio.get(direction):
                case {"format": {"type": str(name)}}:
                    return AudioFormat.of(name)
    return AudioFormat.of(None)
