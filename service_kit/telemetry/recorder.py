"""What the services record into: bounded, and looked at by ``/metrics`` and by whoever sends it on."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Generic, TypeVar

import msgspec

from service_kit.telemetry.catalogue import ATTRIBUTES, EVENTS
from service_kit.telemetry.spans import Span, SpanKind, SpanRecord, Value
from service_kit.telemetry.trace_context import TraceContext
from service_kit.telemetry.values import Snapshot, Values

MAX_EVENTS: Final = 1_000
MAX_SPANS: Final = 4_000
BATCH: Final = 100
MAX_VALUE_CHARS: Final = 128
_NOT_PLAIN: Final = re.compile(r"[^\x20-\x7e]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EventRecord:
    """Something that happened ``at`` (Unix seconds); ``trace_id`` is empty where it belongs to no trace."""

    name: str
    at: float
    trace_id: str = ""
    attributes: dict[str, Value] = field(default_factory=dict)


class Waiting(Generic[T]):
    """What waits to be sent, oldest first; there is room for so many, and what comes then is dropped."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[T] = deque()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> bool:
        """Let it wait; False if there is no room."""
        with self._lock:
            if len(self._items) >= self._room:
                return False
            self._items.append(item)
            return True

    def first(self, number: int) -> list[T]:
        """The oldest; they wait on."""
        with self._lock:
            return list(islice(self._items, number))

    def remove(self, number: int) -> None:
        """The oldest need not wait any more."""
        with self._lock:
            for _ in range(number):
                self._items.popleft()


def _do_nothing() -> None:
    return


class Recorder:
    """A :class:`.seam.Telemetry` that keeps what it is told; nobody need ever come for it.

    Attributes:
        values: the numbers.
        events: what waits to be sent, as do the spans. Nothing waits unless somebody sends.
        on_many: called when so much waits that it should be sent soon; from any thread, and it must not wait.
        is_sent: whether anybody comes for events and spans.
    """

    def __init__(self, *, is_sent: bool = False) -> None:
        self.values = Values()
        self.events: Waiting[EventRecord] = Waiting(MAX_EVENTS)
        self.spans: Waiting[SpanRecord] = Waiting(MAX_SPANS)
        self.on_many: Callable[[], None] = _do_nothing
        self.is_sent = is_sent

    async def numbers(self) -> Snapshot:
        """What they are now."""
        return self.values.look()

    def event(self, name: str, attributes: Mapping[str, object]) -> None:
        """See the seam; a name that is not on the list is no event."""
        if not self.is_sent or name not in EVENTS:
            return
        if not self.events.put(
            EventRecord(name, time.time(), str(attributes.get("trace_id") or ""), _allowed(attributes))
        ):
            self.dropped("events", 1)
        if len(self.events) >= BATCH:
            self.on_many()

    def count(self, name: str, number: float = 1, **dimensions: str) -> None:
        """See the seam."""
        if not self.values.add(name, number, dimensions):
            self.dropped("metrics", 1)

    def gauge(self, name: str, value: float, **dimensions: str) -> None:
        """See the seam."""
        if not self.values.put(name, value, dimensions):
            self.dropped("metrics", 1)

    def timing(self, name: str, milliseconds: float, **dimensions: str) -> None:
        """See the seam."""
        if not self.values.observe(name, milliseconds, dimensions):
            self.dropped("metrics", 1)

    def span(
        self, name: str, kind: SpanKind, *, parent: TraceContext | None = None, **attributes: Value | None
    ) -> Span:
        """See the seam."""
        return Span(name, kind, parent, {k: v for k, v in attributes.items() if v is not None}, self._ended)

    def close(self, seconds: float) -> None:
        """See the seam: nobody comes for it."""

    def dropped(self, what: str, number: int) -> None:
        """Count what was lost: ``events``, ``spans`` or ``metrics``."""
        self.values.add("airlock_telemetry_dropped_total", number, {"what": what})

    def _ended(self, span: SpanRecord) -> None:
        if not self.is_sent:
            return
        if not self.spans.put(msgspec.structs.replace(span, attributes=_allowed(span.attributes))):
            self.dropped("spans", 1)
        if len(self.spans) >= BATCH:
            self.on_many()


def _allowed(attributes: Mapping[str, object]) -> dict[str, Value]:
    """What is on the list and has a value: numbers as they are, all else as a short line of plain characters."""
    kept: dict[str, Value] = {}
    for name, value in attributes.items():
        if name not in ATTRIBUTES or value is None:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            kept[name] = value
        else:
            text = str(value)[:MAX_VALUE_CHARS]
            kept[name] = text if text.isascii() and text.isprintable() else _NOT_PLAIN.sub("?", text)
    return kept
