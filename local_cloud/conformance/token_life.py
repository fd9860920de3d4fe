"""Token life: a credential is short-lived, cannot be made up, and stands for nothing else."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import string
import time
from collections.abc import Iterable

from local_cloud.conformance.check import Check, Outcome, failed, not_applicable, passed
from local_cloud.conformance.client import Client, NoAnswer
from local_cloud.conformance.target import CARRIAGES, credential_line, value_at
from local_cloud.conformance.trial import NoSession, Trial

GROUP = "token-life"
_MOST_SECONDS = 300
_LEEWAY_SECONDS = 6.0
"""Services whose clocks differ a little may accept a token so much longer."""
_MOST_WAIT_SECONDS = 60.0
_FIXED = "there is no mint; the one credential has no end that could be awaited"
_FIXED_MINT = "there is no mint"


async def _bounded(trial: Trial) -> Outcome:
    if trial.target.mint is None:
        return not_applicable(_FIXED)
    told = value_at((await trial.mint()).body, "expires_at")
    if not isinstance(told, int | float):
        return failed("the mint does not tell expires_at")
    seconds = round(told - time.time())
    if seconds > _MOST_SECONDS:
        return failed(f"a credential that nobody used yet is good for {seconds} s")
    return passed(f"a credential that nobody used is good for {seconds} s")


async def _expired(trial: Trial) -> Outcome:
    mint = trial.target.mint
    if mint is None:
        return not_applicable(_FIXED)
    minted = await trial.mint(expires_after={"anchor": "created_at", "seconds": mint.short_seconds})
    told = value_at(minted.body, "expires_at")
    wait = (told if isinstance(told, int | float) else time.time() + mint.short_seconds) - time.time()
    if wait > _MOST_WAIT_SECONDS:
        return failed(f"a credential for {mint.short_seconds} s was asked for, and one for {wait:.0f} s came")
    await asyncio.sleep(wait + _LEEWAY_SECONDS)
    if wrong := await trial.why_not_refused(minted.credential):
        return failed(f"{_LEEWAY_SECONDS:.0f} s after its end: {wrong}")
    return passed(f"{_LEEWAY_SECONDS:.0f} s after its end it was refused")


def tampered(credential: str) -> Iterable[str]:
    """The credential with one character changed, here and there."""
    letters = string.ascii_letters + string.digits
    places = [at for at, char in enumerate(credential) if char in letters and at >= len(credential) // 4]
    for at in places[:: max(1, len(places) // 6)]:
        # Half-way round the alphabet, so that it is no other spelling of the same bits.
        other = letters[(letters.index(credential[at]) + len(letters) // 2) % len(letters)]
        yield credential[:at] + other + credential[at + 1 :]


def made_up(credential: str, seed: int = 1) -> str:
    """A credential of the same shape that nobody signed: its prefix stays, every other letter and digit is drawn."""
    chance, prefix = random.Random(seed), re.match(r"[A-Za-z]+[_-]", credential)
    kept = prefix.end() if prefix else 0
    drawn = (chance.choice(string.ascii_letters + string.digits) if char.isalnum() else char for char in credential)
    return credential[:kept] + "".join(drawn)[kept:]


async def _tampered(trial: Trial) -> Outcome:
    credential = await trial.credential()
    changed = list(tampered(credential))
    for other in changed:
        if wrong := await trial.why_not_refused(other):
            return failed(f"with one character changed: {wrong}")
    return passed(f"{len(changed)} texts with one character changed were refused")


async def _made_up(trial: Trial) -> Outcome:
    if wrong := await trial.why_not_refused(made_up(await trial.credential())):
        return failed(f"a credential that nobody signed: {wrong}")
    return passed("a credential that nobody signed was refused")


async def _none(trial: Trial) -> Outcome:
    empty = (None, "", "x")
    for credential in empty:
        if wrong := await trial.why_not_refused(credential, carriage="header"):
            return failed(f"with {'no credential' if not credential else 'a credential of one letter'}: {wrong}")
    return passed("no credential, an empty one and one of one letter were refused")


async def _alike(trial: Trial) -> Outcome:
    credential = await trial.credential()
    answers = set()
    for forged in (made_up(credential, 1), made_up(credential, 2), next(iter(tampered(credential))), "x"):
        try:
            client = await trial.knock(forged, carriage="header")
        except NoAnswer:
            answers.add("cut")
            continue
        if client.status == 101 and await trial.begins(client):
            await client.leave()
            return failed("a session was opened")
        await client.leave()
        answers.add(_without_ids(client))
    if len(answers) > 1:
        return failed(f"forged credentials get {len(answers)} different answers")
    return passed("every forged credential gets the same answer")


def _without_ids(client: Client) -> str:
    """The answer without what is new in each: hexadecimal ids, and what quotes the credential by its ends."""
    said = client.body.decode(errors="replace") + json.dumps([event.get("error") for event in client.events])
    return f"{client.said()} {re.sub(r'[0-9a-f-]{12,}', '', said)}"


async def _in_query(trial: Trial) -> Outcome:
    credential = await trial.credential()
    for name in ("token", "api-key", "api_key", "access_token", "authorization"):
        query = {"model": trial.target.model, name: credential}
        if wrong := await trial.why_not_refused(None, query=query):
            return failed(f"a credential in the URL, as {name}: {wrong}")
    return passed("a credential in the URL opens nothing under any of five names")


async def _two(trial: Trial) -> Outcome:
    """In either order, since a reader may take the first or the last."""
    good = await trial.credential()
    forged = made_up(good)
    for first, second in itertools.permutations((good, forged)):
        for one, other in itertools.product(CARRIAGES, repeat=2):
            extra = [credential_line(first, one)]
            if wrong := await trial.why_not_refused(second, carriage=other, extra=extra):
                return failed(f"a good and a forged credential together, as {one} and {other}: {wrong}")
    return passed("a good and a forged credential together were refused, in any order and place")


async def _mints_nothing(trial: Trial) -> Outcome:
    mint = trial.target.mint
    if mint is None:
        return not_applicable(_FIXED_MINT)
    status, _, body = await trial.ask_mint(
        mint, {"Authorization": f"Bearer {await trial.credential()}"}, mint.body
    )  # fmt: skip
    if status < 300 and value_at(body, mint.value):
        return failed("who has a credential can mint more of them")
    return passed(f"a credential shown to the mint gets HTTP {status}")


async def _mint_needs_leave(trial: Trial) -> Outcome:
    mint = trial.target.mint
    if mint is None:
        return not_applicable(_FIXED_MINT)
    headers = {"Origin": "https://elsewhere.example", "Authorization": f"Bearer {made_up('sk-0123456789abcdef')}"}
    for shown in ({}, headers, {"Origin": headers["Origin"]}):
        try:
            status, _, body = await trial.ask_mint(mint, shown, mint.body)
        except NoSession:
            continue
        if status < 300 and value_at(body, mint.value):
            return failed(f"the mint gives a credential to who shows {', '.join(shown) or 'nothing'}")
    return passed("the mint gives nothing to who shows nothing, a wrong key or another site's Origin")


CHECKS = (
    Check(
        group=GROUP,
        name="An unused credential lives five minutes at most",
        why="the shorter it lives, the less a leaked one is worth",
        source="RFC 9700 §2.2; SECURITY.md",
        run=_bounded,
    ),
    Check(
        group=GROUP,
        name="An expired credential is refused",
        why="an end that nobody checks is none",
        source="OWASP ASVS 5.0 9.2.1",
        run=_expired,
    ),
    Check(
        group=GROUP,
        name="A credential with one character changed is refused",
        why="a text that is not checked whole can be edited",
        source="OWASP ASVS 5.0 9.1.1",
        run=_tampered,
    ),
    Check(
        group=GROUP,
        name="A made-up credential is refused",
        why="only who mints may let people in",
        source="OWASP ASVS 5.0 9.1.1",
        run=_made_up,
    ),
    Check(
        group=GROUP,
        name="No credential, no session",
        why="whoever finds the address could talk",
        source="OWASP ASVS 5.0 4.4.3",
        run=_none,
    ),
    Check(
        group=GROUP,
        name="All forged credentials get the same answer",
        why="differences tell a guesser how close he is",
        source="OWASP ASVS 5.0 16.5.1",
        run=_alike,
    ),
    Check(
        group=GROUP,
        name="A credential in the URL opens nothing",
        why="URLs are written into logs and histories",
        source="OWASP ASVS 5.0 14.2.1, RFC 9700 §4.3.2",
        run=_in_query,
    ),
    Check(
        group=GROUP,
        name="Two credentials at once are refused",
        why="two readers on the way may each believe another one",
        source="RFC 6750 §2",
        run=_two,
    ),
    Check(
        group=GROUP,
        name="A credential cannot mint",
        why="one use would be as many as anybody likes",
        source="OWASP ASVS 5.0 8.2.1",
        run=_mints_nothing,
    ),
    Check(
        group=GROUP,
        name="The mint gives nothing to strangers",
        why="another site could have credentials minted at its owner's cost",
        source="OWASP ASVS 5.0 3.5.1, 4.4.2",
        run=_mint_needs_leave,
    ),
)
