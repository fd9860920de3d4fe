"""Both real exporters against the stand-in for Application Insights: what becomes of each answer, and of none."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken

from local_cloud.application_insights import ApplicationInsights, Behaviour
from local_cloud.ports import free_port
from service_kit.telemetry.backends import TelemetryBackend, is_installed, open_backend
from service_kit.telemetry.connection_string import Ingestion, parse_connection_string
from service_kit.telemetry.exporting import Exporter
from service_kit.telemetry.recorder import BATCH, MAX_EVENTS, MAX_SPANS, Recorder
from tests.certificates import vouched_for
from tests.end_to_end.traces import until

BACKENDS: tuple[TelemetryBackend, ...] = ("opencensus", "otel")
Open = Callable[..., Recorder]


@pytest.fixture
async def ingestion() -> AsyncIterator[ApplicationInsights]:
    async with ApplicationInsights() as ingestion:
        yield ingestion


@pytest.fixture(params=BACKENDS)
async def opened(request: pytest.FixtureRequest, ingestion: ApplicationInsights) -> AsyncIterator[Open]:
    """Opens a recorder of one backend; at the end its thread is gone before its ingestion is."""
    recorders: list[Recorder] = []

    def open_recorder(where: ApplicationInsights | Ingestion, interval: float = 0.05, **options: Any) -> Recorder:
        ingestion = where if isinstance(where, Ingestion) else parse_connection_string(where.connection_string)
        usual = {"role": "relay", "role_instance": "here:1", "credential": None, "interval_seconds": interval}
        recorders.append(open_backend(request.param, ingestion, **usual | options))
        return recorders[-1]

    yield open_recorder
    ingestion.behaviour = Behaviour()
    for recorder in recorders:
        await close(recorder, 60)


def total(ingestion: ApplicationInsights, name: str) -> float:
    points = [data["metrics"][0] for data in of(ingestion, "Metric")]
    return sum(float(point["value"]) for point in points if point["name"] == name)


def of(ingestion: ApplicationInsights, kind: str) -> list[dict[str, Any]]:
    return [each["data"]["baseData"] for each in ingestion.envelopes if each["data"]["baseType"] == f"{kind}Data"]


def dropped(recorder: Recorder) -> Counter[str]:
    counters = recorder.values.look().counters
    return Counter(
        {labels[0]: int(n) for (name, labels), n in counters.items() if name == "airlock_telemetry_dropped_total"}
    )


def record_some(recorder: Recorder) -> None:
    recorder.count("airlock_mints_total", 3)
    recorder.event("redis.down", {"error": "TimeoutError"})
    recorder.span("session", "internal", ending="idle").end()


async def close(recorder: Recorder, seconds: float = 5) -> float:
    """How long it took."""
    began = time.monotonic()
    await asyncio.to_thread(recorder.close, seconds)
    return time.monotonic() - began


async def test_what_is_recorded_arrives_under_our_names(opened: Open, ingestion: ApplicationInsights) -> None:
    recorder = opened(ingestion)
    record_some(recorder)
    await close(recorder)
    assert total(ingestion, "airlock_mints_total") == 3
    assert [event["name"] for event in of(ingestion, "Event")] == ["redis.down"]
    assert [span["properties"] for span in of(ingestion, "RemoteDependency")] == [{"ending": "idle"}]
    for envelope in ingestion.envelopes:
        assert envelope["tags"]["ai.cloud.role"] == "relay"
        assert envelope["tags"]["ai.cloud.roleInstance"] == "here:1"
        assert envelope["time"].endswith("Z")
    assert not dropped(recorder)


async def test_an_upgrade_is_no_failure_and_a_refusal_is_one(opened: Open, ingestion: ApplicationInsights) -> None:
    recorder = opened(ingestion)
    for status in (101, 200, 429):
        span = recorder.span("GET /v1/realtime", "server")
        span.status = status
        span.end()
    await close(recorder)
    told = [(span["name"], span["responseCode"], span["success"]) for span in of(ingestion, "Request")]
    assert told == [
        ("GET /v1/realtime", "101", True),
        ("GET /v1/realtime", "200", True),
        ("GET /v1/realtime", "429", False),
    ]


async def test_an_event_belongs_to_its_trace(opened: Open, ingestion: ApplicationInsights) -> None:
    recorder = opened(ingestion)
    trace = "0af7651916cd43dd8448eb211c80319c"
    recorder.event("redis.down", {"trace_id": trace})
    await close(recorder)
    assert [envelope["tags"]["ai.operation.id"] for envelope in ingestion.envelopes][:1] == [trace]


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 502, 503, 504])
async def test_what_is_not_taken_now_is_taken_later_and_once(
    opened: Open, ingestion: ApplicationInsights, status: int
) -> None:
    ingestion.behaviour = Behaviour(status=status, retry_after="3600")
    recorder = opened(ingestion)
    record_some(recorder)
    await until(lambda: ingestion.requests >= 3, 10)
    assert not ingestion.envelopes
    ingestion.behaviour = Behaviour()
    record_some(recorder)
    await close(recorder)
    assert total(ingestion, "airlock_mints_total") == 6
    assert len(of(ingestion, "Event")) == len(of(ingestion, "RemoteDependency")) == 2
    assert not dropped(recorder)


async def test_an_ingestion_that_fails_half_of_the_time_loses_nothing(
    opened: Open, ingestion: ApplicationInsights
) -> None:
    ingestion.behaviour = Behaviour(status=500, every=2)
    recorder = opened(ingestion, 0.01)
    for _ in range(50):
        record_some(recorder)
        await asyncio.sleep(0.01)
    ingestion.behaviour = Behaviour()
    await close(recorder)
    assert total(ingestion, "airlock_mints_total") == 150
    assert len(of(ingestion, "Event")) == len(of(ingestion, "RemoteDependency")) == 50
    assert not dropped(recorder)


@pytest.mark.parametrize("status", [400, 402, 404, 439])
async def test_what_is_refused_for_good_is_dropped_and_counted(
    opened: Open, ingestion: ApplicationInsights, status: int
) -> None:
    ingestion.behaviour = Behaviour(status=status)
    recorder = opened(ingestion)
    record_some(recorder)
    await until(lambda: dropped(recorder)["spans"] > 0, 10)
    assert dropped(recorder)["events"] == 1
    assert dropped(recorder)["metrics"] >= 1
    assert (len(recorder.events), len(recorder.spans)) == (0, 0)
    assert not ingestion.envelopes


async def test_what_is_taken_in_part_is_counted_as_dropped_and_not_sent_twice(
    opened: Open, ingestion: ApplicationInsights
) -> None:
    ingestion.behaviour = Behaviour(status=206)
    recorder = opened(ingestion, 600)
    for _ in range(10):
        recorder.event("redis.down", {})
    await close(recorder)
    assert len(of(ingestion, "Event")) == 5
    assert dropped(recorder)["events"] == 10


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_is_not_followed(opened: Open, ingestion: ApplicationInsights, status: int) -> None:
    async with ApplicationInsights() as elsewhere:
        ingestion.behaviour = Behaviour(status=status, location=f"{elsewhere.url}/v2.1/track")
        recorder = opened(ingestion)
        record_some(recorder)
        await close(recorder)
        assert ingestion.requests > 0
        assert elsewhere.requests == 0


async def test_much_that_waits_goes_before_the_interval_in_full_batches_and_without_numbers(
    opened: Open, ingestion: ApplicationInsights
) -> None:
    recorder = opened(ingestion, 600)
    recorder.count("airlock_mints_total")
    recorder.event("redis.down", {})
    for _ in range(2 * BATCH + 1):
        recorder.span("session", "internal").end()
    await ingestion.until(lambda: len(of(ingestion, "RemoteDependency")) >= 2 * BATCH)
    assert len(ingestion.envelopes) == 2 * BATCH
    assert ingestion.requests == 2
    await close(recorder)
    assert len(of(ingestion, "RemoteDependency")) == 2 * BATCH + 1
    assert len(of(ingestion, "Event")) == 1
    assert total(ingestion, "airlock_mints_total") == 1


async def test_nobody_there_keeps_nobody_waiting(opened: Open) -> None:
    recorder = opened(Ingestion("00000000-1111-2222-3333-444444444444", f"http://127.0.0.1:{free_port()}"))
    record_some(recorder)
    assert await close(recorder, 2) < 2
    assert not dropped(recorder)


async def test_a_black_hole_keeps_nobody_waiting_and_memory_is_bounded(
    opened: Open, ingestion: ApplicationInsights
) -> None:
    ingestion.behaviour = Behaviour(is_black_hole=True)
    recorder = opened(ingestion)
    recorder.event("redis.down", {})
    await until(lambda: ingestion.requests > 0, 10)
    for _ in range(3 * MAX_SPANS):
        recorder.event("redis.down", {})
        recorder.span("session", "internal").end()
    assert ingestion.requests == 1  # all of it while the first hangs: nothing waited for it
    assert (len(recorder.events), len(recorder.spans)) == (MAX_EVENTS, MAX_SPANS)
    assert dropped(recorder) == {"events": 3 * MAX_SPANS + 1 - MAX_EVENTS, "spans": 2 * MAX_SPANS}
    assert await close(recorder, 1) < 1.5


async def test_a_slow_ingestion_is_given_up_and_asked_again(opened: Open, ingestion: ApplicationInsights) -> None:
    ingestion.behaviour = Behaviour(delay_seconds=10)
    recorder = opened(ingestion)
    recorder.event("redis.down", {})
    await until(lambda: ingestion.requests >= 2, 9)
    assert len(recorder.events) == 1


class Credential:
    """A credential as the exporters take it: what it is asked for, and a token."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        self.asked += scopes
        return AccessToken("proof", int(time.time()) + 3_600)


