"""What must be remembered of a conversation to judge its next event. Pure: fed with events, asked by policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.events import AudioFormat
from service_kit.session_fields import Session, merge

MAX_OUT_OF_BAND_RESPONSES: Final = 4


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
        self._asked_out_of_band = 0
        self.session_updated(effective)

    def session_updated(self, session: Mapping[str, Any]) -> None:
        """The model confirmed a session."""
        self.effective = merge(self.effective, session)
        self.input_format = _format(self.effective, "input")
        self.output_format = _format(self.effective, "output")

    @property
    def out_of_band_responses(self) -> int:
        """Responses outside the conversation that were asked for and are not done."""
        return self._asked_out_of_band + len(self._out_of_band)

    def asked_out_of_band(self) -> None:
        """A response outside the conversation was forwarded to the model."""
        self._asked_out_of_band += 1

    def observe(self, event: Mapping[str, Any]) -> None:
        """Take in an event of the model."""
        match event:
            case {"type": "session.updated", "session": dict(session)}:
                self.session_updated(session)
            case {"type": "response.created", "response": {"id": str(response_id), **rest}}:
                self.in_flight.add(response_id)
                if rest.get("conversation_id") is None and self._asked_out_of_band:
                    self._asked_out_of_band -= 1
                    self._out_of_band.add(response_id)
            case {"type": "response.done", "response": {"id": str(response_id)}}:
                self.in_flight.discard(response_id)
                self._out_of_band.discard(response_id)
            case {"type": "response.output_item.done", "item": {"type": "function_call", "call_id": str(call_id)}}:
                self.open_calls.add(call_id)
            case {"type": "error"} if self._asked_out_of_band:
                # The error may be of another event; too few counted is better than a limit that never frees.
                self._asked_out_of_band -= 1


def _format(session: Mapping[str, Any], direction: str) -> AudioFormat:
    match session.get("audio"):
        case {**audio}:
            match audio.get(direction):
                case {"format": {"type": str(name)}}:
                    return AudioFormat.of(name)
    return AudioFormat.of(None)
