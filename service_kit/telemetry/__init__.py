"""What happens in a process, as numbers, events and traces, for those who watch it (docs/telemetry.md).

Recording never raises and never waits. What is recorded lies in bounded memory; a thread sends it to the backend that
was chosen, in its own time. Only :mod:`.opencensus_backend` and :mod:`.otel_backend` know a vendor's types, and each is
imported only where it was chosen.
"""

from __future__ import annotations

from service_kit.telemetry.recorder import Recorder
from service_kit.telemetry.seam import Telemetry
from service_kit.telemetry.spans import Span, SpanKind
from service_kit.telemetry.trace_context import TraceContext

__all__ = ["Recorder", "Span", "SpanKind", "Telemetry", "TraceContext"]
