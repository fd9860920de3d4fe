"""Application Insights by OpenTelemetry (``azure-monitor-opentelemetry-exporter``, the extra ``otel``).

Importing this imports it. Nothing is instrumented by itself, so that nothing is sent that we did not record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Final

# Read at import, or at the exporters' first use: no reports about itself, no settings from elsewhere, no looking
# around for what machine this is.
os.environ.update(
    {
        "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
        "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
        "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
        "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "otel",
    }
)

from azure.core.credentials import TokenCredential
from azure.monitor.opentelemetry.exporter import (
    AzureMonitorLogExporter,
    AzureMonitorMetricExporter,
    AzureMonitorTraceExporter,
)
from azure.monitor.opentelemetry.exporter.export._base import BaseExporter, ExportResult
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import HistogramDataPoint, NumberDataPoint
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from service_kit.telemetry.connection_string import Ingestion
from service_kit.telemetry.exporting import REQUEST_SECONDS, Outcome
from service_kit.telemetry.recorder import EventRecord
from service_kit.telemetry.spans import SpanRecord
from service_kit.telemetry.trace_context import TraceContext
from service_kit.telemetry.values import Point

_OUTCOME: Final = {
    ExportResult.SUCCESS: Outcome.TAKEN,
    ExportResult.FAILED_RETRYABLE: Outcome.NOT_NOW,
    ExportResult.FAILED_NOT_RETRYABLE: Outcome.REFUSED,
}
_KINDS: Final = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_MANY_REDIRECTS: Final = 1_000
_NANO: Final = 1_000_000_000


class OtelBackend:
    """See :class:`.exporting.Backend`."""

    def __init__(self, ingestion: Ingestion, role: str, role_instance: str, credential: TokenCredential | None) -> None:
        options = {
            "connection_string": ingestion.connection_string,
            "credential": credential,
            "disable_offline_storage": True,
            "max_envelopes_per_second": 0,  # ours are bounded, and what it held back it would drop
            "timeout": REQUEST_SECONDS,
            "read_timeout": REQUEST_SECONDS,
            "retry_total": 0,  # we try again, and do not sleep meanwhile
        }
        self._resource = Resource({"service.name": role, "service.instance.id": role_instance})
        self._spans = AzureMonitorTraceExporter(**options)
        self._events = AzureMonitorLogExporter(**options)
        self._metrics = AzureMonitorMetricExporter(**options)

    def send_events(self, events: Sequence[EventRecord]) -> Outcome:
        """See the protocol."""
        return _post(self._events, [self._events._log_to_envelope(self._log_record(event)) for event in events])  # noqa: SLF001

    def send_points(self, points: Sequence[Point], at: float) -> Outcome:
        """See the protocol."""
        return _post(
            self._metrics,
            [
                self._metrics._point_to_envelope(_data_point(point, int(at * _NANO)), point.name, self._resource)  # noqa: SLF001
                for point in points
            ],
        )

    def send_spans(self, spans: Sequence[SpanRecord]) -> Outcome:
        """See the protocol."""
        return _post(self._spans, [self._envelope(span) for span in spans])

    def _envelope(self, span: SpanRecord) -> Any:
        envelope = self._spans._span_to_envelope(self._readable(span))  # noqa: SLF001 - export() keeps the outcome to itself
        data: Any = envelope.data.base_data if envelope.data else None
        data.success = not span.has_failed
        data.name = span.name
        envelope.tags = {**(envelope.tags or {}), "ai.operation.name": span.name}
        return envelope

    def _readable(self, span: SpanRecord) -> ReadableSpan:
        attributes: dict[str, Any] = dict(span.attributes)
        if span.status is not None:
            attributes |= {"http.request.method": span.name.partition(" ")[0], "http.response.status_code": span.status}
        context = _span_context(span.context)
        return ReadableSpan(
            name=span.name,
            context=context,
            parent=_span_context(TraceContext(span.context.trace_id, span.parent_id)) if span.parent_id else None,
            resource=self._resource,
            attributes=attributes,
            links=[Link(_span_context(span.link))] if span.link else [],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.has_failed else StatusCode.OK),
            start_time=int(span.started_at * _NANO),
            end_time=int((span.started_at + span.seconds) * _NANO),
        )

    def _log_record(self, event: EventRecord) -> ReadableLogRecord:
        """Text becomes properties; numbers become measurements, as the exporter's own attribute for them says."""
        texts = {name: value for name, value in event.attributes.items() if isinstance(value, str)}
        numbers = {name: value for name, value in event.attributes.items() if name not in texts}
        record = LogRecord(
            timestamp=int(event.at * _NANO),
            trace_id=int(event.trace_id, 16) if event.trace_id else None,
            body=event.name,
            attributes={
                "microsoft.custom_event.name": event.name,
                "microsoft.custom_measurements": json.dumps(numbers),
                **texts,
            },
        )
        return ReadableLogRecord(record, self._resource)


def _post(exporter: BaseExporter, envelopes: list[Any]) -> Outcome:
    exporter._consecutive_redirects = _MANY_REDIRECTS  # noqa: SLF001 - it would follow a redirect to a neighbour
    return _OUTCOME[exporter._transmit(envelopes)]  # noqa: SLF001


def _data_point(point: Point, at: int) -> NumberDataPoint | HistogramDataPoint:
    if point.count is None:
        return NumberDataPoint(point.dimensions, at, at, point.value)
    return HistogramDataPoint(
        attributes=point.dimensions,
        start_time_unix_nano=at,
        time_unix_nano=at,
        count=point.count,
        sum=point.value,
        bucket_counts=[],
        explicit_bounds=[],
        min=None,  # type: ignore[arg-type] # not measured; left out of the envelope
        max=point.largest or 0.0,
    )


def _span_context(context: TraceContext) -> SpanContext:
    return SpanContext(
        int(context.trace_id, 16), int(context.span_id, 16), is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED)
    )
