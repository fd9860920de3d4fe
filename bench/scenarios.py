"""Which measurements there are, and which contenders take each. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.orders import Flow, Place, SetUp

_FEW: Final = ("nginx", "relay", "aiohttp")
_PEERS: Final = ("direct", *_FEW, "openai", "litellm")
_TLS: Final = ("nginx-tls", "relay-tls", "aiohttp-tls")
_EVERY: Final = (*_PEERS, "relay-plain", "relay-aiohttp", "relay-workers", *_TLS)
GROWTH: Final = (1, 10, 100, 1_000)
"""Sessions that share the same messages."""
_GROWTH_APPENDS_PER_SECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things are measured."""

    warm_up_seconds: float
    seconds: float


USUAL: Final = Pace(0.5, 2.0)
QUICK: Final = Pace(0.3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One measurement.

    Attributes:
        contenders: who takes it, in their order within a round.
        in_flight: appends that each session has unanswered; 0 where they come in time.
        appends_per_second: of all sessions together, where they come in time.
        sets_up: sessions are opened, in a process of their own, and that is measured.
        is_quick: ``--quick`` has it too.
    """

    name: str
    title: str
    contenders: tuple[str, ...]
    sessions: int
    frame_ms: int = 20
    in_flight: int = 0
    appends_per_second: float = 0
    sets_up: bool = False
    is_quick: bool = False

    def order(self, place: Place, pace: Pace, watched: dict[str, int]) -> Flow | SetUp:
        """What the load generator is asked for."""
        if self.sets_up:
            return SetUp(place=place, sessions=self.sessions, watched=watched)
        return Flow(
            place=place,
            sessions=self.sessions,
            frame_ms=self.frame_ms,
            in_flight=self.in_flight,
            appends_per_second=self.appends_per_second,
            warm_up_seconds=pace.warm_up_seconds,
            seconds=pace.seconds,
            watched=watched,
        )


def _real_time(sessions: int, frame_ms: int, *contenders: str, is_quick: bool = False) -> Scenario:
    suffix = "" if frame_ms == 20 else f"-{frame_ms}ms"
    return Scenario(
        name=f"rt{sessions}{suffix}",
        title=f"{sessions} sessions in real time, {frame_ms} ms frames",
        contenders=contenders,
        sessions=sessions,
        frame_ms=frame_ms,
        appends_per_second=sessions * 1000 / frame_ms,
        is_quick=is_quick,
    )


def _saturation(
    name: str, sessions: int, in_flight: int, frame_ms: int, *contenders: str, is_quick: bool = False
) -> Scenario:
    return Scenario(
        name=name,
        title=f"{sessions} sessions with {in_flight} in flight each, as fast as it goes, {frame_ms} ms frames",
        contenders=contenders,
        sessions=sessions,
        frame_ms=frame_ms,
        in_flight=in_flight,
        is_quick=is_quick,
    )


def _growth(sessions: int) -> Scenario:
    return Scenario(
        name=f"growth{sessions}",
        title=f"2,000 messages per second shared by {sessions:,} sessions",
        contenders=_FEW,
        sessions=sessions,
        appends_per_second=_GROWTH_APPENDS_PER_SECOND,
    )


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        _saturation("sat20", 16, 4, 20, *_EVERY, is_quick=True),
        _saturation("sat20-single", 64, 1, 20, "direct", *_FEW, "litellm", is_quick=True),
        _saturation("sat100", 16, 4, 100, "direct", *_FEW, "litellm"),
        _real_time(20, 20, *_PEERS),
        _real_time(100, 20, *_EVERY, is_quick=True),
        _real_time(100, 100, "direct", *_FEW, "litellm"),
        _real_time(300, 20, "direct", *_FEW, "relay-workers"),
        Scenario(
            name="sessions",
            title="200 sessions opened 16 at a time",
            contenders=tuple(name for name in _EVERY if name not in ("direct", "relay-workers")),
            sessions=200,
            sets_up=True,
            is_quick=True,
        ),
        *map(_growth, GROWTH),
    )
}
