"""Events and spans: what they may say, how many wait, and that nothing is ever raised or waited for."""

import ast
import re

import pytest

from service_kit.telemetry.catalogue import EVENTS
from service_kit.telemetry.recorder import BATCH, MAX_EVENTS, MAX_SPANS, MAX_VALUE_CHARS, Recorder
from service_kit.telemetry.spans import SpanRecord
from service_kit.telemetry.trace_context import TraceContext
from tests.stack import ROOT

PARENT = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def sent(recorder: Recorder) -> SpanRecord:
    (span,) = recorder.spans.first(10)
    return span


def dropped(recorder: Recorder) -> dict[str, float]:
    counters = recorder.values.look().counters
    return {labels[0]: n for (name, labels), n in counters.items() if name == "airlock_telemetry_dropped_total"}


def test_an_event_says_what_is_on_the_list_and_no_more() -> None:
    recorder = Recorder(is_sent=True)
    recorder.event(
        "redeem.replay",
        {"reason": "live", "subject": "x", "tenant": "x", "address": "x", "event": "x", "seconds": 3, "code": None},
    )
    recorder.event("mint.ok", {"reason": "no event of the table's"})
    (event,) = recorder.events.first(10)
    assert (event.name, event.attributes) == ("redeem.replay", {"reason": "live", "seconds": 3})


@pytest.mark.parametrize("value", ["a" * 1_000, "line\nbreak", "\x1b[31m", "\udcff", "ü", object()])
def test_a_value_is_a_short_line_of_plain_characters(value: object) -> None:
    recorder = Recorder(is_sent=True)
    recorder.event("redis.down", {"error": value})
    (event,) = recorder.events.first(10)
    text = event.attributes["error"]
    assert isinstance(text, str)
    assert len(text) <= MAX_VALUE_CHARS
    assert text.isascii()
    assert text.isprintable()


def test_more_than_there_is_room_for_is_dropped_and_counted() -> None:
    recorder = Recorder(is_sent=True)
    for _ in range(MAX_EVENTS + 7):
        recorder.event("redis.down", {})
    for _ in range(MAX_SPANS + 5):
        recorder.span("session", "internal").end()
    assert (len(recorder.events), len(recorder.spans)) == (MAX_EVENTS, MAX_SPANS)
    assert dropped(recorder) == {"events": 7, "spans": 5}
    assert all(span.attributes == {} for span in recorder.spans.first(MAX_SPANS))


def test_nothing_waits_where_nobody_comes_for_it() -> None:
    recorder = Recorder()
    recorder.event("redis.down", {})
    recorder.span("session", "internal").end()
    assert (len(recorder.events), len(recorder.spans), dropped(recorder)) == (0, 0, {})


def test_who_sends_is_told_when_much_waits() -> None:
    recorder = Recorder(is_sent=True)
    told: list[int] = []
    recorder.on_many = lambda: told.append(len(recorder.spans))
    for _ in range(BATCH + 1):
        recorder.span("session", "internal").end()
    assert told == [BATCH, BATCH + 1]


def test_a_span_is_recorded_once_and_only_when_it_ends() -> None:
    recorder = Recorder(is_sent=True)
    span = recorder.span("session", "internal", parent=PARENT, session_id="sess_1", profile=None)
    assert len(recorder.spans) == 0
    span.set(ending="idle", code=None, subject="canary")
    span.end()
    span.end()
    record = sent(recorder)
    assert record.attributes == {"session_id": "sess_1", "ending": "idle"}
    assert (record.context.trace_id, record.parent_id) == (PARENT.trace_id, PARENT.span_id)
    assert not record.has_failed


def test_a_span_that_raises_has_failed_and_says_nothing_of_it() -> None:
    recorder = Recorder(is_sent=True)
    with pytest.raises(ZeroDivisionError), recorder.span("upstream", "client"):
        raise ZeroDivisionError("canary")
    record = sent(recorder)
    assert record.has_failed
    assert record.attributes == {}
    assert record.parent_id is None
    assert len(record.context.trace_id) == 32


@pytest.mark.parametrize(
    ("status", "has_failed"), [(101, False), (200, False), (400, True), (503, True), (None, False)]
)
def test_a_request_fails_by_its_status_and_101_is_no_failure(status: int | None, has_failed: bool) -> None:
    recorder = Recorder(is_sent=True)
    span = recorder.span("GET /v1/realtime", "server")
    span.status = status
    span.end()
    assert sent(recorder).has_failed is has_failed


def test_a_parent_can_be_named_late() -> None:
    recorder = Recorder(is_sent=True)
    span = recorder.span("GET /v1/realtime", "server")
    own = span.context
    span.parent = PARENT
    assert span.context == TraceContext(PARENT.trace_id, own.span_id)


def test_every_line_of_level_error_is_an_event() -> None:
    logged = set[str]()
    for package in ("service_kit", "relay", "token_service"):
        for module in (ROOT / package).rglob("*.py"):
            for call in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "error":
                    logged |= {
                        str(name.value)
                        for name in ast.walk(call.args[0] if call.args else call)
                        if isinstance(name, ast.Constant) and re.fullmatch(r"[a-z_]+[._][a-z_]+", str(name.value))
                    }
    assert logged >= {"redeem.replay", "redis.down", "upstream.auth_failed", "vault.stale"}
    # Telemetry that cannot be sent is not told by telemetry.
    assert logged - EVENTS.keys() == {"telemetry.failed"}
