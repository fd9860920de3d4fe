"""``/metrics`` as Prometheus' own parser reads it."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service_kit.telemetry.catalogue import METRICS, MetricKind
from service_kit.telemetry.prometheus import _braces, exposition
from service_kit.telemetry.recorder import Recorder


def parsed(recorder: Recorder, service: str = "relay") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(exposition(recorder.values.look(), service))
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def test_counters_gauges_and_histograms() -> None:
    recorder = Recorder()
    recorder.count("airlock_endings_total", 3, ending="idle")
    recorder.count("airlock_cost_usd_total", 0.123456)
    recorder.gauge("airlock_live_sessions", 12)
    for milliseconds in (0.5, 1.5, 1.7, 99_999):
        recorder.timing("airlock_redis_ms", milliseconds, outcome="ok")
    samples = parsed(recorder)
    ok = ("outcome", "ok")
    assert samples["airlock_endings_total", frozenset({("ending", "idle")})] == 3
    assert samples["airlock_cost_usd_total", frozenset()] == 0.123456
    assert samples["airlock_live_sessions", frozenset()] == 12
    # Buckets hold those below them, too.
    for bound, number in (("1", 1), ("2", 3), ("10000", 3), ("+Inf", 4)):
        assert samples["airlock_redis_ms_bucket", frozenset({ok, ("le", bound)})] == number
    assert samples["airlock_redis_ms_count", frozenset({ok})] == 4
    assert samples["airlock_redis_ms_sum", frozenset({ok})] == pytest.approx(100_002.7)


def test_each_metric_is_described_once_with_its_type_before_its_samples() -> None:
    recorder = Recorder()
    for metric in METRICS.values():
        dimensions = {name: values[0] for name, values in metric.dimensions.items()}
        match metric.kind:
            case MetricKind.COUNTER:
                recorder.count(metric.name, 1, **dimensions)
            case MetricKind.GAUGE:
                recorder.gauge(metric.name, 1, **dimensions)
            case MetricKind.TIMING:
                recorder.timing(metric.name, 1, **dimensions)
    text = exposition(recorder.values.look(), "relay") + exposition(recorder.values.look(), "token_service")
    families = list(text_string_to_metric_families(exposition(recorder.values.look(), "relay")))
    kinds = {MetricKind.COUNTER: "counter", MetricKind.GAUGE: "gauge", MetricKind.TIMING: "histogram"}
    assert {family.name: (family.type, family.documentation) for family in families} == {
        metric.name.removesuffix("_total"): (kinds[metric.kind], metric.means)
        for metric in METRICS.values()
        if metric.service in ("both", "relay")
    }
    assert all(f"# TYPE {name} " in text for name in METRICS)
    assert text.endswith("\n")


def test_a_counter_without_dimensions_is_there_from_the_start() -> None:
    assert parsed(Recorder(), "token_service")["airlock_mints_total", frozenset()] == 0
    assert ("airlock_mints_total", frozenset()) not in parsed(Recorder(), "relay")


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "a{b}", "a,b=c", "\\", '\\"', "\\n"])
def test_any_label_survives(value: str) -> None:
    text = f"# TYPE m gauge\nm{_braces([('label', value)])} 1\n"
    ((sample,),) = [family.samples for family in text_string_to_metric_families(text)]
    assert sample.labels == {"label": value}
