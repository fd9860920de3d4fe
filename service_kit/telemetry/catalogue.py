"""The one table of what is told to whoever watches: metrics with their dimensions, events, spans. Pure.

``docs/telemetry.md`` is printed from it. Every dimension has a fixed set of values, so that nobody outside can make a
new series; names of subjects, tenants, sessions and addresses are none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from service_kit.errors import TABLE, Ending

OTHER: Final = "other"
"""What a dimension says in place of a value that is not in its set."""


class MetricKind(StrEnum):
    """How the numbers of a metric add up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMING = "timing"


class Together(StrEnum):
    """What the gauges of several workers are together; counters and timings are summed."""

    SUM = "sum"
    LEAST = "least"


_MILLISECONDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_FRACTIONS: Final = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        service: who has it: ``both``, ``token_service`` or ``relay``.
        dimensions: each with every value it may have.
        buckets: upper bounds in milliseconds, of a timing.
        together: of a gauge.
    """

    name: str
    kind: MetricKind
    unit: str
    service: str
    means: str
    dimensions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    together: Together = Together.SUM


def _counter(name: str, unit: str, service: str, means: str, **dimensions: tuple[str, ...]) -> Metric:
    return Metric(name, MetricKind.COUNTER, unit, service, means, dimensions)


def _gauge(name: str, unit: str, service: str, means: str, together: Together) -> Metric:
    return Metric(name, MetricKind.GAUGE, unit, service, means, together=together)


def _timing(
    name: str,
    service: str,
    means: str,
    buckets: tuple[float, ...] = _MILLISECONDS,
    **dimensions: tuple[str, ...],
) -> Metric:
    return Metric(name, MetricKind.TIMING, "ms", service, means, dimensions, buckets)


_WAYS: Final = ("in", "out")
_OUTCOMES: Final = ("ok", "failed")

_METRICS: Final = (
    _counter("airlock_mints_total", "tokens", "token_service", "session tokens minted"),
    _counter("airlock_redemptions_total", "tokens", "relay", "session tokens redeemed"),
    _counter(
        "airlock_refusals_total",
        "refusals",
        "both",
        "requests for a token or a session that were refused, by public code",
        code=tuple(TABLE),
    ),
    _counter(
        "airlock_replays_total",
        "alarms",
        "relay",
        "used tokens that came again: while their session was live, or from elsewhere",
        reason=("live", "elsewhere"),
    ),
    _gauge("airlock_live_sessions", "sessions", "relay", "sessions that are live; of workers, the sum", Together.SUM),
    _counter("airlock_sessions_started_total", "sessions", "relay", "sessions whose lock was confirmed"),
    _counter(
        "airlock_endings_total", "sessions", "relay", "sessions that ended, by ending", ending=tuple(map(str, Ending))
    ),
    _timing("airlock_upstream_ready_ms", "relay", "from the first dial to the confirmed lock"),
    _timing(
        "airlock_first_audio_ms",
        "relay",
        "from the end of what a person said, or the client's `response.create`, to the model's first audio",
    ),
    _timing(
        "airlock_relay_latency_ms",
        "relay",
        "from a frame's arrival in the process to its hand-over to the other side; one frame each way per second",
        _FRACTIONS,
        direction=_WAYS,
    ),
    _counter(
        "airlock_bytes_total",
        "bytes",
        "relay",
        "payload bytes; in is from the browser, out towards it",
        direction=_WAYS,
    ),
    _counter("airlock_audio_seconds_total", "seconds", "relay", "audio, in seconds of sound", direction=_WAYS),
    _counter(
        "airlock_tokens_total",
        "tokens",
        "relay",
        "the model's tokens of sessions that ended; no token is in two kinds",
        kind=("input", "cached_input", "output", "transcription"),
    ),
    _counter("airlock_cost_usd_total", "US dollars", "relay", "what sessions that ended cost, where there is a price"),
    _counter(
        "airlock_upstream_failures_total",
        "dials",
        "relay",
        "upstreams that did not begin a session: they do not accept our key, or anything else",
        reason=("auth", "other"),
    ),
    _timing(
        "airlock_redis_ms",
        "both",
        "ways to Redis, with one question or several, from asking to the answers or to giving up",
        outcome=_OUTCOMES,
    ),
    _gauge(
        "airlock_redis_up",
        "0 or 1",
        "both",
        "whether the last question to Redis was answered; of workers, whether each one's was",
        Together.LEAST,
    ),
    _timing(
        "airlock_vault_ms",
        "both",
        "readings of one secret from Key Vault",
        outcome=_OUTCOMES,
    ),
    _timing(
        "airlock_event_loop_lag_ms",
        "both",
        "how late the event loop was for a timer of 50 ms; max is the longest hold-up",
    ),
    _counter("airlock_workers_replaced_total", "workers", "both", "workers that took the place of one that died"),
    _counter("airlock_log_lines_dropped_total", "lines", "both", "log lines that could not be written"),
    _counter(
        "airlock_telemetry_dropped_total",
        "items",
        "both",
        "telemetry that was not delivered: there was no room for it, or the service did not take it",
        what=("events", "spans", "metrics"),
    ),
)

METRICS: Final[dict[str, Metric]] = {metric.name: metric for metric in _METRICS}


@dataclass(frozen=True, slots=True)
class Event:
    """A log line that is also sent as an event."""

    name: str
    means: str
    is_alert: bool = False


EVENTS: Final[dict[str, Event]] = {
    event.name: event
    for event in (
        Event("redeem.replay", "a used token came again while its session was live, or from elsewhere", is_alert=True),
        Event("upstream.auth_failed", "an upstream does not accept our key", is_alert=True),
        Event("redis.down", "Redis does not answer; at most one in ten seconds", is_alert=True),
        Event("vault.stale", "a secret could not be refreshed, and how old it is", is_alert=True),
        Event("vault.unavailable", "a service has no secrets yet, and the vault gives none", is_alert=True),
        Event("secret.invalid", "a secret of the vault does not fit and was not taken", is_alert=True),
        Event("identity.failed", "the platform gave no new access token", is_alert=True),
        Event("internal_error", "a bug: the place in the code", is_alert=True),
        Event(
            "certificate.invalid", "TLS_CERT_FILE changed and does not fit its key: the old one is shown", is_alert=True
        ),
        Event("worker.replaced", "a worker died, and another one serves in its place", is_alert=True),
        Event("parent.gone", "the parent of several workers died, and they end", is_alert=True),
        Event("upstream.failed", "an upstream did not begin a session"),
        Event("mint.limited", "a caller mints too fast"),
        Event("edge.denied", "a request that did not come through Front Door"),
        Event("log.dropped", "lines that could not be written"),
        Event("admin.end", "an operator ended sessions"),
        Event("admin.revoke", "an operator revoked a token"),
        Event("admin.block", "an operator blocked somebody"),
        Event("admin.unblock", "an operator lifted a block"),
        Event("admin.denied", "an operator's key that is not known"),
        Event("admin.failed", "an operator's order that Redis may not have heard"),
        Event("drain.start", "the process was asked to stop"),
    )
}

ATTRIBUTES: Final = frozenset(
    {
        "at",
        "audio_in_seconds",
        "audio_out_seconds",
        "close_code",
        "code",
        "cost_usd",
        "ending",
        "error",
        "kind",
        "lines",
        "logger",
        "model",
        "profile",
        "provider",
        "reason",
        "request_id",
        "resource",
        "route",
        "seconds",
        "secret",
        "session_id",
        "token_id",
        "tokens",
        "upstream",
    }
)
"""What events and spans may say; each of them is a name or number of ours, or of the operator's configuration."""

SPANS: Final = {
    "POST /v1/realtime/client_secrets": "the mint, unless the caller was not identified",
    "GET /v1/realtime": "the upgrade, from the request to the answer, once the token is redeemed; not the session",
    "redeem": "the token's one use",
    "upstream": "from the first dial to the confirmed lock",
    "session": "from the redemption to the ending",
}
