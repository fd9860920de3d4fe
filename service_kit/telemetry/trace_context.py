"""W3C trace context (https://www.w3.org/TR/trace-context/, level 1), as far as we need it. Pure.

What comes from outside is only ever one of the numbers that the standard allows, or nothing. ``tracestate`` is not read
and nothing is passed on to the model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

TRACEPARENT: Final = "traceparent"
MAX_CHARS: Final = 128
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)


class TraceContext(msgspec.Struct, frozen=True):
    """One span's place: its trace and its own id, in lower-case hexadecimal of 32 and 16 digits."""

    trace_id: str
    span_id: str

    @property
    def traceparent(self) -> str:
        """As a header's value; everything of ours is recorded, so the flag says so."""
        return f"00-{self.trace_id}-{self.span_id}-01"


def parse_traceparent(lines: Sequence[str]) -> TraceContext | None:
    """The context in the values of every ``traceparent`` line; None unless there is exactly one that is valid.

    Later versions of the standard may add fields at the end; version 00 has none.
    """
    if len(lines) != 1 or len(lines[0]) > MAX_CHARS:
        return None
    match = _TRACEPARENT.fullmatch(lines[0])
    if match is None or (match[1] == "00" and match[4]):
        return None
    return TraceContext(match[2], match[3])
