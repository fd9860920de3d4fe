"""Masks of the frames that picows sends as a client, so that nobody can foretell them (RFC 6455 §5.3).

picows takes each from C's ``rand()``, which nobody seeds: every process would use the same ones in the same order. So
the operating system's randomness seeds it anew before each frame. Of a mask's 32 bits 31 are random: ``rand()`` gives
no more.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from itertools import chain
from typing import Final

_MANY: Final = struct.Struct("256I")
_SMALLEST_STATE_BYTES: Final = 8
_libc: Final = ctypes.PyDLL(None)  # holds on to the interpreter's lock, and so costs little
_libc.srand.argtypes, _libc.srand.restype = [ctypes.c_uint], None


def _random_numbers() -> Iterator[int]:
    """The operating system's randomness, which is asked for many at once: each time costs as much as all the rest."""
    return chain.from_iterable(iter(lambda: _MANY.unpack(os.urandom(_MANY.size)), ()))


def _smallest_state() -> memoryview | None:
    """Give glibc's ``rand()`` the smallest of its states: a number, after a word that says so. None elsewhere."""
    if not hasattr(_libc, "gnu_get_libc_version"):
        return None
    _libc.initstate.argtypes = [ctypes.c_uint, ctypes.c_char_p, ctypes.c_size_t]
    _libc.initstate.restype = _libc.setstate.restype = ctypes.c_void_p
    _libc.setstate.argtypes = [ctypes.c_void_p]
    room = ctypes.create_string_buffer(_SMALLEST_STATE_BYTES)
    usual = _libc.initstate(1, room, _SMALLEST_STATE_BYTES)
    state = memoryview(room).cast("B").cast("I")
    drawn = []
    for seed in (1, 2, 1):
        state[1] = seed
        drawn.append(_libc.rand())
    if drawn[0] == drawn[2] != drawn[1]:
        return state
    _libc.setstate(usual)
    return None


class Masks:
    """Where they come from; there is one of these in a process.

    With a ``state`` of ``rand()`` a seed is just written there; without, it is worked into a state of the usual size,
    at the price of all else that sending costs.
    """

    def __init__(self, state: memoryview | None) -> None:
        self._state = state
        self._next_seed = _random_numbers().__next__

    def choose_next(self) -> None:
        """Make the mask of the next frame one that follows from no other."""
        if self._state is None:
            _libc.srand(self._next_seed())
        else:
            self._state[1] = self._next_seed()


STATE: Final = _smallest_state()
masks: Final = Masks(STATE)
