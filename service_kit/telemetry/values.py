"""The numbers of this process since its start: counters, gauges, and distributions in buckets of ours.

Series come only from :data:`.catalogue.METRICS`, so there can be no more than its dimensions allow. Any thread may add
and look; the lock is held for as long as it takes to add, or to copy a few hundred numbers.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from service_kit.telemetry.catalogue import METRICS, OTHER, Metric, MetricKind

Labels = tuple[str, ...]
"""The values of a metric's dimensions, in their order."""


@dataclass(slots=True)
class Distribution:
    """What a timing has seen; ``counts`` has one more place than there are buckets, for what exceeds them all.

    Attributes:
        largest: since it was last taken.
    """

    counts: list[int]
    count: int = 0
    sum: float = 0.0
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of all the numbers."""

    counters: dict[tuple[str, Labels], float] = field(default_factory=dict)
    gauges: dict[tuple[str, Labels], float] = field(default_factory=dict)
    timings: dict[tuple[str, Labels], Distribution] = field(default_factory=dict)


class Values:
    """All series of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Snapshot()

    def add(self, name: str, number: float, dimensions: Mapping[str, str]) -> bool:
        """Add to a counter; False, and nothing, if there is no such counter or this is no number to add."""
        metric = _metric(name, MetricKind.COUNTER)
        if metric is None or not (math.isfinite(number) and number >= 0):
            return False
        key = (name, _labels(metric, dimensions))
        with self._lock:
            self._now.counters[key] = self._now.counters.get(key, 0) + number
        return True

    def put(self, name: str, value: float, dimensions: Mapping[str, str]) -> bool:
        """Set a gauge; False, and nothing, likewise."""
        metric = _metric(name, MetricKind.GAUGE)
        if metric is None or not math.isfinite(value):
            return False
        with self._lock:
            self._now.gauges[(name, _labels(metric, dimensions))] = value
        return True

    def observe(self, name: str, milliseconds: float, dimensions: Mapping[str, str]) -> bool:
        """Add to a distribution; False, and nothing, likewise."""
        metric = _metric(name, MetricKind.TIMING)
        if metric is None or not math.isfinite(milliseconds):
            return False
        key, milliseconds = (name, _labels(metric, dimensions)), max(0.0, milliseconds)
        bucket = bisect_left(metric.buckets, milliseconds)
        with self._lock:
            seen = self._now.timings.get(key)
            if seen is None:
                seen = self._now.timings[key] = Distribution([0] * (len(metric.buckets) + 1))
            seen.counts[bucket] += 1
            seen.count += 1
            seen.sum += milliseconds
            seen.largest = max(seen.largest, milliseconds)
        return True

    def look(self) -> Snapshot:
        """A copy."""
        with self._lock:
            return self._copy()

    def take(self) -> Snapshot:
        """A copy; the largest of each distribution begins anew."""
        with self._lock:
            copy = self._copy()
            for seen in self._now.timings.values():
                seen.largest = 0.0
        return copy

    def put_back(self, taken: Snapshot) -> None:
        """What was taken was not used: the largest of each distribution counts again."""
        with self._lock:
            for key, seen in taken.timings.items():
                now = self._now.timings[key]
                now.largest = max(now.largest, seen.largest)

    def _copy(self) -> Snapshot:
        timings = {key: replace(seen, counts=seen.counts.copy()) for key, seen in self._now.timings.items()}
        return Snapshot(self._now.counters.copy(), self._now.gauges.copy(), timings)


def _metric(name: str, kind: MetricKind) -> Metric | None:
    metric = METRICS.get(name)
    return metric if metric is not None and metric.kind is kind else None


def _labels(metric: Metric, dimensions: Mapping[str, str]) -> Labels:
    if not metric.dimensions:
        return ()
    given = [(dimensions.get(name), values) for name, values in metric.dimensions.items()]
    return tuple([value if value in values else OTHER for value, values in given])


UP_TO: Final = "up_to"
"""The dimension of a bucket's counter: its upper bound in milliseconds, or ``more``."""
_MORE: Final = "more"


@dataclass(frozen=True, slots=True)
class Point:
    """One number on its way to a backend: what a series has gained since the last time, or what a gauge is.

    Attributes:
        value: for a distribution, the sum.
        count: of a distribution, how many it sums; None for all else.
        largest: of a distribution.
    """

    name: str
    dimensions: dict[str, str]
    value: float
    count: int | None = None
    largest: float | None = None


class Deltas:
    """What is new in the values each time they are sent; what was not delivered is in the next."""

    def __init__(self, values: Values) -> None:
        self._values = values
        self._delivered = Snapshot()
        self._taken = Snapshot()

    def take(self) -> list[Point]:
        """What is new; say afterwards whether it was :meth:`delivered` or :meth:`failed`."""
        self._taken = self._values.take()
        return list(self._points())

    def delivered(self) -> None:
        """What was taken need not be taken again."""
        self._delivered = self._taken

    def failed(self) -> None:
        """What was taken will be part of the next."""
        self._values.put_back(self._taken)

    def _points(self) -> Iterator[Point]:
        for key, value in self._taken.gauges.items():
            yield Point(key[0], _named(*key), value)
        for key, value in self._taken.counters.items():
            gained = value - self._delivered.counters.get(key, 0)
            if gained:
                yield Point(key[0], _named(*key), gained)
        for key, now in self._taken.timings.items():
            before = self._delivered.timings.get(key) or Distribution([0] * len(now.counts))
            if now.count == before.count:
                continue
            name, dimensions = key[0], _named(*key)
            yield Point(name, dimensions, now.sum - before.sum, now.count - before.count, now.largest)
            for bound, number, earlier in zip(_bounds(METRICS[name]), now.counts, before.counts, strict=True):
                if number > earlier:
                    yield Point(f"{name}_bucket", {**dimensions, UP_TO: bound}, number - earlier)


def _named(name: str, labels: Labels) -> dict[str, str]:
    return dict(zip(METRICS[name].dimensions, labels, strict=True))


def _bounds(metric: Metric) -> list[str]:
    return [f"{bound:g}" for bound in metric.buckets] + [_MORE]
