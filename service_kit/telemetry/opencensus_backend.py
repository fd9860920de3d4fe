"""Application Insights by OpenCensus (``opencensus-ext-azure``). Importing this imports it.

OpenCensus has been retired by its makers (docs/telemetry.md); :mod:`.otel_backend` is its successor. Its exporters turn
records into envelopes and post them; their queues and threads are not used, since ours count what is dropped. It knows
no distributions, so those of a timing are put into its data point by hand.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

# Read at import: without it OpenCensus tells two hosts of Microsoft's about this process.
os.environ["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] = "true"

from azure.core.credentials import TokenCredential
from opencensus.ext.azure.common.protocol import DataPoint, Envelope
from opencensus.ext.azure.common.transport import TransportStatusCode
from opencensus.ext.azure.log_exporter import AzureEventHandler
from opencensus.ext.azure.metrics_exporter import MetricsExporter
from opencensus.ext.azure.trace_exporter import AzureExporter
from opencensus.trace.link import Link
from opencensus.trace.span import SpanKind
from opencensus.trace.span_context import SpanContext
from opencensus.trace.span_data import SpanData
from opencensus.trace.status import Status

from service_kit.telemetry.connection_string import Ingestion
from service_kit.telemetry.exporting import GRACE_SECONDS, REQUEST_SECONDS, Outcome
from service_kit.telemetry.recorder import EventRecord
from service_kit.telemetry.spans import SpanRecord
from service_kit.telemetry.values import Point

_OUTCOME: Final = {
    TransportStatusCode.SUCCESS: Outcome.TAKEN,
    TransportStatusCode.RETRY: Outcome.NOT_NOW,
    TransportStatusCode.DROP: Outcome.REFUSED,
}
_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.UNSPECIFIED}
_MAX_POINTS: Final = 10_000
_MANY_REDIRECTS: Final = 1_000
_FAILED: Final = 2
"""``UNKNOWN`` among gRPC's status codes, which OpenCensus has for its own."""


class OpenCensusBackend:
    """See :class:`.exporting.Backend`."""

    def __init__(self, ingestion: Ingestion, role: str, role_instance: str, credential: TokenCredential | None) -> None:
        options = {
            "connection_string": ingestion.connection_string,
            "credential": credential,
            "enable_local_storage": False,
            "storage_path": "",  # unset, it looks for a folder by writing a file
            "enable_standard_metrics": False,
            "timeout": REQUEST_SECONDS,
            "grace_period": GRACE_SECONDS,
            "max_batch_size": _MAX_POINTS,
        }
        self._spans = AzureExporter(**options)
        self._events = AzureEventHandler(**options)
        self._metrics = MetricsExporter(**options)

        def name_role(envelope: Envelope) -> None:
            envelope.tags["ai.cloud.role"] = role
            envelope.tags["ai.cloud.roleInstance"] = role_instance

        for exporter in (self._spans, self._events, self._metrics):
            exporter.add_telemetry_processor(name_role)
            # Only where it counts for its own statistics, which are off, does it say how a request failed. Now that it
            # is made, this starts nothing; it counts in a few numbers that nobody asks for.
            exporter._check_stats_collection = _yes  # noqa: SLF001

    def send_events(self, events: Sequence[EventRecord]) -> Outcome:
        """See the protocol."""
        return _post(self._events, map(self._events.log_record_to_envelope, map(_log_record, events)))

    def send_points(self, points: Sequence[Point], at: float) -> Outcome:
        """See the protocol."""
        when = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
        create: Callable[..., Envelope] = self._metrics._create_envelope  # noqa: SLF001 - export_metrics drops distributions
        envelopes = (create(_data_point(point), when, point.dimensions) for point in points)
        return _post(self._metrics, map(_in_utc, envelopes))

    def send_spans(self, spans: Sequence[SpanRecord]) -> Outcome:
        """See the protocol."""
        return _post(self._spans, (envelope for span in spans for envelope in self._envelopes(span)))

    def _envelopes(self, span: SpanRecord) -> Iterator[Envelope]:
        for envelope in self._spans.span_data_to_envelope(_span_data(span)):
            data = envelope.data.baseData
            data.success = not span.has_failed  # OpenCensus takes 101 for a failure
            data.name = span.name
            envelope.tags["ai.operation.name"] = span.name
            yield envelope


def _yes() -> bool:
    return True


def _post(exporter: Any, envelopes: Iterable[Envelope]) -> Outcome:
    exporter._consecutive_redirects = _MANY_REDIRECTS  # noqa: SLF001 - it would follow a redirect anywhere
    checked = exporter.apply_telemetry_processors(list(envelopes))
    return _OUTCOME[exporter._transmit(checked)]  # noqa: SLF001 - its callers keep the outcome to themselves


def _data_point(point: Point) -> DataPoint:
    if point.count is None:
        return DataPoint(ns=point.name, name=point.name, value=point.value)
    return DataPoint(ns=point.name, name=point.name, value=point.value, count=point.count, max=point.largest)


def _in_utc(envelope: Envelope) -> Envelope:
    envelope.time += "Z"
    return envelope


def _log_record(event: EventRecord) -> logging.LogRecord:
    """The record that a logger would make; dimensions are text, and measurements are numbers."""
    record = logging.LogRecord("airlock", logging.INFO, "", 0, event.name, None, None)
    record.created = event.at
    if event.trace_id:
        record.__dict__["traceId"] = event.trace_id
    texts = {name: value for name, value in event.attributes.items() if isinstance(value, str)}
    record.__dict__["custom_dimensions"] = texts
    record.__dict__["custom_measurements"] = {
        name: value for name, value in event.attributes.items() if name not in texts
    }
    return record


def _span_data(span: SpanRecord) -> SpanData:
    attributes: dict[str, Any] = dict(span.attributes)
    if span.status is not None:
        attributes["http.status_code"] = span.status
    return SpanData(
        name=span.name,
        context=SpanContext(trace_id=span.context.trace_id, span_id=span.context.span_id),
        span_id=span.context.span_id,
        parent_span_id=span.parent_id,
        attributes=attributes,
        start_time=_iso(span.started_at),
        end_time=_iso(span.started_at + span.seconds),
        child_span_count=0,
        stack_trace=None,
        annotations=[],
        message_events=[],
        links=[Link(span.link.trace_id, span.link.span_id)] if span.link else [],
        status=Status(_FAILED if span.has_failed else 0),
        same_process_as_parent_span=None,
        span_kind=_KINDS[span.kind],
    )


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
