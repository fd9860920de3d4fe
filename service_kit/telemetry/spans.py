"""Parts of a trace. Each is on its own: a parent keeps no child, so that a long session holds no memory."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

import msgspec

from service_kit.telemetry.trace_context import TraceContext

SpanKind = Literal["server", "client", "internal"]
Value = str | int | float
FIRST_FAILURE_STATUS = 400


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A span that is over.

    Attributes:
        started_at: Unix seconds.
        status: the HTTP status that a server answered; 101 is a success.
        link: another trace's span that belongs to it.
    """

    name: str
    kind: SpanKind
    context: TraceContext
    parent_id: str | None
    started_at: float
    seconds: float
    has_failed: bool
    status: int | None
    link: TraceContext | None
    attributes: dict[str, Value] = {}


class Span:
    """A span that is not over; records itself at its end, once. One that nobody ends is never recorded.

    Attributes:
        parent: the span it is part of; may be set as long as it is not over.
        link: another trace's span that belongs to it; likewise.
        status: the HTTP status that was answered, of a server's span.
    """

    __slots__ = (
        "_attributes",
        "_clock",
        "_has_failed",
        "_id",
        "_kind",
        "_name",
        "_own_trace",
        "_record",
        "_started_at",
        "link",
        "parent",
        "status",
    )

    def __init__(
        self,
        name: str,
        kind: SpanKind,
        parent: TraceContext | None,
        attributes: dict[str, Value],
        record: Callable[[SpanRecord], None],
    ) -> None:
        self._name = name
        self._kind = kind
        self._attributes = attributes
        self._record: Callable[[SpanRecord], None] | None = record
        self._own_trace = ""
        self._id = secrets.token_hex(8)
        self._started_at = time.time()
        self._clock = time.perf_counter()
        self._has_failed = False
        self.parent = parent
        self.link: TraceContext | None = None
        self.status: int | None = None

    @property
    def context(self) -> TraceContext:
        """Where it stands: in its parent's trace, or in one of its own."""
        if self.parent is not None:
            return TraceContext(self.parent.trace_id, self._id)
        self._own_trace = self._own_trace or secrets.token_hex(16)
        return TraceContext(self._own_trace, self._id)

    def set(self, **attributes: Value | None) -> None:
        """Say more of it; None says nothing."""
        self._attributes.update({name: value for name, value in attributes.items() if value is not None})

    def fail(self) -> None:
        """It did not do what it should."""
        self._has_failed = True

    def end(self) -> None:
        """It is over."""
        record, self._record = self._record, None
        if record is not None:
            record(
                SpanRecord(
                    name=self._name,
                    kind=self._kind,
                    context=self.context,
                    parent_id=self.parent.span_id if self.parent else None,
                    started_at=self._started_at,
                    seconds=time.perf_counter() - self._clock,
                    has_failed=self._has_failed or (self.status or 0) >= FIRST_FAILURE_STATUS,
                    status=self.status,
                    link=self.link,
                    attributes=self._attributes,
                )
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail()
        self.end()
