"""Single use: a credential opens one session, whatever is tried with it."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Iterable

from local_cloud.conformance.check import Check, Outcome, Run, failed, not_applicable, passed
from local_cloud.conformance.client import NoAnswer
from local_cloud.conformance.target import CARRIAGES
from local_cloud.conformance.trial import MOST_AT_ONCE, NoSession, Trial
from local_cloud.realtime.faults import HttpStatus

GROUP = "single-use"
SOURCE = "RFC 9700 §4.2.4, OWASP ASVS 5.0 10.4.2"
_TRIES = 6
_MOST_DIALS = 3
_BASE64URL = f"{string.ascii_uppercase}{string.ascii_lowercase}{string.digits}-_"


def _of_many(run: Run) -> Run:
    """A question that makes sense only where each session has a credential of its own."""

    async def asked(trial: Trial) -> Outcome:
        if trial.target.mint is None:
            return not_applicable("there is no mint; that the one credential works again is judged above")
        return await run(trial)

    return asked


async def _spent(trial: Trial) -> str:
    """A credential that has opened a session, which is over."""
    credential = await trial.credential()
    if not await trial.begins_with(credential):
        raise NoSession("an ordinary session did not begin")
    return credential


async def _while_live(trial: Trial) -> Outcome:
    credential = await trial.credential()
    client = await trial.knock(credential)
    try:
        if not await trial.begins(client):
            raise NoSession(client.said())
        wrong = await trial.why_not_refused(credential)
        if wrong:
            return failed(f"the same credential again, while its session was live: {wrong}")
        if client.over:
            return passed("the second connect was refused, and ended the first session")
        return passed("the second connect was refused, and the first session went on")
    finally:
        await client.leave()


async def _afterwards(trial: Trial) -> Outcome:
    wrong = await trial.why_not_refused(await _spent(trial))
    if wrong:
        return failed(f"the credential works more than once: {wrong} when the first was over")
    return passed("the second connect was refused")


async def _race(trial: Trial) -> Outcome:
    for _ in range(2):  # where the machine is short of time, a careful relay may refuse them all
        before, credential = trial.dials, await trial.credential()
        opened = sum(await asyncio.gather(*(trial.begins_with(credential) for _ in range(MOST_AT_ONCE))))
        dials = trial.dials - before
        if opened > 1 or dials > 1:
            return failed(f"of {MOST_AT_ONCE} connects at once {opened} were let in, with {dials} upstream connections")
        if opened:
            return passed(f"of {MOST_AT_ONCE} connects at once one was let in, with one upstream connection")
    return failed(f"of {MOST_AT_ONCE} connects at once none was let in, twice")


async def _after_failure(trial: Trial) -> Outcome:
    credential = await trial.credential()
    trial.simulator.faults.add(HttpStatus(status=503))
    await trial.begins_with(credential)
    trial.simulator.faults.clear()
    opened = 0
    for _ in range(_MOST_DIALS):
        opened += await trial.begins_with(credential)
    if opened > 1:
        return failed(f"after a session that the upstream refused, the credential opened {opened} more")
    return passed(f"after a session that the upstream refused, the credential opened {'one' if opened else 'none'}")


async def _no_endless_dials(trial: Trial) -> Outcome:
    credential = await trial.credential()
    trial.simulator.faults.add(HttpStatus(status=503), times=None)
    reached = 0
    for _ in range(_TRIES):
        before = trial.dials
        await trial.begins_with(credential)
        reached += trial.dials > before
    if reached > _MOST_DIALS:
        return failed(f"while the upstream refused, {reached} of {_TRIES} tries with one credential reached it")
    return passed(f"while the upstream refused, {reached} of {_TRIES} tries with one credential reached it")


def spellings(credential: str) -> Iterable[str]:
    """Other texts that a lenient decoder reads as the same credential."""
    yield from (f"{credential}=", f"{credential}==")
    if credential[-1] in _BASE64URL:
        last = _BASE64URL.index(credential[-1])
        yield from (credential[:-1] + _BASE64URL[last ^ bits] for bits in (1, 2, 3))


async def _other_spelling(trial: Trial) -> Outcome:
    credential = await _spent(trial)
    for number, spelling in enumerate(spellings(credential), 1):
        if wrong := await trial.why_not_refused(spelling, carriage="header"):
            return failed(f"spelling {number} of a used credential: {wrong}")
    return passed("every other spelling of a used credential was refused")


async def _other_carriage(trial: Trial) -> Outcome:
    credential = await _spent(trial)
    for carriage in CARRIAGES:
        if wrong := await trial.why_not_refused(credential, carriage=carriage):
            return failed(f"a used credential, shown as {carriage}: {wrong}")
    return passed(f"a used credential was refused as {', '.join(CARRIAGES)}")


async def _readable(trial: Trial) -> Outcome:
    credential = await _spent(trial)
    try:
        client = await trial.knock(credential, carriage="subprotocol")
    except NoAnswer as error:
        return failed(f"a browser with a used credential: {error}")
    try:
        if await trial.begins(client):
            return failed("the credential works more than once, so there is no refusal to read")
        if client.status == 101 and client.errors() and client.close is not None:
            return passed(f"a browser was told: {client.said()}")
        return failed(f"a browser cannot read {client.said()}")
    finally:
        await client.leave()


CHECKS = (
    Check(
        group=GROUP,
        name="A live session's credential opens no second",
        why="who copies a credential talks at its owner's cost",
        source=SOURCE,
        run=_while_live,
    ),
    Check(
        group=GROUP,
        name="A used credential opens no second session",
        why="a credential that leaked afterwards would still be worth something",
        source=SOURCE,
        run=_afterwards,
    ),
    Check(
        group=GROUP,
        name="Of connects at once with one credential, one gets in",
        why="a look and a mark that are two steps let a race through",
        source="OWASP ASVS 5.0 15.4.2",
        run=_race,
    ),
    Check(
        group=GROUP,
        name="A failed start does not make a credential good for two",
        why="what goes back after a failure must go back once",
        source=SOURCE,
        run=_of_many(_after_failure),
    ),
    Check(
        group=GROUP,
        name="One credential does not dial a failing upstream for ever",
        why="one credential could be made to knock at the upstream without end",
        source="OWASP API4:2023",
        run=_of_many(_no_endless_dials),
    ),
    Check(
        group=GROUP,
        name="Another spelling of a used credential is used too",
        why="a base64 text has several spellings; a list of used texts misses them",
        source="RFC 4648 §3.5",
        run=_of_many(_other_spelling),
    ),
    Check(
        group=GROUP,
        name="A used credential is used however it is shown",
        why="each way in must ask the same question",
        source=SOURCE,
        run=_of_many(_other_carriage),
    ),
    Check(
        group=GROUP,
        name="A browser can read why a used credential is refused",
        why="scripts see nothing of a failed upgrade, so a page could not ask for a new one",
        source="WHATWG WebSockets §3.1; docs/errors.md",
        run=_of_many(_readable),
    ),
)
