"""Leaks: keys, tokens and headers stay on the side where they belong."""

from __future__ import annotations

import json
import re

from local_cloud.conformance.attacks import CANARY
from local_cloud.conformance.check import Check, Outcome, failed, not_applicable, passed
from local_cloud.conformance.client import Client, Json, NoAnswer
from local_cloud.conformance.scrub import TEXT_RESPONSE
from local_cloud.conformance.target import KEY_SUBPROTOCOL
from local_cloud.conformance.token_life import made_up
from local_cloud.conformance.trial import FENCED, Trial
from local_cloud.realtime.faults import HttpStatus, Interject, RejectAfterUpgrade

GROUP = "leaks"
_TYPED = "conformance-typed-9c41"
_VERSION = re.compile(r"/\s*\d|\d+\.\d+")
_BANNERS = ("server", "x-powered-by", "via", "x-aspnet-version")
_TELLING_BYTES = 32


async def _key(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
    if trial.upstream_key.encode() in trial.heard:
        return failed("the relay or the mint told the upstream's key")
    quoting = f"Incorrect API key provided: {trial.upstream_key}."
    trial.simulator.faults.add(HttpStatus(status=401, message=quoting), times=None)
    await trial.begins_with(await trial.credential())
    trial.simulator.faults.clear()
    trial.simulator.faults.add(RejectAfterUpgrade(message=quoting), times=None)
    await trial.begins_with(await trial.credential())
    trial.simulator.faults.clear()
    trial.simulator.faults.add(
        Interject(
            after=FENCED,
            events=[{"type": "error", "event_id": "event_1", "error": {"type": "server_error", "message": quoting}}],
        )
    )
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.fenced(trial.target.patience)
    if trial.upstream_key.encode() in trial.heard:
        return failed("a client saw the upstream's key when the upstream quoted it")
    return passed(
        f"it is not among the {len(trial.heard)} bytes that relay and mint sent, though the upstream quoted it"
    )


async def _own_key(trial: Trial) -> Outcome:
    """Whether the relay dials with the key it was given, and never with what a client shows."""
    credential = await trial.credential()
    before = trial.dials
    await trial.begins_with(credential)
    forged = made_up(credential)
    await trial.begins_with(forged)
    for upstream in trial.dialled_since(before):
        sent = json.dumps(dict(upstream.headers)) + json.dumps(upstream.query) + upstream.path
        if credential in sent or forged in sent:
            return failed("a client's credential reached the upstream")
        if trial.upstream_key not in sent:
            return failed("the upstream was dialled without the relay's key")
    return passed("the upstream saw the relay's key, and no client's credential")


async def _upstream_headers(trial: Trial) -> Outcome:
    client = await trial.knock(await trial.credential())
    await client.leave()
    shown = sorted(name for name, _ in client.headers if name.lower().startswith("openai-"))
    if shown:
        return failed(f"headers of the upstream's answer reached the client: {', '.join(shown)}")
    return passed("no header of the upstream's answer reached the client")


async def _banner(trial: Trial) -> Outcome:
    told = []
    for credential, how in (
        (await trial.credential(), {}),
        (made_up(await trial.credential()), {"carriage": "header"}),
        (None, {"upgrade": ("Connection: close",)}),
        (None, {"method": "DELETE"}),
    ):
        try:
            client = await trial.knock(credential, **how)
        except NoAnswer:
            continue
        await client.leave()
        told += [f"{name}: {value}" for name, value in client.headers if _is_banner(name, value)]
    if told:
        return failed(f"answers tell {', '.join(sorted(set(told)))}")
    return passed("no answer tells a product's version")


def _is_banner(name: str, value: str) -> bool:
    return name.lower() in _BANNERS and bool(_VERSION.search(value))


async def _client_headers(trial: Trial) -> Outcome:
    extra = (
        f"X-Conformance: {CANARY}",
        f"Cookie: session={CANARY}",
        f"User-Agent: {CANARY}",
        f"OpenAI-Organization: {CANARY}",
        f"OpenAI-Project: {CANARY}",
        f"X-Forwarded-For: {CANARY}",
    )
    before = trial.dials
    await trial.begins_with(await trial.credential(), extra=extra)
    upstreams = trial.dialled_since(before)
    if not upstreams:
        return passed("such headers open nothing")
    reached = sorted(name for each in upstreams for name, value in each.headers.items() if CANARY in value)
    if reached:
        return failed(f"headers of the client reached the upstream: {', '.join(reached)}")
    return passed("no header of the client reached the upstream")


async def _client_query(trial: Trial) -> Outcome:
    before = trial.dials
    await trial.begins_with(await trial.credential(), query={"model": trial.target.model, "x": CANARY})
    upstreams = trial.dialled_since(before)
    if any(CANARY in value for each in upstreams for value in each.query.values()):
        return failed("a parameter that nobody knows reached the upstream")
    if not upstreams:
        return passed("an address with a parameter that nobody knows opens nothing")
    return passed("a parameter that nobody knows did not reach the upstream")


async def _beta(trial: Trial) -> Outcome:
    before = trial.dials
    await trial.begins_with(await trial.credential(), extra=["OpenAI-Beta: realtime=v1"])
    if any("OpenAI-Beta" in each.headers for each in trial.dialled_since(before)):
        return failed("OpenAI-Beta reached the upstream")
    return passed("OpenAI-Beta did not reach the upstream")


async def _echo(trial: Trial) -> Outcome:
    before = len(trial.heard)
    credential = await trial.credential()
    minted_until = len(trial.heard)
    for carriage in ("subprotocol", "header"):
        try:
            client = await trial.knock(credential, carriage=carriage)
        except NoAnswer:
            continue
        await trial.begins(client)
        await client.leave()
    if credential.encode() in trial.heard[max(before, minted_until) :]:
        return failed("the relay's answer repeats the credential")
    return passed("the relay's answers do not repeat the credential")


async def _no_store(trial: Trial) -> Outcome:
    if trial.target.mint is None:
        return not_applicable("there is no mint")
    cached = (await trial.mint()).headers.get("Cache-Control", "")
    if "no-store" not in cached:
        return failed(f"the mint's answer may be kept: Cache-Control {cached or 'is absent'}")
    return passed("the mint's answer may not be kept")


async def _logged_tokens(trial: Trial) -> Outcome:
    if not trial.target.logs:
        return not_applicable("no log file was named")
    trial.credentials.append(made_up(await trial.credential()))
    await trial.begins_with(trial.credentials[-1])
    await trial.begins_with(await trial.credential())
    for number, credential in enumerate(trial.credentials):
        if _telling(credential) in _logs(trial):
            return failed(f"credential {number + 1} of {len(trial.credentials)} stands in the log")
    return passed(f"none of {len(trial.credentials)} credentials stands in the log")


async def _logged_content(trial: Trial) -> Outcome:
    if not trial.target.logs:
        return not_applicable("no log file was named")
    async with trial.session() as talk:
        await talk.client.send(message(_TYPED), TEXT_RESPONSE)
        await talk.client.until_event("response.done", trial.target.patience)
        await talk.client.send({"type": f"no.such.event.{_TYPED}", "event_id": _TYPED})
        await talk.fenced(trial.target.patience)
    for words, what in ((trial.upstream_key, "the upstream's key"), (_TYPED, "what a client typed")):
        if words in _logs(trial):
            return failed(f"{what} stands in the log")
    return passed("neither the upstream's key nor what a client typed stands in the log")


def _logs(trial: Trial) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in trial.target.logs)


