from __future__ import annotations

import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

import service_kit.log
from service_kit.log import ALLOWED_KEYS, set_up_logging, where

CANARY = "canary-content"


pytestmark = pytest.mark.usefixtures("logging_as_it_was")


def lines(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_keys_that_are_not_on_the_list_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("mint.ok", token_id="tok_1", token=CANARY, audio=CANARY, instructions=CANARY)
    (line,) = lines(capfd)
    assert CANARY not in str(line)
    assert line["event"] == "mint.ok"
    assert line["service"] == "token_service"
    assert line["token_id"] == "tok_1"
    assert line["timestamp"].endswith("Z")


def test_each_line_of_a_worker_has_its_number(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("relay", "INFO", worker=3)
    structlog.get_logger().info("mint.ok")
    (line,) = lines(capfd)
    assert (line["service"], line["worker"]) == ("relay", 3)


def test_the_list_has_no_room_for_content() -> None:
    assert not ALLOWED_KEYS & {"token", "authorization", "instructions", "audio", "text", "delta", "body", "message"}


def test_a_value_cannot_forge_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("mint.denied", param='x"}\n{"event": "mint.ok"}\r\u2028', origin="\udcff")
    (line,) = lines(capfd)
    assert line["event"] == "mint.denied"


def test_a_param_that_is_no_field_name_is_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    ours = ["session.audio.input", "response.input[0].content", "api-key", "airlock.max_input_audio_seconds", None]
    theirs = [
        f"session.{CANARY} of theirs", "session.ek_WyJlNjRxbldyOTlfTWtTb2FX.awKx3g.sEvpHLEw", "a" * 41, "a..b", "a.",
        ".a", "session.A", "session.5", "a[b]", "a\n", "", "é",
    ]  # fmt: skip
    for param in (*ours, *theirs):
        structlog.get_logger().info("mint.denied", param=param)
    written = [line["param"] for line in lines(capfd)]
    assert written[: len(ours)] == ours
    assert set(written[len(ours) :]) == {"(no name of a field)", ""}


def test_an_origin_that_is_none_is_not_written(capfd: pytest.CaptureFixture[str]) -> None:
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
    written = [line["origin"] for line in lines(capfd)]
    assert written[: len(real)] == real
    assert written[len(real) : -1] == ["(no origin)"] * len(forged)
    assert written[-1] == ("https://" + "a" * 10_000)[:256]


def test_long_values_are_cut_and_strings_in_objects_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("session.end", reason="r" * 10_000, tokens={"input": 3, "nested": {"text": CANARY}})
    (line,) = lines(capfd)
    assert len(line["reason"]) == 256
    assert line["tokens"] == {"input": 3, "nested": {}}


class Odd(int):
    """A number of a class that msgspec does not know."""


@pytest.mark.parametrize(
    "reason",
    ["", 'plain \\ "text"', "\x00\t\n\x1b\x7f", "é\u2028\U0001f600", "\udcff", 2**80, Odd(5), -0.0, 1e300, True, None],
)
def test_a_line_is_what_json_dumps_writes(capfd: pytest.CaptureFixture[str], reason: object) -> None:
    set_up_logging("token_service", "INFO")
    structlog.get_logger().info("session.end", reason=reason, tokens={"input": 3, "nested": {"cached": 0.25}})
    (line,) = capfd.readouterr().out.splitlines()
    assert line.isascii()
    assert line.isprintable()
    fields = json.loads(line)
    assert (fields["reason"], fields["tokens"]) == (reason, {"input": 3, "nested": {"cached": 0.25}})
    assert re.sub("e[+]", "e", line) == re.sub("e[+]", "e", json.dumps(fields))


def test_a_library_s_record_keeps_its_place_and_loses_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "INFO")
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("aiohttp.server").exception("Error handling request with %s", CANARY)
    logging.getLogger("asyncio").warning(CANARY)
    error, warning = lines(capfd)
    assert CANARY not in str((error, warning))
    assert (error["logger"], error["error"], error["level"]) == ("aiohttp.server", "ValueError", "error")
    assert error["at"].startswith("test_log.py:")
    assert (warning["logger"], warning["error"]) == ("asyncio", None)


def test_lines_below_the_level_are_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("token_service", "WARNING")
    structlog.get_logger().info("listening")
    logging.getLogger("library").info("text")
    assert lines(capfd) == []


def test_where_of_an_exception_that_was_never_raised() -> None:
    assert where(ValueError(CANARY)) == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no full device")
def test_lines_that_the_log_does_not_take_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(service_kit.log, "STDOUT", descriptor)
    set_up_logging("relay", "INFO")
    for _ in range(3):
        structlog.get_logger().info("session.end")
    with (tmp_path / "log").open("wb") as room:
        os.dup2(room.fileno(), descriptor)
    structlog.get_logger().info("session.start")
    structlog.get_logger().info("session.end")
    os.close(descriptor)
    written = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in written] == ["session.start", "log.dropped", "session.end"]
    assert (written[1]["lines"], written[1]["level"]) == (3, "warning")


def test_a_line_that_was_torn_does_not_spoil_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr(service_kit.log, "STDOUT", writer)
    set_up_logging("relay", "INFO")
    os.write(writer, b"." * (65_536 - 4_096) + b"\n")
    structlog.get_logger().info("session.end", tokens={str(number): number for number in range(1_000)})
    os.read(reader, 65_536 - 4_096)  # and leaves what there is of the torn line
    structlog.get_logger().info("session.start")
    os.close(writer)
    with open(reader, "rb") as rest:  # noqa: PTH123 - a descriptor
        last = rest.read().splitlines()[-2:]
    assert [json.loads(line)["event"] for line in last] == ["session.start", "log.dropped"]


def test_a_library_s_flood_is_cut_to_ten_lines_a_second_and_counted(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    set_up_logging("relay", "INFO")
    for now in (100.0, 100.9, 101.0, 101.9):  # noqa: B007 - read by the clock above
        for _ in range(1_000):
            logging.getLogger("asyncio").error("socket.accept() out of system resource")
        structlog.get_logger().info("session.end")  # ours are not held back
    events = [line["event"] for line in lines(capfd)]
    assert (
        events
        == ["library.log"] * 9 + ["session.end"] * 2 + ["log.dropped"] + ["library.log"] * 9 + ["session.end"] * 2
    )
