"""Endings: whatever goes wrong upstream, the client is told in the relay's words; and nothing goes on without it."""

from __future__ import annotations

from functools import partial

from local_cloud.conformance.check import Check, Outcome, failed, passed
from local_cloud.conformance.client import Client, NoAnswer
from local_cloud.conformance.scrub import ERRORS, TEXT_RESPONSE, WORDS
from local_cloud.conformance.trial import FENCE, FENCED, Trial
from local_cloud.realtime.faults import (
    DropHandshake,
    HandshakeFault,
    HttpStatus,
    Interject,
    NoGreeting,
    RejectAfterUpgrade,
    StallHandshake,
    session_expired,
)

GROUP = "endings"
RFC = "RFC 6455 §7.4"
_DEADLINE = 4
"""Times the usual patience, for a client that waits while the upstream says nothing."""


def untold(client: Client) -> str | None:
    """What is missing for a client to know that, and why, it has no session; None if nothing is."""
    if client.status != 101:
        return None if client.status >= 400 else f"HTTP {client.status}"
    if not client.over:
        return "it was left waiting"
    if client.close is None:
        return "the connection was cut without a close frame"
    if not is_sensible(client.close[0]):
        return f"close code {client.close[0]} says nothing of a failure"
    return None if client.errors() else f"close {client.close[0]} without an error event"


def is_sensible(code: int) -> bool:
    """Whether a close code may be sent, and says that something went wrong."""
    return code in {1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014} or 3000 <= code <= 4999


async def _failed_start(fault: HandshakeFault, trial: Trial) -> Outcome:
    trial.simulator.faults.add(fault, times=None)
    try:
        client = await trial.knock(await trial.credential())
    except NoAnswer as error:
        return failed(f"the client got {error}")
    try:
        await client.until(
            lambda: client.over or client.count("session.created") > 0, _DEADLINE * trial.target.patience
        )
        if client.count("session.created"):
            return failed("a session seemed to begin")
        if problem := untold(client):
            return failed(problem)
        return passed(f"the client was told: {client.said()}")
    finally:
        await client.leave()


async def _failed_session(fault: Interject, trial: Trial) -> Outcome:
    trial.simulator.faults.add(fault)
    async with trial.session() as talk:
        await talk.client.send(FENCE)
        await talk.client.until_over(trial.target.patience)
        if problem := untold(talk.client):
            return failed(problem)
        return passed(f"the client was told: {talk.client.said()}")


async def _ordinary_end(trial: Trial) -> Outcome:
    trial.simulator.faults.add(Interject(after=FENCED, then="close", close_code=1000))
    async with trial.session() as talk:
        await talk.client.send(FENCE)
        if not await talk.client.until_over(trial.target.patience):
            return failed("the client was left waiting")
        if talk.client.close is None:
            return failed("the connection was cut without a close frame")
        return passed(f"the client was told: {talk.client.said()}")


async def _unquoted(trial: Trial) -> Outcome:
    """Whether words of the upstream reach a client in the course of any of its refusals."""
    refusals: tuple[HandshakeFault, ...] = (
        *(HttpStatus(status=status, code=WORDS, message=WORDS) for status in (401, 403, 404, 429, 500, 503)),
        RejectAfterUpgrade(message=WORDS),
        RejectAfterUpgrade(code=WORDS, message=WORDS, close_code=4000),
    )
    for refusal in refusals:
        before = len(trial.heard)
        trial.simulator.faults.add(refusal, times=None)
        if await trial.begins_with(await trial.credential()):
            return failed("a session seemed to begin")
        trial.simulator.faults.clear()
        if WORDS.encode() in trial.heard[before:]:
            return failed("the words of an upstream that refused reached the client")
    return passed(f"the words of {len(refusals)} refusals of the upstream did not reach the client")


