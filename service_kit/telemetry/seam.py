"""The seam between the services and whatever watches them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from service_kit.telemetry.spans import Span, SpanKind
from service_kit.telemetry.trace_context import TraceContext


class Telemetry(Protocol):
    """Takes what happens; never raises, never waits. Names and dimensions are those of :mod:`.catalogue`."""

    def event(self, name: str, attributes: Mapping[str, object]) -> None:
        """Something that somebody may have to look at; attributes that are not on the list are left out."""

    def count(self, name: str, number: float = 1, **dimensions: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, **dimensions: str) -> None:
        """Note what something is now."""

    def timing(self, name: str, milliseconds: float, **dimensions: str) -> None:
        """Add to a distribution."""

    def span(
        self, name: str, kind: SpanKind, *, parent: TraceContext | None = None, **attributes: str | int | float | None
    ) -> Span:
        """A part of a trace, which begins now; use as ``with``, or call ``end()``."""

    def close(self, seconds: float) -> None:
        """Send what is left, within so many seconds. It waits: call it from a thread."""
