"""A timer of the kernel, which ticks finer than an event loop waits: those of asyncio and uvloop count milliseconds.

Linux; Python itself has it from 3.13 on.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK: Final = 0o4000
_TFD_CLOEXEC: Final = 0o2000000
_BYTES: Final = 8  # how often it ticked since it was read last


class _Itimerspec(ctypes.Structure):
    """timerfd_create(2)."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("first_seconds", ctypes.c_long),
        ("first_nanoseconds", ctypes.c_long),
    )


class Ticker:
    """Calls ``on_tick`` every so many seconds; when the process was held up, once for all that it missed."""

    def __init__(self, seconds: float, on_tick: Callable[[], None]) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self._on_tick = on_tick
        self._file = library.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        whole, rest = divmod(round(seconds * 1e9), 1_000_000_000)
        times = _Itimerspec(whole, rest, whole, rest)
        if self._file < 0 or library.timerfd_settime(self._file, 0, ctypes.byref(times), None) != 0:
            raise OSError(ctypes.get_errno(), "no timer")
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        self._loop.remove_reader(self._file)
        os.close(self._file)

    def _tick(self) -> None:
        os.read(self._file, _BYTES)
        self._on_tick()
