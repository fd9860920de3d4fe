"""What one session tells to whoever watches: its place in a trace, and what it used.

The trace begins with the token's mint, whose place the claims carry. Where the client names another trace at its
upgrade, the upgrade belongs to that one, and the session links to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from relay.endings import Over
from relay.meter import Meter
from service_kit.errors import Ending, Refusal
from service_kit.session_token import Claims
from service_kit.telemetry import Span, Telemetry, TraceContext
from service_kit.telemetry.trace_context import parse_traceparent

_FAILURES: Final = frozenset({Ending.MODEL_FAILED, Ending.NOT_LOCKED, Ending.LEASE_LOST, Ending.INTERNAL_ERROR})
_SWITCHING_PROTOCOLS: Final = 101


class SessionTelemetry:
    """One admitted connection's, and its session's if it gets one. ``traceparents`` are the upgrade's header lines.

    Nothing is recorded before the token is redeemed, so that no stranger can fill what records it.
    """

    def __init__(self, telemetry: Telemetry, traceparents: Sequence[str], request_id: str) -> None:
        self._telemetry = telemetry
        upgrade = telemetry.span(
            "GET /v1/realtime", "server", parent=parse_traceparent(traceparents), request_id=request_id
        )
        self._upgrade: Span | None = upgrade  # until it is over, as is the next
        self._redeem: Span | None = telemetry.span("redeem", "internal")
        self._session: Span  # once the token is redeemed
        self._upstream: Span | None = None
        self._dialled_at = 0.0
        self._told: dict[str, float] = {}

    @property
    def trace_id(self) -> str:
        """The trace that the session is part of."""
        return self._session.context.trace_id

    def redeemed(self, claims: Claims, session_id: str, token_id: str) -> None:
        """The token is this session's."""
        assert self._upgrade is not None  # noqa: S101 - it is not answered yet
        assert self._redeem is not None  # noqa: S101 - it happens once
        self._telemetry.count("airlock_redemptions_total")
        minted = parse_traceparent([claims.trace]) if claims.trace else None
        parent, link = _place(self._upgrade, minted)
        redeem, self._redeem = self._redeem, None
        redeem.parent = parent
        redeem.set(token_id=token_id)
        redeem.end()
        self._session = self._telemetry.span(
            "session",
            "internal",
            parent=parent,
            session_id=session_id,
            token_id=token_id,
            profile=claims.profile,
            model=claims.lock.model,
        )
        self._session.link = link
        self._upgrade.set(session_id=session_id)

    def upgraded(self) -> None:
        """The request is answered; what follows is no part of it, or it would never end."""
        self._answered(_SWITCHING_PROTOCOLS)

    def refused(self, refusal: Refusal) -> None:
        """There will be no session; before the token was redeemed, that is nothing to record."""
        if self._redeem is None:
            self._answered(refusal.row.http, code=refusal.code)

    def _answered(self, status: int | None, **said: str) -> None:
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is not None:
            upgrade.status = status
            upgrade.set(**said)
            upgrade.end()

    def dialling(self) -> None:
        """The first upstream is dialled."""
        self._upstream = self._telemetry.span("upstream", "client", parent=self._session.context)
        self._dialled_at = time.perf_counter()

    def ready(self, provider: str | None) -> None:
        """The lock is confirmed."""
        self._telemetry.timing("airlock_upstream_ready_ms", (time.perf_counter() - self._dialled_at) * 1_000)
        if self._upstream is not None:
            self._upstream.set(provider=provider)
            self._upstream.end()
            self._upstream = None

    def used_so_far(self, meter: Meter) -> None:
        """Tell what the session has carried since the last time; tokens and money are told at its end."""
        for direction, bytes_, milliseconds in (
            ("in", meter.bytes_in, meter.audio_in_ms),
            ("out", meter.bytes_out, meter.audio_out_ms),
        ):
            self._add("airlock_bytes_total", bytes_, direction=direction)
            self._add("airlock_audio_seconds_total", milliseconds / 1_000, direction=direction)

    def _add(self, metric: str, so_far: float, **dimensions: str) -> None:
        series = metric + "".join(dimensions.values())
        self._telemetry.count(metric, so_far - self._told.get(series, 0), **dimensions)
        self._told[series] = so_far

    def over(self, over: Over, meter: Meter, receipt: Mapping[str, Any]) -> None:
        """The session ended; ``receipt`` is what its log line says."""
        self.used_so_far(meter)
        tokens = receipt["tokens"]
        cached = tokens["cached_text"] + tokens["cached_audio"] + tokens["cached_image"]
        for kind, number in (
            ("input", max(0, tokens["input"] - cached)),
            ("cached_input", cached),
            ("output", tokens["output"]),
            ("transcription", tokens["transcription"]),
        ):
            self._telemetry.count("airlock_tokens_total", number, kind=kind)
        self._telemetry.count("airlock_cost_usd_total", receipt["cost_usd"] or 0)
        if self._upstream is not None:  # it ended before it was ready
            self._upstream.fail()
            self._upstream.end()
        if over.ending in _FAILURES:
            self._session.fail()
        self._session.set(
            ending=over.ending.value,
            code=over.code,
            close_code=over.close_code,
            provider=receipt["provider"],
            audio_in_seconds=receipt["audio_in_seconds"],
            audio_out_seconds=receipt["audio_out_seconds"],
            tokens=tokens["total"],
            cost_usd=receipt["cost_usd"],
        )
        self._session.end()


def _place(upgrade: Span, minted: TraceContext | None) -> tuple[TraceContext, TraceContext | None]:
    """What the session of an upgrade is part of, and what it links to."""
    named = upgrade.parent
    if named is None:
        upgrade.parent = minted
    elif minted is not None and named.trace_id != minted.trace_id:
        return minted, upgrade.context
    return upgrade.context, None
