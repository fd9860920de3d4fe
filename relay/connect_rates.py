"""How often each address may connect, as this process counts it. Pure: the time is an argument.

In memory, not in Redis: what it keeps from Redis is the questions themselves. Two counts per address, so that forged
tokens keep nobody from connecting who shares the address and has a genuine one.

A window begins with an address's first connect and lasts a minute, so what is remembered is what came within the last
one; where that is too many addresses, the one whose window ends first is forgotten.
"""

from __future__ import annotations

from typing import Final

from service_kit.errors import Refusal

WINDOW_SECONDS: Final = 60.0
MOST_ADDRESSES: Final = 20_000
"""Per count, about 6 MB. Who has more addresses than that is held by none of them."""


def share(per_minute: int, workers: int) -> int:
    """What each of the workers behind one port lets through, so that together they let through what is allowed.

    Connections are spread evenly over them. It is rounded up, since none must be left without any.
    """
    return -(-per_minute // workers)


class TooManyConnects(Refusal):
    """``rate_limited``, until the minute is over; a token is as good then as before.

    ``is_first`` is the first of its address and minute: the one to write about.
    """

    def __init__(self, retry_after: float, *, is_first: bool) -> None:
        super().__init__("rate_limited", retry_after=retry_after)
        self.is_first = is_first


class _Window:
    __slots__ = ("connects", "ends_at")

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.connects = 0


class _Count:
    """One count; its windows in the order in which they end."""

    def __init__(self, limit: int, most_addresses: int) -> None:
        self._limit = limit
        self._most_addresses = most_addresses
        self._windows: dict[str, _Window] = {}

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, address: str, now: float) -> None:
        self._forget(now)
        window = self._windows.get(address)
        if window is None:
            if len(self._windows) >= self._most_addresses:
                del self._windows[next(iter(self._windows))]
            window = self._windows[address] = _Window(now + WINDOW_SECONDS)
        window.connects += 1
        if window.connects > self._limit:
            raise TooManyConnects(window.ends_at - now, is_first=window.connects == self._limit + 1)

    def _forget(self, now: float) -> None:
        while self._windows:
            first = next(iter(self._windows))
            if self._windows[first].ends_at > now:
                return
            del self._windows[first]


class ConnectRates:
    """The counts of one process; ``address`` is a pseudonym, and ``now`` seconds of one clock that never goes back."""

    def __init__(self, per_minute: int, most_addresses: int = MOST_ADDRESSES) -> None:
        self._refused = _Count(per_minute, most_addresses)
        self._genuine = _Count(per_minute, most_addresses)

    def __len__(self) -> int:
        """How many windows are remembered."""
        return len(self._refused) + len(self._genuine)

    def count_refused(self, address: str, now: float) -> None:
        """Count a connect that was refused before a token got it any further. Raises TooManyConnects."""
        self._refused.add(address, now)

    def count_genuine(self, address: str, now: float) -> None:
        """Count a connect with a genuine token, before anybody is asked about it. Raises TooManyConnects."""
        self._genuine.add(address, now)
