"""What is looked at from time to time, since nothing that happens would tell it: the event loop's lag, and gauges."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

from service_kit.redis_client import RedisClient
from service_kit.secrets import Secrets, SecretsT
from service_kit.telemetry import Telemetry

BEAT_SECONDS: Final = 0.05
"""So short that a hold-up of half a second is measured to within a tenth, whenever it begins."""
LOOK_SECONDS: Final = 1.0


def _see_nothing() -> None:
    return


class Pulse:
    """Beats while :meth:`beating` runs; each beat that comes late tells by how much."""

    def __init__(self, telemetry: Telemetry, look: Callable[[], None] = _see_nothing) -> None:
        self._telemetry = telemetry
        self._look = look
        self._beats = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat, and ``look`` now and about once in a second, while the block runs."""
        self._look()
        self._wind()
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def _wind(self) -> None:
        self._due = time.perf_counter() + BEAT_SECONDS  # the loop itself knows only whole milliseconds
        self._timer = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._beat)

    def _beat(self) -> None:
        self._telemetry.timing("airlock_event_loop_lag_ms", (time.perf_counter() - self._due) * 1_000)
        self._beats += 1
        if self._beats * BEAT_SECONDS >= LOOK_SECONDS:
            self._beats = 0
            self._look()
        self._wind()


def watch_redis(redis: RedisClient, telemetry: Telemetry) -> None:
    """Tell how long each question to Redis takes, and whether it was answered."""

    def tell(seconds: float, is_answered: bool) -> None:
        telemetry.timing("airlock_redis_ms", seconds * 1_000, outcome="ok" if is_answered else "failed")
        telemetry.gauge("airlock_redis_up", int(is_answered))

    redis.on_answer = tell


def watch_vault(secrets: Secrets[SecretsT], telemetry: Telemetry) -> None:
    """Tell how long each secret takes to be read from the vault, and whether it was."""

    def tell(seconds: float, is_read: bool) -> None:
        telemetry.timing("airlock_vault_ms", seconds * 1_000, outcome="ok" if is_read else "failed")

    secrets.on_read = tell
