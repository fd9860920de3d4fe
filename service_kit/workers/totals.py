"""The numbers of several processes as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from service_kit.telemetry.catalogue import METRICS, Together
from service_kit.telemetry.values import Distribution, Snapshot


def total(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Counters and distributions are summed; a gauge is what the catalogue says of it."""
    of_all = Snapshot()
    for each in snapshots:
        for key, number in each.counters.items():
            of_all.counters[key] = of_all.counters.get(key, 0) + number
        for key, value in each.gauges.items():
            before = of_all.gauges.get(key)
            if before is None:
                of_all.gauges[key] = value
            else:
                is_least = key[0] in METRICS and METRICS[key[0]].together is Together.LEAST
                of_all.gauges[key] = min(before, value) if is_least else before + value
        for key, seen in each.timings.items():
            so_far = of_all.timings.get(key) or Distribution([0] * len(seen.counts))
            of_all.timings[key] = Distribution(
                [one + other for one, other in zip(so_far.counts, seen.counts, strict=True)],
                so_far.count + seen.count,
                so_far.sum + seen.sum,
                max(so_far.largest, seen.largest),
            )
    return of_all


def left_by(dead: Snapshot) -> Snapshot:
    """What still counts of a process that is gone: what it counted, not what was so while it lived."""
    return Snapshot(dead.counters, {}, dead.timings)
