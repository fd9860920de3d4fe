"""Masks of the frames that picows sends as a client, so that nobody can foretell them (RFC 6455 §5.3).

picows takes each from C's ``rand()``, which nobody seeds: every process would use the same ones in the same order. So
the operating system's randomness seeds it anew before each frame. Of a mask's 32 bits 31 are random: ``rand()`` gives
no more.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_srand: Final = ctypes.PyDLL(None).srand  # PyDLL holds on to the interpreter's lock, and so costs little
_srand.argtypes = [ctypes.c_uint]
_srand.restype = None


def choose_next_mask() -> None:
    """Make the mask of the next frame one that follows from no other."""
    _srand(int.from_bytes(os.urandom(4)))