def _telling(credential: str) -> str:
    """Enough of a credential to be worth something."""
    return credential[-_TELLING_BYTES:]


def message(text: str) -> Json:
    """A typed message of the user."""
    content = [{"type": "input_text", "text": text}]
    return {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}


async def _subprotocols(trial: Trial) -> Outcome:
    credential = await trial.credential()
    before = trial.dials
    client: Client = await trial.knock(credential, carriage="subprotocol")
    await trial.begins(client)
    await client.leave()
    if any(KEY_SUBPROTOCOL in name for each in trial.dialled_since(before) for name in each.protocols):
        return failed("the client's subprotocols reached the upstream")
    return passed("the client's subprotocols did not reach the upstream")


CHECKS = (
    Check(
        group=GROUP,
        name="No client ever sees the upstream's key",
        why="who has it needs no relay any more, and a service may quote it when it refuses it",
        source="OWASP ASVS 5.0 13.3.1",
        run=_key,
    ),
    Check(
        group=GROUP,
        name="The upstream sees the relay's key and no client's credential",
        why="a credential belongs to who issued it",
        source="RFC 9700 §4.9",
        run=_own_key,
    ),
    Check(
        group=GROUP,
        name="The client's subprotocols do not reach the upstream",
        why="a browser's credential is among them",
        source="RFC 9700 §4.9",
        run=_subprotocols,
    ),
    Check(
        group=GROUP,
        name="Headers of the upstream's answer do not reach the client",
        why="they name the account and the organisation",
        source="OWASP ASVS 5.0 14.2.3",
        run=_upstream_headers,
    ),
    Check(
        group=GROUP,
        name="No answer tells a product's version",
        why="it tells which known hole to try",
        source="OWASP ASVS 5.0 13.4.6",
        run=_banner,
    ),
    Check(
        group=GROUP,
        name="Headers of the client do not reach the upstream",
        why="some of them choose who pays, and cookies are nobody else's business",
        source="OWASP ASVS 5.0 1.3.6",
        run=_client_headers,
    ),
    Check(
        group=GROUP,
        name="Parameters that nobody knows do not reach the upstream",
        why="tomorrow the service may know them",
        source="OWASP ASVS 5.0 1.3.6",
        run=_client_query,
    ),
    Check(
        group=GROUP,
        name="A client's OpenAI-Beta does not reach the upstream",
        why="the service ends every session that comes with it",
        source="OpenAI Realtime GA protocol, 2026-11",
        run=_beta,
    ),
    Check(
        group=GROUP,
        name="No answer of the relay repeats the credential",
        why="answers are logged by whoever stands between",
        source="OWASP ASVS 5.0 14.2.1",
        run=_echo,
    ),
    Check(
        group=GROUP,
        name="The mint's answer may not be kept by caches",
        why="a cache would hand the credential to the next one",
        source="OWASP ASVS 5.0 14.3.2",
        run=_no_store,
    ),
    Check(
        group=GROUP,
        name="No credential stands in the log",
        why="logs are read by more people than use the service",
        source="OWASP ASVS 5.0 16.2.5",
        run=_logged_tokens,
    ),
    Check(
        group=GROUP,
        name="Neither the upstream's key nor what was typed stands in the log",
        why="logs are kept for longer than anybody consented to",
        source="OWASP ASVS 5.0 16.2.5",
        run=_logged_content,
    ),
)
