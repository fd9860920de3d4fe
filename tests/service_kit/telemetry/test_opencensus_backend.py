"""The envelope of a span, which we make ourselves, is the one that OpenCensus makes of it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from opencensus.trace.link import Link
from opencensus.trace.span import SpanKind as OpenCensusKind
from opencensus.trace.span_context import SpanContext
from opencensus.trace.span_data import SpanData
from opencensus.trace.status import Status

from local_cloud.application_insights import ApplicationInsights
from service_kit.telemetry.connection_string import parse_connection_string
from service_kit.telemetry.opencensus_backend import OpenCensusBackend
from service_kit.telemetry.spans import SpanKind, SpanRecord
from service_kit.telemetry.trace_context import TraceContext

TRACE = "0af7" * 8
OTHER = TraceContext("4bf9" * 8, "00f0" * 4)
KINDS = {
    "server": OpenCensusKind.SERVER,
    "client": OpenCensusKind.CLIENT,
    "internal": OpenCensusKind.UNSPECIFIED,
}


def theirs(backend: OpenCensusBackend, span: SpanRecord) -> Any:
    attributes = dict[str, Any](span.attributes)
    if span.status is not None:
        attributes["http.status_code"] = span.status
    (envelope,) = backend._spans.span_data_to_envelope(
        SpanData(
            name=span.name,
            context=SpanContext(trace_id=span.context.trace_id, span_id=span.context.span_id),
            span_id=span.context.span_id,
            parent_span_id=span.parent_id,
            attributes=attributes,
            start_time=iso(span.started_at),
            end_time=iso(span.started_at + span.seconds),
            child_span_count=0,
            stack_trace=None,
            annotations=[],
            message_events=[],
            links=[Link(span.link.trace_id, span.link.span_id)] if span.link else [],
            status=Status(2 if span.has_failed else 0),
            same_process_as_parent_span=None,
            span_kind=KINDS[span.kind],
        )
    )
    # What it cannot know.
    envelope.data.baseData.success = not span.has_failed
    envelope.data.baseData.name = span.name
    envelope.tags |= {
        "ai.operation.name": span.name,
        "ai.cloud.role": "relay",
        "ai.cloud.roleInstance": "here:1",
    }
    return json.loads(json.dumps(envelope))


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(
    ("kind", "status", "has_failed"),
    [
        ("server", 200, False),
        ("server", 101, False),
        ("server", 429, True),
        ("server", None, False),
        ("client", None, False),
        ("client", None, True),
        ("internal", None, False),
        ("internal", None, True),
    ],
)
@pytest.mark.parametrize("seconds", [0.0, 0.0124, 59.9996, 3_725.25, 90_000.5])
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_span_s_envelope_is_the_one_of_opencensus(
    kind: SpanKind, status: int | None, has_failed: bool, seconds: float, is_alone: bool
) -> None:
    backend = OpenCensusBackend(
        parse_connection_string(ApplicationInsights().connection_string), "relay", "here:1", None
    )
    span = SpanRecord(
        name="session",
        kind=kind,
        context=TraceContext(TRACE, "b7ad" * 4),
        parent_id=None if is_alone else "5399" * 4,
        started_at=1_795_000_000.25,
        seconds=seconds,
        has_failed=has_failed,
        status=status,
        link=None if is_alone else OTHER,
        attributes={"ending": "idle", "cost_usd": 0.25, "bytes_in": 7},
    )
    assert json.loads(json.dumps(backend._envelope(span))) == theirs(backend, span)
