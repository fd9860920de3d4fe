"""The replay alarm: a used token that comes again while its session is live, or from elsewhere, was probably stolen.

A client that merely reconnects with its used token is refused like any other, but is no reason to wake anybody.
"""

from __future__ import annotations

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from relay.redemption import Redemptions, Replay
from service_kit.redis_client import RedisUnavailable
from service_kit.revocation import Kind, Revocations, Target, Why
from service_kit.telemetry import Telemetry

SETTLE_SECONDS: Final = 0.5
"""A client whose connection broke may be back before the relay has noted that its session is over."""
MAX_LOOKS: Final = 256


class ReplayAlarm:
    """Judges replays, raises the alarm, and ends the first session if the operator wants that."""

    def __init__(
        self, redemptions: Redemptions, revocations: Revocations, telemetry: Telemetry, *, ends_session: bool
    ) -> None:
        self._telemetry = telemetry
        self._redemptions = redemptions
        self._revocations = revocations
        self._ends_session = ends_session
        self._looks: set[asyncio.Task[None]] = set()

    def consider(self, replay: Replay, token_id: str, log: FilteringBoundLogger) -> None:
        """Raise the alarm within a second, if there is reason to; ``log`` tells of the second connection."""
        if not (replay.is_elsewhere or replay.is_live) or len(self._looks) >= MAX_LOOKS:
            return
        look = asyncio.create_task(self._look(replay, token_id, log), name="replay")
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)

    async def _look(self, replay: Replay, token_id: str, log: FilteringBoundLogger) -> None:
        if not replay.is_elsewhere:
            await asyncio.sleep(SETTLE_SECONDS)
            try:
                if not await self._redemptions.is_live(token_id, replay.session_id):
                    return
            except RedisUnavailable:
                pass  # rather one alarm too many
        reason = "elsewhere" if replay.is_elsewhere else "live"
        self._telemetry.count("airlock_replays_total", reason=reason)
        log.error("redeem.replay", token_id=token_id, session_id=replay.session_id, reason=reason)
        if self._ends_session:
            try:
                await self._revocations.end(Target(Kind.SESSION, replay.session_id), Why.REPLAYED)
            except RedisUnavailable as error:
                log.error("redis.down", error=str(error))

    async def close(self) -> None:
        """Give up what is still being looked at."""
        for look in tuple(self._looks):
            look.cancel()
        if self._looks:
            await asyncio.wait(self._looks)
