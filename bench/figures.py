"""The arithmetic of the benchmark: percentiles, medians over rounds, ratios within a round. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest of the values that at least so many per cent of them do not exceed; 0.0 of none (nearest rank)."""
    if not values:
        return 0.0
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, int(rank) - 1)]


def median_of(values: Sequence[float | None]) -> float | None:
    """The median of those rounds that have a value."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def ratio(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """The median of each round's own ratio: rounds differ more than what runs within one."""
    return median_of(
        [mine / other if mine is not None and other else None for mine, other in zip(ours, theirs, strict=True)]
    )


def difference(ours: Sequence[float | None], theirs: Sequence[float | None]) -> float | None:
    """The median of each round's own difference."""
    return median_of(
        [
            mine - other if mine is not None and other is not None else None
            for mine, other in zip(ours, theirs, strict=True)
        ]
    )
