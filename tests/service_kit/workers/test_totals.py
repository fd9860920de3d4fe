"""The numbers of several processes as one."""

import pytest

from service_kit.telemetry.catalogue import METRICS, MetricKind, Together
from service_kit.telemetry.recorder import Recorder
from service_kit.telemetry.values import Snapshot
from service_kit.workers.totals import left_by, total

ENDED = ("airlock_endings_total", ("idle",))
LIVE, UP = ("airlock_live_sessions", ()), ("airlock_redis_up", ())
REDIS = ("airlock_redis_ms", ("ok",))


def worker(ended: int, live: int, up: int, *milliseconds: float) -> Snapshot:
    recorder = Recorder()
    recorder.count("airlock_endings_total", ended, ending="idle")
    recorder.gauge("airlock_live_sessions", live)
    recorder.gauge("airlock_redis_up", up)
    for each in milliseconds:
        recorder.timing("airlock_redis_ms", each, outcome="ok")
    return recorder.values.look()


def test_counters_and_distributions_are_summed() -> None:
    of_all = total([worker(3, 0, 1, 0.5, 7), worker(4, 0, 1, 8)])
    assert of_all.counters[ENDED] == 7
    seen = of_all.timings[REDIS]
    assert (seen.count, seen.sum, seen.largest) == (3, 15.5, 8)
    assert seen.counts == [1, 0, 0, 2, *[0] * 10]


def test_a_gauge_is_the_sum_or_the_least_as_the_catalogue_says() -> None:
    of_all = total([worker(0, 10, 1), worker(0, 5, 0), worker(0, 1, 1)])
    assert of_all.gauges == {LIVE: 16, UP: 0}
    gauges = {name: metric.together for name, metric in METRICS.items() if metric.kind is MetricKind.GAUGE}
    assert gauges == {LIVE[0]: Together.SUM, UP[0]: Together.LEAST}


def test_what_only_one_has_is_there() -> None:
    one = worker(1, 2, 1, 3)
    assert total([Snapshot(), one, Snapshot()]) == one


def test_nothing_of_what_is_summed_changes() -> None:
    first, second = worker(1, 2, 1, 3), worker(1, 2, 1, 3)
    total([first, second])
    assert first == second == worker(1, 2, 1, 3)


def test_the_dead_have_counted_but_have_nothing_any_more() -> None:
    left = left_by(worker(3, 10, 1, 0.5))
    assert left.counters[ENDED] == 3
    assert left.timings[REDIS].count == 1
    assert left.gauges == {}


@pytest.mark.parametrize("name", ["airlock_of_a_later_version", LIVE[0]])
def test_what_is_not_known_is_summed_too(name: str) -> None:
    """The parent of a service that was upgraded under it must not fall."""
    assert total([Snapshot({}, {(name, ()): 2})] * 2).gauges == {(name, ()): 4}
