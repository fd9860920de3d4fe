"""The numbers to reach, each as one reading of a run. Pure.

They are ratios within a round wherever machines differ; nothing is to be lost on the way (:mod:`bench.results`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from bench.reading import Reading


@dataclass(frozen=True, slots=True)
class Target:
    """One of them.

    Attributes:
        limit: the most that it may be, or with ``at_least`` the least.
        read: what was measured; None if it was not.
    """

    says: str
    limit: float
    read: Callable[[Reading], float | None]
    unit: str = ""
    at_least: bool = False

    def is_reached(self, reading: Reading) -> bool | None:
        """Whether it is; None where it was not measured."""
        value = self.read(reading)
        if value is None:
            return None
        return value >= self.limit if self.at_least else value <= self.limit


TARGETS: Final = (
    Target(
        "CPU per message in real time, 100 sessions, 20 ms frames, ÷ nginx",
        1.5,
        lambda reading: reading.cost_ratio("rt100", "relay", "nginx"),
    ),
    Target("the same at saturation ÷ nginx", 2.3, lambda reading: reading.cost_ratio("sat20", "relay", "nginx")),
    Target(
        "the same in real time with a `wss` upstream ÷ nginx with TLS",
        1.6,
        lambda reading: reading.cost_ratio("rt100", "relay-tls", "nginx-tls"),
    ),
    Target(
        "real-time sessions per core, 20 ms frames both ways",
        500,
        lambda reading: reading.sessions_per_core("rt300", "relay"),
        at_least=True,
    ),
    Target("added round trip at 100 sessions, p50", 0.35, lambda reading: reading.added_ms("rt100", "relay", 50), "ms"),
    Target("the same, p99", 1.7, lambda reading: reading.added_ms("rt100", "relay", 99), "ms"),
    Target("resident memory per session, `ws` upstream", 45, lambda reading: reading.active_kb("relay"), "KB"),
    Target("the same, `wss` upstream", 85, lambda reading: reading.active_kb("relay-tls"), "KB"),
    Target("CPU to set a session up ÷ LiteLLM", 0.11, lambda reading: reading.set_up_ratio("relay", "litellm")),
    Target(
        "growth of CPU per message from 1 to 1,000 sessions",
        1.15,
        lambda reading: reading.growth("relay", 1, 1_000),
    ),
    Target(
        "mint and redeem pairs per second of the services' CPU",
        3_000,
        lambda reading: reading.pairs_per_cpu_second(),
        at_least=True,
    ),
)