async def test_a_credential_is_shown_where_there_is_one(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credential = Credential()
    certificate, serves_with, _ = vouched_for(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    async with ApplicationInsights(tls=serves_with) as ingestion:
        recorder = opened(ingestion, credential=credential)
        record_some(recorder)
        await close(recorder)
    assert set(ingestion.authorizations) == {"Bearer proof"}
    assert set(credential.asked) <= {"https://monitor.azure.com//.default", "https://monitor.azure.com/.default"}
    assert credential.asked
    assert total(ingestion, "airlock_mints_total") == 3


async def test_a_certificate_that_is_not_trusted_gets_nothing(opened: Open, tmp_path: Path) -> None:
    _, serves_with, _ = vouched_for(tmp_path)
    async with ApplicationInsights(tls=serves_with) as ingestion:
        recorder = opened(ingestion, credential=Credential())
        record_some(recorder)
        await close(recorder)
    assert ingestion.requests == 0


async def test_a_backend_s_bug_ends_neither_the_thread_nor_is_it_tried_for_ever(
    ingestion: ApplicationInsights, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = open_backend(
        "opencensus",
        parse_connection_string(ingestion.connection_string),
        role="relay",
        role_instance="here:1",
        credential=None,
        interval_seconds=0.02,
    )
    assert isinstance(recorder, Exporter)

    def fail(_events: object) -> None:
        raise ZeroDivisionError("canary")

    monkeypatch.setattr(recorder._backend, "send_events", fail)
    record_some(recorder)
    await ingestion.until(lambda: bool(of(ingestion, "RemoteDependency")))
    assert dropped(recorder)["events"] == 1
    await close(recorder)


def test_none_needs_nothing() -> None:
    assert is_installed("none")
    recorder = open_backend("none", None, role="relay", role_instance="here:1", credential=None, interval_seconds=30)
    assert type(recorder) is Recorder
