"""What can be made to go wrong, on the next connections or on all.

A handshake fault answers the upgrade request (`HttpStatus`, `StallHandshake`, `DropHandshake`), ends the connection
right after it (`RejectAfterUpgrade`) or begins no session on it (`NoGreeting`); the others change how a session goes.
Each is plain data, in JSON too, where ``kind`` names it: ``{"kind": "http_status", "status": 429, "retry_after": 2}``.
"""

from typing import Literal

import msgspec

from local_cloud.realtime.events import Json, Refused, error_event, new_id


class _Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    pass


class HttpStatus(_Fault, frozen=True, tag="http_status"):
    """Answer the upgrade with this status instead; ``location`` makes a redirect of a 3xx."""

    status: int = 503
    code: str | None = None
    message: str = "The simulator was told to refuse."
    retry_after: int | None = None
    location: str | None = None


class DropHandshake(_Fault, frozen=True, tag="drop_handshake"):
    """Abort the TCP connection instead of answering the upgrade."""


class StallHandshake(_Fault, frozen=True, tag="stall_handshake"):
    """Never answer the upgrade."""


class RejectAfterUpgrade(_Fault, frozen=True, tag="reject_after_upgrade"):
    """Answer 101, send one ``error`` and close, as OpenAI does; the defaults are those of a wrong key."""

    code: str = "invalid_api_key"
    type: str = "invalid_request_error"
    message: str = "Incorrect API key provided."
    close_code: int = 3000


class NoGreeting(_Fault, frozen=True, tag="no_greeting"):
    """Answer 101, but send ``text`` or nothing in place of ``session.created``; a stall reads on without an answer."""

    text: str | None = None
    then: Literal["close", "abort", "stall"] = "stall"
    close_code: int = 1011


class IgnoreSessionUpdate(_Fault, frozen=True, tag="ignore_session_update"):
    """Never answer a ``session.update``, nor apply it."""


class RefuseSessionUpdate(_Fault, frozen=True, tag="refuse_session_update"):
    """Answer every ``session.update`` with an ``error``, and apply nothing."""

    code: str = "invalid_value"
    message: str = "Invalid value."
    param: str | None = "session.instructions"


class AlterSessionUpdated(_Fault, frozen=True, tag="alter_session_updated"):
    """Show values in ``session.updated`` that nobody set; ``changes`` is merged into ``session``, object by object."""

    changes: Json


class FailResponse(_Fault, frozen=True, tag="fail_response"):
    """End every response at once with the status ``failed``; ``insufficient_quota`` is another likely ``code``."""

    code: str = "rate_limit_exceeded"
    type: str = "requests"
    message: str = "Rate limit reached."


class MultiplyUsage(_Fault, frozen=True, tag="multiply_usage"):
    """Report every response's token counts multiplied."""

    by: int


class StopReading(_Fault, frozen=True, tag="stop_reading"):
    """Take nothing more from the network for so long, once an event of the type ``after`` was sent."""

    after: str = "session.updated"
    seconds: float = 30.0


class Interject(_Fault, frozen=True, tag="interject"):
    """Do something right after the session sent an event of the type ``after`` for the ``nth`` time.

    The frames go out in the order of the fields; ``then`` is what follows. A stall sends nothing any more, yet keeps
    the connection and reads on.
    """

    after: str
    nth: int = 1
    events: list[Json] = []
    text: str | None = None
    binary: bytes | None = None
    then: Literal["go_on", "close", "abort", "stall"] = "go_on"
    close_code: int = 1011
    close_reason: str = ""


HandshakeFault = HttpStatus | DropHandshake | StallHandshake | RejectAfterUpgrade | NoGreeting
SessionFault = (
    IgnoreSessionUpdate
    | RefuseSessionUpdate
    | AlterSessionUpdated
    | FailResponse
    | MultiplyUsage
    | StopReading
    | Interject
)
Fault = HandshakeFault | SessionFault


def stall_after_created() -> Interject:
    """Send nothing after ``session.created``."""
    return Interject(after="session.created", then="stall")


def close_mid_response(code: int = 1011, reason: str = "", *, after_deltas: int = 1) -> Interject:
    """Close during the audio of the first response."""
    return Interject(
        after="response.output_audio.delta", nth=after_deltas, then="close", close_code=code, close_reason=reason
    )


def abort_mid_response(*, after_deltas: int = 1) -> Interject:
    """Cut the TCP connection during the audio of the first response."""
    return Interject(after="response.output_audio.delta", nth=after_deltas, then="abort")


def stall_mid_response(*, after_deltas: int = 1) -> Interject:
    """Fall silent during the audio of the first response."""
    return Interject(after="response.output_audio.delta", nth=after_deltas, then="stall")


def session_expired(after: str = "session.created") -> Interject:
    """End the session as OpenAI does at its maximum age."""
    message = "Your session hit the maximum duration of 60 minutes."
    event = error_event(Refused(message, "session_expired").error)
    return Interject(after=after, events=[event], then="close", close_code=1001, close_reason=message)


def garbage(after: str = "session.updated", text: str = '{"type": "response.done", ') -> Interject:
    """Send a text frame that is no JSON."""
    return Interject(after=after, text=text)


def binary_frame(after: str = "session.updated", data: bytes = b"\x00\x01\x02\xff") -> Interject:
    """Send a binary frame."""
    return Interject(after=after, binary=data)


def huge_frame(size: int, after: str = "session.updated") -> Interject:
    """Send a valid event of a type nobody knows, about ``size`` characters long."""
    return Interject(
        after=after, events=[{"type": "simulator.huge", "event_id": new_id("event"), "filler": "x" * size}]
    )


def unknown_event(after: str = "session.updated") -> Interject:
    """Send an event of a type that came after the client was written."""
    return Interject(after=after, events=[{"type": "session.novelty", "event_id": new_id("event"), "news": [1, 2]}])


class Faults:
    """The faults still to come.

    A connection takes the oldest handshake fault, and no other; if there is none, it takes every session fault.
    """

    def __init__(self) -> None:
        self._planned: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault, *, times: int | None = 1) -> None:
        """Let ``fault`` befall the next ``times`` connections, or all of them (None)."""
        self._planned.append((fault, times))

    def clear(self) -> None:
        """Forget what is still to come; connections keep what they took."""
        self._planned.clear()

    def take_handshake(self) -> HandshakeFault | None:
        """Return the fault that the handshake of a new connection meets."""
        for fault, _ in self._planned:
            if isinstance(fault, HandshakeFault):
                self._use(fault)
                return fault
        return None

    def take_session(self) -> list[SessionFault]:
        """Return the faults of a new session."""
        taken = [fault for fault, _ in self._planned if isinstance(fault, SessionFault)]
        for fault in taken:
            self._use(fault)
        return taken

    def _use(self, used: Fault) -> None:
        for at, (fault, times) in enumerate(self._planned):
            if fault is used:
                if times is not None:
                    self._planned[at] = (fault, times - 1)
                break
        self._planned = [(fault, times) for fault, times in self._planned if times != 0]
