from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from service_kit.log import ALLOWED_KEYS, set_up_logging, where

CANARY = "canary-content"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_keys_that_are_not_on_the_list_are_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("mint.ok", token_id="tok_1", token=CANARY, audio=CANARY, instructions=CANARY)
    (line,) = lines(capsys)
    assert CANARY not in str(line)
    assert line["event"] == "mint.ok"
    assert line["service"] == "token_service"
    assert line["token_id"] == "tok_1"
    assert line["timestamp"].endswith("Z")


def test_the_list_has_no_room_for_content() -> None:
    assert not ALLOWED_KEYS & {"token", "authorization", "instructions", "audio", "text", "delta", "body", "message"}


def test_a_value_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("mint.denied", param='x"}\n{"event": "mint.ok"}\r\u2028', origin="\udcff")
    (line,) = lines(capsys)
    assert line["event"] == "mint.denied"


def test_a_param_that_is_no_field_name_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    for param in ("session.audio.input", "response.input[0].content", None, f"session.{CANARY} of theirs"):
        structlog.get_logger().info("mint.denied", param=param)
    assert [line["param"] for line in lines(capsys)] == [
        "session.audio.input",
        "response.input[0].content",
        None,
        "(no name of a field)",
    ]


def test_an_origin_that_is_none_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    real = [
        "https://voice.example.com",
        "http://localhost:8080",
        "http://[::1]:8080",
        "null",
        "moz-extension://a-1",
        None,
    ]
    forged = [
        CANARY, "https://a.example/" + CANARY, "https://a.example?" + CANARY, f"https://{CANARY}@a.example", "https://",
        f"https://a.example {CANARY}", f"https://a.example\n{CANARY}", f"https://a.example\x1b[2J{CANARY}", "https://\udcff",
        "https://\u0430.example", "https://a.example\u2028",
    ]  # fmt: skip
    for origin in (*real, *forged, "https://" + "a" * 10_000):
        structlog.get_logger().info("mint.denied", origin=origin)
    written = [line["origin"] for line in lines(capsys)]
    assert written[: len(real)] == real
    assert written[len(real) : -1] == ["(no origin)"] * len(forged)
    assert written[-1] == ("https://" + "a" * 10_000)[:256]


def test_long_values_are_cut_and_strings_in_objects_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("session.end", param="p" * 10_000, tokens={"input": 3, "nested": {"text": CANARY}})
    (line,) = lines(capsys)
    assert len(line["param"]) == 256
    assert line["tokens"] == {"input": 3, "nested": {}}


def test_a_library_s_record_keeps_its_place_and_loses_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request with %s", CANARY)
    logging.getLogger("asyncio").warning(CANARY)
    error, warning = lines(capsys)
    assert CANARY not in str((error, warning))
    assert (error["logger"], error["error"], error["level"]) == ("aiohttp.server", "ValueError", "error")
    assert error["at"].startswith("test_log.py:")
    assert (warning["logger"], warning["error"]) == ("asyncio", None)


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "WARNING")
    structlog.get_logger().info("listening")
    logging.getLogger("library").info("text")
    assert lines(capsys) == []


def test_where_of_an_exception_that_was_never_raised() -> None:
    assert where(ValueError(CANARY)) == ""
