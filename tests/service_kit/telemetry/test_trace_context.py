"""What comes from outside as a place in a trace is a place in a trace, or nothing."""

import pytest

from service_kit.telemetry.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_place_is_read_and_written_alike() -> None:
    context = parse_traceparent([GOOD])
    assert context == TraceContext(TRACE, SPAN)
    assert context.traceparent == GOOD


@pytest.mark.parametrize(
    "line",
    [
        f"00-{TRACE}-{SPAN}-00",  # who does not record it is still its parent
        f"01-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01-what-a-later-version-adds",
    ],
)
def test_other_flags_and_later_versions_are_understood(line: str) -> None:
    assert parse_traceparent([line]) == TraceContext(TRACE, SPAN)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [GOOD, GOOD],
        [""],
        [f"{GOOD}-more"],
        [f"{GOOD}\n"],
        [f" {GOOD}"],
        [f"ff-{TRACE}-{SPAN}-01"],
        [f"00-{'0' * 32}-{SPAN}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE.upper()}-{SPAN}-01"],
        [f"00-{TRACE[:-1]}-{SPAN}-01"],
        [f"00-{TRACE}-{SPAN}"],
        [f"00-{TRACE}-{SPAN}-1"],
        [f"00-{TRACE[:-1]}g-{SPAN}-01"],
        [f"00-{TRACE[:-1]}\u0665-{SPAN}-01"],  # a digit, elsewhere
        [f"01-{TRACE}-{SPAN}-01-{'a' * 100}"],
        ["\udcff" * 55],
    ],
)
def test_anything_else_is_nothing(lines: list[str]) -> None:
    assert parse_traceparent(lines) is None