async def _unquoted_reason(trial: Trial) -> Outcome:
    for code in (1001, 1008, 1011, 4000):
        trial.simulator.faults.add(Interject(after=FENCED, then="close", close_code=code, close_reason=WORDS))
        before = len(trial.heard)
        async with trial.session() as talk:
            await talk.client.send(FENCE)
            await talk.client.until_over(trial.target.patience)
        if WORDS.encode() in trial.heard[before:]:
            return failed(f"the reason of the upstream's close {code} reached the client")
        await trial.settle()
    return passed("the reasons of four closes of the upstream did not reach the client")


async def _client_gone(trial: Trial, *, vanishes: bool) -> Outcome:
    async with trial.session() as talk:
        await talk.client.send(TEXT_RESPONSE)
        if vanishes:
            talk.client.vanish()
        else:
            await talk.client.leave()
        try:
            await talk.upstream.wait_ended(trial.target.patience)
        except TimeoutError:
            return failed(f"{trial.target.patience:g} s later the upstream's session still ran")
        return passed("the upstream's session ended too")


async def _http_error(trial: Trial) -> Outcome:
    try:
        client = await trial.knock("ek_x", carriage="header")
    except NoAnswer as error:
        return failed(f"a client with a wrong key: {error}")
    try:
        if client.status == 101:
            await client.until_over(trial.target.patience)
            if problem := untold(client):
                return failed(f"a client with a wrong key: {problem}")
            return passed(f"a client with a wrong key was told: {client.said()}")
        if b'"error"' not in client.body:
            return failed(f"a client with a wrong key gets {client.said()} without an error object")
        return passed(f"a client with a wrong key was told: {client.said()} and an error object")
    finally:
        await client.leave()


_LEFT = "a client that is not told waits, or tries again and again"

CHECKS = (
    *(
        Check(group=GROUP, name=f"The client is told when the upstream {what}", why=_LEFT, source=RFC, run=run)
        for what, run in (
            ("refuses the upgrade", partial(_failed_start, HttpStatus(status=503))),
            ("refuses the key", partial(_failed_start, HttpStatus(status=401))),
            ("is busy", partial(_failed_start, HttpStatus(status=429, retry_after=2))),
            ("redirects", partial(_failed_start, HttpStatus(status=307, location="http://127.0.0.1:9/"))),
            ("upgrades, refuses and closes", partial(_failed_start, RejectAfterUpgrade())),
            ("cuts the handshake", partial(_failed_start, DropHandshake())),
            ("does not answer the handshake", partial(_failed_start, StallHandshake())),
            ("upgrades and says nothing", partial(_failed_start, NoGreeting())),
            ("upgrades and closes", partial(_failed_start, NoGreeting(then="close"))),
            (
                "closes during the session",
                partial(_failed_session, Interject(after=FENCED, then="close")),
            ),
            ("ends the session at its maximum age", partial(_failed_session, session_expired(FENCED))),
            (
                "is cut off during the session",
                partial(_failed_session, Interject(after=FENCED, then="abort")),
            ),
        )
    ),
    Check(
        group=GROUP,
        name="An ordinary goodbye of the upstream is passed on",
        why=_LEFT,
        source=RFC,
        run=_ordinary_end,
    ),
    Check(
        group=GROUP,
        name="Why the upstream refused is told in the relay's words",
        why="free text of the upstream can hold parts of keys and ids of the account",
        source=ERRORS,
        run=_unquoted,
    ),
    Check(
        group=GROUP,
        name="Why the upstream closed is told in the relay's words",
        why="free text of the upstream can hold parts of keys and ids of the account",
        source=ERRORS,
        run=_unquoted_reason,
    ),
    Check(
        group=GROUP,
        name="When the client says goodbye, the upstream's session ends",
        why="what nobody hears is paid for",
        source="OWASP LLM10:2025",
        run=partial(_client_gone, vanishes=False),
    ),
    Check(
        group=GROUP,
        name="When the client vanishes, the upstream's session ends",
        why="what nobody hears is paid for",
        source="OWASP LLM10:2025",
        run=partial(_client_gone, vanishes=True),
    ),
    Check(
        group=GROUP,
        name="A client with a wrong key is told in OpenAI's shape",
        why="SDKs read the error object, and no other",
        source="OpenAI API reference, errors",
        run=_http_error,
    ),
)
