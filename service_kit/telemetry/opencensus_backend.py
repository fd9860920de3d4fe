"""Application Insights by OpenCensus (``opencensus-ext-azure``). Importing this imports it.

OpenCensus has been retired by its makers (docs/telemetry.md); :mod:`.otel_backend` is its successor. Its exporters turn
records into envelopes and post them; their queues and threads are not used, since ours count what is dropped. It knows
no distributions, so those of a timing are put into its data point by hand. The envelope of a span, of which there is
one for each mint, is made here: OpenCensus takes four times as long for the same.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

# Read at import: without it OpenCensus tells two hosts of Microsoft's about this process.
os.environ["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] = "true"

from azure.core.credentials import TokenCredential
from opencensus.ext.azure.common import utils
from opencensus.ext.azure.common.protocol import DataPoint, Envelope
from opencensus.ext.azure.common.transport import TransportStatusCode
from opencensus.ext.azure.log_exporter import AzureEventHandler
from opencensus.ext.azure.metrics_exporter import MetricsExporter
from opencensus.ext.azure.trace_exporter import AzureExporter

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

        own_tags = {"ai.cloud.role": role, "ai.cloud.roleInstance": role_instance}
        self._tags = {**utils.azure_monitor_context, **own_tags}

        def name_role(envelope: Envelope) -> None:
            envelope.tags.update(own_tags)

        self._events.add_telemetry_processor(name_role)
        self._metrics.add_telemetry_processor(name_role)
        for exporter in (self._spans, self._events, self._metrics):
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
        return _post(self._spans, map(self._envelope, spans))

    def _envelope(self, span: SpanRecord) -> dict[str, object]:
        tags = {**self._tags, "ai.operation.id": span.context.trace_id, "ai.operation.name": span.name}
        if span.parent_id:
            tags["ai.operation.parentId"] = span.parent_id
        properties: dict[str, object] = dict(span.attributes)
        if span.link:
            properties["_MS.links"] = json.dumps([{"operation_Id": span.link.trace_id, "id": span.link.span_id}])
        code = (_FAILED if span.has_failed else 0) if span.status is None else span.status
        data = {
            "ver": 2,
            "id": span.context.span_id,
            "name": span.name,
            "duration": utils.microseconds_to_duration(round(span.seconds * 1_000_000)),
            "success": not span.has_failed,
            "properties": properties,
        }
        if span.kind == "server":
            kind = "Request"
            data["responseCode"] = str(code)
        else:
            kind = "RemoteDependency"
            data["resultCode"] = str(code)
            data["type"] = "INPROC" if span.kind == "internal" else None
        return {
            "name": f"Microsoft.ApplicationInsights.{kind}",
            "time": _iso(span.started_at),
            "iKey": self._spans.options.instrumentation_key,
            "tags": tags,
            "data": {"baseType": f"{kind}Data", "baseData": data},
        }


def _yes() -> bool:
    return True


def _post(exporter: Any, envelopes: Iterable[object]) -> Outcome:
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


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
