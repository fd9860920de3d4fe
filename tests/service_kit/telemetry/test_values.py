"""Numbers: what is counted, what of it is new each time, and that no stranger can make a series."""

import math

import pytest

from service_kit.telemetry.catalogue import METRICS, OTHER, MetricKind
from service_kit.telemetry.recorder import Recorder
from service_kit.telemetry.values import Deltas, Point, Values

ENDINGS = "airlock_endings_total"
LIVE = "airlock_live_sessions"
REDIS = "airlock_redis_ms"
OK = {"outcome": "ok"}


def test_only_what_is_new_is_taken_and_a_gauge_is_always_new() -> None:
    values = Values()
    deltas = Deltas(values)
    values.add(ENDINGS, 2, {"ending": "idle"})
    values.put(LIVE, 7, {})
    assert deltas.take() == [Point(LIVE, {}, 7), Point(ENDINGS, {"ending": "idle"}, 2)]
    deltas.delivered()
    assert deltas.take() == [Point(LIVE, {}, 7)]
    deltas.delivered()
    values.add(ENDINGS, 1, {"ending": "idle"})
    assert deltas.take() == [Point(LIVE, {}, 7), Point(ENDINGS, {"ending": "idle"}, 1)]


def test_what_was_not_delivered_is_in_the_next() -> None:
    values = Values()
    deltas = Deltas(values)
    values.add(ENDINGS, 2, {"ending": "idle"})
    values.observe(REDIS, 400, OK)
    deltas.take()
    deltas.failed()
    values.add(ENDINGS, 3, {"ending": "idle"})
    values.observe(REDIS, 3, OK)
    assert deltas.take() == [
        Point(ENDINGS, {"ending": "idle"}, 5),
        Point(REDIS, OK, 403, count=2, largest=400),
        Point(f"{REDIS}_bucket", {**OK, "up_to": "5"}, 1),
        Point(f"{REDIS}_bucket", {**OK, "up_to": "500"}, 1),
    ]
    deltas.delivered()
    values.observe(REDIS, 1, OK)
    assert deltas.take()[0] == Point(REDIS, OK, 1, count=1, largest=1)


@pytest.mark.parametrize(
    ("milliseconds", "bucket"), [(0, "1"), (-3, "1"), (1, "1"), (1.001, "2"), (10_000, "10000"), (10_001, "more")]
)
def test_a_bucket_holds_up_to_its_bound(milliseconds: float, bucket: str) -> None:
    values = Values()
    values.observe(REDIS, milliseconds, OK)
    (_, in_bucket) = Deltas(values).take()
    assert in_bucket.dimensions["up_to"] == bucket


@pytest.mark.parametrize(
    "dimensions", [{}, {"ending": "canary"}, {"ending": "canary", "more": "x"}, {"ending": "idle\n"}]
)
def test_a_value_that_is_not_in_the_table_makes_no_series_of_its_own(dimensions: dict[str, str]) -> None:
    values = Values()
    values.add(ENDINGS, 1, dimensions)
    assert values.look().counters == {(ENDINGS, (OTHER,)): 1}


def test_what_is_no_number_of_the_table_s_is_dropped_counted_and_never_raises() -> None:
    telemetry = Recorder()
    telemetry.count("canary")
    telemetry.count(LIVE)
    telemetry.count(ENDINGS, -1, ending="idle")
    telemetry.count(ENDINGS, math.inf, ending="idle")
    telemetry.gauge(LIVE, math.nan)
    telemetry.gauge(ENDINGS, 1)
    telemetry.timing(REDIS, math.inf, outcome="ok")
    telemetry.timing("canary", 1)
    look = telemetry.values.look()
    assert look.counters == {("airlock_telemetry_dropped_total", ("metrics",)): 8}
    assert not look.gauges
    assert not look.timings


def test_the_table_bounds_the_number_of_series() -> None:
    series = sum(
        math.prod(len(values) + 1 for values in metric.dimensions.values()) * (len(metric.buckets) + 2)
        for metric in METRICS.values()
    )
    assert series < 400
    assert all(metric.buckets == tuple(sorted(metric.buckets)) for metric in METRICS.values())
    assert all(bool(metric.buckets) is (metric.kind is MetricKind.TIMING) for metric in METRICS.values())
