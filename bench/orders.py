"""What ``__main__`` asks of the processes that measure, and what they answer: JSON on their standard streams."""

from __future__ import annotations

from msgspec import Struct


class Mint(Struct, frozen=True):
    """Where a contender that admits only tokens gets them."""

    url: str
    api_key: str


class Place(Struct, frozen=True):
    """What is measured: an address, and the process that serves it.

    Attributes:
        pid: the root of its processes; None where there is nothing between browser and model.
        headers: what a browser shows it; with ``mint``, a fresh token for each connection comes to these.
    """

    url: str
    pid: int | None = None
    headers: dict[str, str] = {}
    mint: Mint | None = None


class Flow(Struct, frozen=True, tag=True, kw_only=True):
    """Order: let audio flow both ways and count.

    Attributes:
        in_flight: each session has so many appends unanswered, as fast as it goes; 0 for ``appends_per_second``.
        appends_per_second: all sessions together, evenly spread.
        watched: further processes whose CPU is wanted, by name.
        sample_every_seconds: how often to tell how it goes; 0 for never.
    """

    place: Place
    sessions: int
    frame_ms: int
    in_flight: int = 0
    appends_per_second: float = 0
    warm_up_seconds: float
    seconds: float
    watched: dict[str, int] = {}
    sample_every_seconds: float = 0


class Flowed(Struct, frozen=True, tag=True, kw_only=True):
    """Answer to a Flow, about its measured time alone, but ``lost``, which is about all of it.

    Attributes:
        messages: relayed, both directions together.
        offered: what should have been relayed in that time; None as fast as it goes.
        cpu_ns: by process: ``contender``, ``load`` (the asking one), and the watched ones.
        lost: appends without an answer.
        late_ms: the most that an append was sent too late.
        resident_bytes: of the contender, at the end of that time.
    """

    messages: int
    seconds: float
    offered: float | None
    cpu_ns: dict[str, int]
    trip_p50_ms: float
    trip_p99_ms: float
    lost: int
    late_ms: float
    resident_bytes: int


class Sample(Struct, frozen=True, tag=True, kw_only=True):
    """How a long Flow goes: what happened since the sample before."""

    at_seconds: float
    messages: int
    trip_p50_ms: float
    trip_p99_ms: float
    resident_bytes: int
    cpu_ns: int


class SetUp(Struct, frozen=True, tag=True, kw_only=True):
    """Order: open sessions, so many at a time, and see what they cost; let audio flow in real time for a while, too."""

    place: Place
    sessions: int
    at_once: int = 16
    warm_up_sessions: int = 16
    active_seconds: float = 2.0
    watched: dict[str, int] = {}


class WasSetUp(Struct, frozen=True, tag=True, kw_only=True):
    """Answer to a SetUp; the memory is the contender's."""

    sessions: int
    seconds: float
    cpu_ns: dict[str, int]
    base_bytes: int
    idle_bytes: int
    active_bytes: int
    lost: int


class MintTokens(Struct, frozen=True, tag=True, kw_only=True):
    """Order: mint over HTTP: ``count`` with so many requests under way, or ``per_second`` evenly spread."""

    mint: Mint
    pid: int
    count: int
    at_once: int = 16
    per_second: float = 0


class Redeem(Struct, frozen=True, tag=True, kw_only=True):
    """Order: redeem tokens, minted before, by the relay's own code: no upgrade, no dial. The rest as for minting."""

    tokens: list[str]
    redis_url: str
    signing_keys: list[str]
    at_once: int = 16
    per_second: float = 0


class Done(Struct, frozen=True, tag=True, kw_only=True):
    """Answer to minting or redeeming; ``cpu_ns`` has the service's as ``contender``."""

    count: int
    seconds: float
    cpu_ns: dict[str, int]
    trip_p50_ms: float
    trip_p99_ms: float
    tokens: list[str] = []


Order = Flow | SetUp | MintTokens | Redeem
"""What can be asked."""
Answer = Flowed | Sample | WasSetUp | Done
