"""Judge a relay: ``python -m local_cloud.conformance --relay URL --mint URL …`` (docs/conformance.md).

Exit status: 0 if nothing failed, 1 if something did, 2 if nothing could be judged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import ssl
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from local_cloud.conformance.catalogue import CHECKS, GROUPS
from local_cloud.conformance.check import Check, Outcome, failed
from local_cloud.conformance.client import NoAnswer
from local_cloud.conformance.score import Score, chosen, line
from local_cloud.conformance.target import CARRIAGES, Mint, Target, is_loopback
from local_cloud.conformance.trial import NoSession, Trial
from local_cloud.realtime import Behaviour, Simulator

_CHECK_SECONDS = 90.0
_KEPT_CONNECTIONS = 64
_PASSED, _FAILED, _NOT_JUDGED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where the simulator listens, and the one key that it takes."""

    host: str
    port: int
    key: str


async def judge(target: Target, upstream: Upstream, checks: Sequence[Check], *, wait_seconds: float) -> Score:
    """Run the checks one after another, and print each outcome as it comes.

    Raises:
        NoSession: the relay does not hold an ordinary session, so that nothing can be judged.
    """
    behaviour = Behaviour(api_key=upstream.key, pace=None)
    async with (
        Simulator(behaviour, host=upstream.host, port=upstream.port, keep_connections=_KEPT_CONNECTIONS) as simulator,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http,
    ):
        trial = Trial(target, simulator, http, upstream.key)
        print(f"The relay's upstream must be {simulator.base_url} with the key {upstream.key}", flush=True)
        await _wait_for_a_session(trial, wait_seconds)
        outcomes = {}
        for check in checks:
            outcomes[check] = await _outcome(check, trial)
            print(line(check, outcomes[check]), flush=True)
        return Score(outcomes)


async def _wait_for_a_session(trial: Trial, seconds: float) -> None:
    """Return once an ordinary session is held: the relay may be starting still."""
    ends_at = time.monotonic() + seconds
    while True:
        try:
            async with trial.session():
                pass
            await trial.settle()
            return
        except NoSession as error:
            if time.monotonic() > ends_at:
                raise
            print(f"waiting for the relay: {error}", flush=True)
            await asyncio.sleep(1.0)


async def _outcome(check: Check, trial: Trial) -> Outcome:
    try:
        return await asyncio.wait_for(check.run(trial), _CHECK_SECONDS)
    except (NoSession, NoAnswer) as error:
        return failed(f"no ordinary session could be held: {error}")
    except TimeoutError:
        return failed(f"it took more than {_CHECK_SECONDS:.0f} s")
    finally:
        await trial.settle()


def main() -> None:
    """Read the command line, judge, and tell."""
    given = _parser().parse_args()
    try:
        target = _target(given)
    except ValueError as error:
        raise SystemExit(f"{error}") from error
    upstream = Upstream(given.upstream_host, given.upstream_port, given.upstream_key)
    checks = chosen(CHECKS, given.only)
    try:
        score = asyncio.run(judge(target, upstream, checks, wait_seconds=given.wait))
    except NoSession as error:
        print(f"The relay holds no ordinary session, so nothing was judged: {error}", file=sys.stderr)
        sys.exit(_NOT_JUDGED)
    print(f"\n{score.table()}")
    if given.json:
        given.json.write_text(score.as_json(), encoding="utf-8")
    sys.exit(_PASSED if score.is_clean else _FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_cloud.conformance",
        description="Judge a relay between clients and the OpenAI Realtime API. The kit is its upstream.",
    )
    add = parser.add_argument
    add("--relay", required=True, type=URL, help="where clients connect, such as ws://127.0.0.1:8081/v1/realtime")
    add("--mint", type=URL, help="where a credential for each session comes from, by POST")
    add("--mint-header", action="append", default=[], metavar="'NAME: VALUE'", help="sent to the mint; repeatable")
    add("--mint-body", type=json.loads, default={}, metavar="JSON", help="sent to the mint; default {}")
    add("--mint-value", default="value", metavar="PATH", help="the credential in its answer; default value")
    add("--credential", help="the one credential of all sessions, where there is no mint")
    add("--credential-in", choices=CARRIAGES, default="subprotocol", help="how clients show it")
    add("--origin", help="of the page that clients say they are; default: none is sent")
    add("--model", default="gpt-realtime-2.1", help="that clients ask for")
    add("--open-field", action="append", default=[], metavar="PATH", help="left to clients on purpose; repeatable")
    add("--session-seconds", type=float, default=15.0, help="the longest session that the relay allows in this run")
    add("--log", action="append", default=[], type=Path, metavar="FILE", help="that the relay writes; repeatable")
    add("--upstream-host", default="127.0.0.1", help="where the kit's simulator listens")
    add("--upstream-port", type=int, default=9000, help="0 takes a free one and prints it")
    add("--upstream-key", default=f"sk-conformance-{secrets.token_hex(8)}", help="the one that the relay must use")
    add("--wait", type=float, default=30.0, metavar="SECONDS", help="for the relay to hold its first session")
    add("--patience", type=float, default=5.0, metavar="SECONDS", help="for what should happen at once")
    add("--only", action="append", default=[], choices=GROUPS, help="a group of checks; repeatable")
    add("--json", type=Path, metavar="FILE", help="write the outcomes there too")
    add("--ca-file", type=Path, help="who vouches for the relay and the mint, beside the machine's own")
    add("--yes-i-may-test-this-host", action="store_true", help="needed for any relay that is not on this machine")
    return parser


def _target(given: argparse.Namespace) -> Target:
    """What the command line describes.

    Raises:
        ValueError: it describes nothing that may be tested.
    """
    if (given.mint is None) == (given.credential is None):
        raise ValueError("Give --mint or --credential, and not both.")
    hosts = [url for url in (given.relay, given.mint) if url is not None and not is_loopback(url)]
    if hosts and not given.yes_i_may_test_this_host:
        raise ValueError(f"{hosts[0].host} is not this machine. If you may test it: --yes-i-may-test-this-host")
    if given.relay.scheme not in {"ws", "wss"} or given.relay.query_string:
        raise ValueError("--relay is a ws:// or wss:// address without a query.")
    mint = None
    if given.mint is not None:
        pairs = [header.partition(":")[::2] for header in given.mint_header]
        headers = {name.strip(): value.strip() for name, value in pairs}
        mint = Mint(url=given.mint, headers=headers, body=given.mint_body, value=given.mint_value)
    is_secure = given.relay.scheme == "wss" or (given.mint is not None and given.mint.scheme == "https")
    return Target(
        relay=given.relay,
        mint=mint,
        credential=given.credential,
        carriage=given.credential_in,
        origin=given.origin,
        model=given.model,
        open_fields=frozenset(given.open_field),
        session_seconds=given.session_seconds,
        patience=given.patience,
        logs=given.log,
        tls=_tls(given.ca_file) if is_secure else None,
    )


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
