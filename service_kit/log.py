"""Structured logs: one JSON line per event, and only keys on a list.

Content never reaches a logger; the list is the second line of defence. Library log records keep their place in the
code and their exception's type, never their text: aiohttp, for one, logs a rejected handshake with the token in it.

A log that cannot be written costs its lines and nothing else: they are counted, and the count is logged when it can be.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from service_kit.telemetry import Recorder, Telemetry

STDOUT: Final = 1
MAX_VALUE_CHARS: Final = 256
_CHATTY: Final = ("httpx2", "azure", "opencensus", "opentelemetry", "urllib3")
"""Libraries that log each request: what OpenAI's SDK asks with, and the exporters of telemetry."""
_DROPPED: Final = "airlock_log_lines_dropped_total"
MAX_LIBRARY_LINES: Final = 9
"""Of libraries' records in one second; asyncio, out of descriptors, writes hundreds. One more line counts the rest."""

ALLOWED_KEYS: Final = frozenset(
    {
        "address",  # a pseudonym, as is subject
        "at",
        "audio_in_seconds",
        "audio_out_seconds",
        "bytes_in",
        "bytes_out",
        "caller",
        "close_code",
        "code",
        "compiled",
        "config_sha256",
        "cost_excludes_transcription",
        "cost_usd",
        "duration_seconds",
        "ended_at",
        "ending",
        "error",
        "event",
        "host",
        "id",  # of a session, or a pseudonym
        "kind",
        "http_status",
        "level",
        "lines",
        "live_sessions",
        "logger",
        "method",
        "model",
        "operator",
        "origin",
        "param",
        "pid",
        "port",
        "profile",
        "provider",
        "reason",
        "reference_id",
        "refused_events",
        "request_id",
        "resource",  # that an access token is for
        "route",
        "seconds",
        "secret",  # its name in the vault
        "service",
        "session_id",
        "started_at",
        "stored_bytes",
        "subject",
        "tenant",
        "timestamp",
        "token_id",
        "token_seconds",
        "tokens",
        "trace_id",
        "upstream",
        "waited_seconds",
        "worker",  # its number
    }
)


_FIELD_NAME: Final = re.compile(r"([a-z_-]{1,40}(\[\d{1,9}\])?(\.(?=.)|$))*", re.ASCII)
"""As ours are spelled: a client can put anything in a key's place, a token too."""
_ORIGIN: Final = re.compile(r"(null|[a-z][a-z0-9+.-]*://[\w.:\[\]-]+)?", re.ASCII)
"""As browsers write it (RFC 6454 §6.2): no path, query or credentials."""


def where(error: BaseException) -> str:
    """The place an exception was raised, as ``file:line``: what a log may say of it beside its type."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _keep_allowed(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    kept = {
        key: value if value is None or (type(value) is str and len(value) <= MAX_VALUE_CHARS) else _cut(value)
        for key, value in fields.items()
        if key in ALLOWED_KEYS
    }
    if (param := kept.get("param")) and not _FIELD_NAME.fullmatch(str(param)):
        kept["param"] = "(no name of a field)"  # an unknown key that the client made up can hold anything
    if (origin := kept.get("origin")) and not _ORIGIN.fullmatch(str(origin)):
        kept["origin"] = "(no origin)"  # and so can a header
    return kept


def _cut(value: object) -> object:
    if type(value) is str:
        return value[:MAX_VALUE_CHARS]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {str(key): _cut(item) for key, item in value.items() if isinstance(item, dict | int | float)}
    return str(value)[:MAX_VALUE_CHARS]


def _render(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> bytes:
    """The line as ``json.dumps`` writes it, in ASCII; that takes seven times as long: it gets the rest alone."""
    try:
        line = msgspec.json.format(msgspec.json.encode(fields), indent=0)
    except (TypeError, ValueError):  # a number of another class, a lone surrogate
        line = b""
    return line if line and line.isascii() and b"\x7f" not in line else json.dumps(fields).encode()


class _Lines:
    """Writes whole lines to a descriptor, past any buffer; what it does not take is dropped and counted."""

    def __init__(self, descriptor: int, telemetry: Telemetry) -> None:
        self._descriptor = descriptor
        self._telemetry = telemetry
        self._dropped = 0
        self._torn = False

    def msg(self, line: bytes) -> None:
        """Write one line; never raises."""
        if not self._write(line):
            self._dropped += 1
            self._telemetry.count(_DROPPED)
        elif self._dropped:
            dropped, self._dropped = self._dropped, 0
            structlog.get_logger().warning("log.dropped", lines=dropped)
            if self._dropped:  # not even that was taken
                self._dropped = dropped

    def _write(self, line: bytes) -> bool:
        text = b"\n%b\n" % line if self._torn else line + b"\n"
        try:
            written = os.write(self._descriptor, text)
        except OSError:
            return False
        if written:
            self._torn = written < len(text)
        return written == len(text)

    log = debug = info = warn = warning = error = err = critical = fatal = failure = exception = msg


class _LibraryRecords(logging.Handler):
    """Turns a library's record into one of our lines, without its text, and a flood of them into a count."""

    def __init__(self, telemetry: Telemetry) -> None:
        super().__init__()
        self._telemetry = telemetry
        self._second = 0
        self._in_second = 0
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
            if self._dropped:
                structlog.get_logger().warning("log.dropped", logger=record.name, lines=self._dropped)
                self._dropped = 0
        if self._in_second == MAX_LIBRARY_LINES:
            self._dropped += 1
            self._telemetry.count(_DROPPED)
            return
        self._in_second += 1
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger().log(
            record.levelno,
            "library.log",
            logger=record.name,
            at=where(error) if error else f"{Path(record.pathname).name}:{record.lineno}",
            error=type(error).__name__ if error else None,
        )


def set_up_logging(service: str, level: str, telemetry: Telemetry | None = None, *, worker: int | None = None) -> None:
    """Send every log of this process to standard output as JSON lines, from ``level`` upwards.

    ``telemetry`` hears of each line, and takes those that are events. Where there are several workers, each line has
    the number of its own.
    """
    telemetry = telemetry or Recorder()
    lines = _Lines(STDOUT, telemetry)

    def tell(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        telemetry.event(str(fields.get("event")), fields)
        return fields

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _keep_allowed,
            tell,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(service=service, **({} if worker is None else {"worker": worker}))
    logging.basicConfig(level=level, handlers=[_LibraryRecords(telemetry)], force=True)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
