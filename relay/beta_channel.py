"""A browser that speaks the beta, seen as one that speaks GA: the same channel with :mod:`relay.beta` in front of it.

Only connections that announced the beta have one, so no other pays for it.
"""

from __future__ import annotations

from collections.abc import Callable

from relay.beta import frame_to_beta, frame_to_ga
from relay.channel import Channel, ignore


class BetaChannel:
    """One end of a session in GA's words, over a ``channel`` whose other side speaks the beta. See ``Channel``."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.on_frame: Callable[[bytes], None] = ignore
        self.on_control: Callable[[], None] = ignore
        self.on_congestion: Callable[[bool], None] = ignore
        self.ended = channel.ended
        channel.on_frame = self._translate
        channel.on_control = lambda: self.on_control()
        channel.on_congestion = lambda congested: self.on_congestion(congested)

    def _translate(self, frame: bytes) -> None:
        if self.on_frame is not ignore:  # after an ending nobody listens: a flood is not worth reading
            self.on_frame(frame_to_ga(frame))

    @property
    def round_trip(self) -> float | None:
        """See ``Channel``."""
        return self._channel.round_trip

    @round_trip.setter
    def round_trip(self, seconds: float | None) -> None:
        self._channel.round_trip = seconds

    def send(self, frame: bytes) -> None:
        """Write one message, unless the beta has no words for it."""
        translated = frame_to_beta(frame)
        if translated is not None:
            self._channel.send(translated)

    def measure(self) -> None:
        """See ``Channel``."""
        self._channel.measure()

    def pause(self) -> None:
        """See ``Channel``."""
        self._channel.pause()

    def resume(self) -> None:
        """See ``Channel``."""
        self._channel.resume()

    async def close(self, code: int, reason: str) -> None:
        """See ``Channel``."""
        await self._channel.close(code, reason)
