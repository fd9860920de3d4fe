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
from typing import Final

_MANY: Final = struct.Struct("256I")
_srand: Final = ctypes.PyDLL(None).srand  # PyDLL holds on to the interpreter's lock, and so costs little
_srand.argtypes = [ctypes.c_uint]
_srand.restype = None


def _random_numbers() -> Iterator[int]:
    """The operating system's randomness, which is asked for many at once: each time costs as much as all the rest."""
    while True:
        yield from _MANY.unpack(os.urandom(_MANY.size))


_next_seed: Final = _random_numbers().__next__


def choose_next_mask() -> None:
    """Make the mask of the next frame one that follows from no other."""
    _srand(_next_seed())
