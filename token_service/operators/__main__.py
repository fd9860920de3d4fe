"""``python -m token_service.operators``: the operator API from a shell.

The key comes from the environment (``OPERATOR_KEY``), never from the command line, where others could read it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote, urlencode

DEFAULT_URL: Final = "http://127.0.0.1:8090"
TIMEOUT_SECONDS: Final = 10.0
_COLUMNS: Final = ("id", "tenant", "subject", "profile", "model", "audio_in_seconds", "tokens", "cost_usd", "ends_at")

Json = dict[str, Any]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key must not be carried anywhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


_OPENER: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one thing and print what came of it; exits with status 1 when it was refused."""
    options = _parser().parse_args(arguments)
    print(options.do(options))  # noqa: T201 - that is what it is for


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m token_service.operators", description="Watch and end sessions.")
    parser.add_argument("--url", default=os.environ.get("OPERATOR_URL", DEFAULT_URL), help="default: $OPERATOR_URL")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, do: Any, text: str, *, whom: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(do=do)
        if whom:
            added.add_argument("--subject", help="its pseudonym in the list, or its plain name with --tenant")
            added.add_argument("--tenant")
        return added

    command("sessions", _sessions, "list live sessions", whom=True)
    end = command("end", _end, "end a session, or all of a subject or tenant", whom=True)
    end.add_argument("--session", help="its id in the list")
    revoke = command("revoke", _revoke, "make a token useless and end its session")
    revoke.add_argument("token_id", help="the public id, not the token")
    block = command("block", _block, "refuse a subject or tenant, and end what it has", whom=True)
    block.add_argument("--seconds", type=int, required=True)
    command("unblock", _unblock, "lift a block", whom=True)
    command("blocks", _blocks, "list who is blocked")
    new_key = command("new-key", _new_key, "make an operator's key; asks nobody")
    new_key.add_argument("--name", required=True)
    return parser


def _sessions(options: argparse.Namespace) -> str:
    sessions = _ask(options, "GET", f"sessions{_query(options)}")["sessions"]
    rows = [_COLUMNS, *([_shown(name, session[name]) for name in _COLUMNS] for session in sessions)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _end(options: argparse.Namespace) -> str:
    query = _query(options)
    if options.session is not None and query:
        _fail("name a session, or a subject or tenant, not both")
    path = f"sessions{query}" if options.session is None else f"sessions/{quote(options.session, safe='')}"
    ended = _ask(options, "DELETE", path)["ended"]
    return "\n".join(["ordered; live until now:", *(ended or ["none that was known"])])


def _revoke(options: argparse.Namespace) -> str:
    answer = _ask(options, "DELETE", f"tokens/{quote(options.token_id, safe='')}")
    return "revoked" if answer["was_known"] else "revoked; it had no record any more"


def _block(options: argparse.Namespace) -> str:
    answer = _ask(options, "PUT", f"blocks{_query(options)}", {"seconds": options.seconds})
    return f"{answer['kind']} {answer['id']} is blocked for {answer['seconds']} s"


def _unblock(options: argparse.Namespace) -> str:
    return "lifted" if _ask(options, "DELETE", f"blocks{_query(options)}")["was_blocked"] else "it was not blocked"


def _blocks(options: argparse.Namespace) -> str:
    blocks = _ask(options, "GET", "blocks")["blocks"]
    lines = [
        f"{block['kind']} {block['id']} ({_printable(block['name'])}) until {_time(block['until'])}" for block in blocks
    ]
    return "\n".join(lines) or "nobody is blocked"


def _new_key(options: argparse.Namespace) -> str:
    key = "op_" + secrets.token_urlsafe(32)
    entry = {"name": options.name, "sha256": hashlib.sha256(key.encode()).hexdigest()}
    return f"key, shown only now:          {key}\nadd this to OPERATOR_KEYS:    {json.dumps(entry)}"


def _query(options: argparse.Namespace) -> str:
    given = {name: getattr(options, name) for name in ("subject", "tenant") if getattr(options, name) is not None}
    return f"?{urlencode(given)}" if given else ""


def _shown(name: str, value: object) -> str:
    if name == "ends_at":
        return _time(float(str(value)))
    return "-" if value is None else _printable(str(value))


def _printable(text: str) -> str:
    """For a terminal: names of other people's choice must not move its cursor or colour it."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%SZ")


def _ask(options: argparse.Namespace, method: str, path: str, body: Json | None = None) -> Json:
    key = os.environ.get("OPERATOR_KEY")
    if not key:
        _fail("set OPERATOR_KEY to your key")
    request = urllib.request.Request(  # noqa: S310 - the operator's own address
        f"{options.url.rstrip('/')}/v1/operator/{path}",
        method=method,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        data=None if body is None else json.dumps(body).encode(),
    )
    try:
        with _OPENER.open(request, timeout=TIMEOUT_SECONDS) as response:
            answer: Json = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        _fail(_reason(error))
    except (OSError, ValueError) as error:
        _fail(f"no answer from {options.url}: {error}")


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        told = json.load(error)["error"]
        return f"{told['code']}: {told['message']}"
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"


def _fail(reason: str) -> NoReturn:
    print(reason, file=sys.stderr)  # noqa: T201
    raise SystemExit(1)


if __name__ == "__main__":
    main()
