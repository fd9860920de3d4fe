"""The numbers in Prometheus' text form, version 0.0.4. Pure.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, Final

from service_kit.telemetry.catalogue import METRICS, Metric, MetricKind
from service_kit.telemetry.values import Distribution, Labels, Snapshot

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_KIND: Final = {MetricKind.COUNTER: "counter", MetricKind.GAUGE: "gauge", MetricKind.TIMING: "histogram"}


def exposition(snapshot: Snapshot, service: str) -> str:
    """What ``/metrics`` answers. A counter without dimensions is there from the start, so that its rate is right."""
    return "".join(f"{line}\n" for metric in METRICS.values() for line in _family(metric, snapshot, service))


def _family(metric: Metric, snapshot: Snapshot, service: str) -> Iterator[str]:
    if metric.service not in ("both", service):
        return
    samples = list(_samples(metric, snapshot))
    if not samples:
        return
    yield f"# HELP {metric.name} {_escaped(metric.means)}"
    yield f"# TYPE {metric.name} {_KIND[metric.kind]}"
    yield from samples


def _samples(metric: Metric, snapshot: Snapshot) -> Iterator[str]:
    if metric.kind is MetricKind.TIMING:
        for labels, seen in _of(metric, snapshot.timings.items()):
            yield from _histogram(metric, labels, seen)
        return
    plain = snapshot.counters if metric.kind is MetricKind.COUNTER else snapshot.gauges
    found = list(_of(metric, plain.items()))
    if not found and not metric.dimensions and metric.kind is MetricKind.COUNTER:
        found = [((), 0)]
    for labels, value in found:
        yield f"{metric.name}{_braces(zip(metric.dimensions, labels, strict=True))} {_number(value)}"


def _of(metric: Metric, series: Iterable[tuple[tuple[str, Labels], Any]]) -> Iterator[tuple[Labels, Any]]:
    return ((labels, value) for (name, labels), value in series if name == metric.name)


def _histogram(metric: Metric, labels: Labels, seen: Distribution) -> Iterator[str]:
    pairs = list(zip(metric.dimensions, labels, strict=True))
    bounds = [f"{bound:g}" for bound in metric.buckets] + ["+Inf"]
    for bound, number in zip(bounds, accumulate(seen.counts), strict=True):
        yield f"{metric.name}_bucket{_braces([*pairs, ('le', bound)])} {number}"
    yield f"{metric.name}_sum{_braces(pairs)} {_number(seen.sum)}"
    yield f"{metric.name}_count{_braces(pairs)} {seen.count}"


def _braces(pairs: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{name}="{_escaped(value, quotes=True)}"' for name, value in pairs)
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) else repr(value)
