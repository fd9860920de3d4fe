"""The lock: a client changes no configuration, in whatever spelling; judged by what reached the upstream."""

from __future__ import annotations

import json
from functools import partial

from local_cloud.conformance.attacks import ATTACKS, CANARY, GA, Attack
from local_cloud.conformance.check import Check, Outcome, failed, not_applicable, passed
from local_cloud.conformance.client import Client, NoAnswer
from local_cloud.conformance.frames import TEXT, client_frame
from local_cloud.conformance.trial import FENCE, FENCED, NoSession, Trial
from local_cloud.realtime.faults import AlterSessionUpdated, Interject, RefuseSessionUpdate, SessionFault

GROUP = "lock"
_OTHER_MODELS = ("gpt-realtime-mini", "gpt-realtime-1.5")


async def _attack(attack: Attack, trial: Trial) -> Outcome:
    if attack.field in trial.target.open_fields:
        return not_applicable(f"the relay leaves {attack.field} to clients")
    if attack.is_early:
        return await _early_attack(attack, trial)
    async with trial.session() as talk:
        for text in attack.texts:
            await talk.client.send_text(text)
        answered = await talk.fenced(trial.target.patience)
        if talk.upstream_heard(CANARY):
            return failed("it reached the upstream")
        if not answered:
            return failed("nothing of it reached the upstream, but the session carries no events any more")
        return passed(f"nothing of it reached the upstream; {_how_it_went(talk.client)}")


async def _early_attack(attack: Attack, trial: Trial) -> Outcome:
    before = trial.dials
    frames = b"".join(client_frame(TEXT, text.encode()) for text in attack.texts)
    client = await trial.knock(await trial.credential(), after=frames)
    try:
        if await trial.begins(client):
            await client.send(FENCE)
            await client.until_event(FENCED, trial.target.patience)
        for upstream in trial.dialled_since(before):
            if any(CANARY in text for text in upstream.received_raw):
                return failed("it reached the upstream")
        return passed(f"nothing of it reached the upstream; {_how_it_went(client)}")
    finally:
        await client.leave()


def _how_it_went(client: Client) -> str:
    return f"the session was ended ({client.said()})" if client.over else "the session went on"


async def _other_model(trial: Trial) -> Outcome:
    other = next(model for model in _OTHER_MODELS if model != trial.target.model)
    ours = trial.target.model
    for query in (
        f"model={other}",
        f"deployment={other}",
        f"model={ours}&model={other}",
        f"model={other}&model={ours}",
    ):
        before = trial.dials
        await trial.begins_with(await trial.credential(), query=query)
        for upstream in trial.dialled_since(before):
            if other in upstream.query.values():
                return failed(f"?{query} opened a session with {other}")
    return passed("another model in the address reached no upstream")


async def _foreign_call(trial: Trial) -> Outcome:
    for query in (f"call_id={CANARY}", f"model={trial.target.model}&call_id={CANARY}"):
        before = trial.dials
        await trial.begins_with(await trial.credential(), query=query)
        if any("call_id" in upstream.query for upstream in trial.dialled_since(before)):
            return failed("a client can join another call of the account by its id")
    return passed("call_id in the address reached no upstream")


async def _other_kind(trial: Trial) -> Outcome:
    before = trial.dials
    for query in ("intent=transcription", f"model={trial.target.model}&intent=transcription"):
        await trial.begins_with(await trial.credential(), query=query)
    if any(upstream.query.get("intent") for upstream in trial.dialled_since(before)):
        return failed("a client turned a conversation into a transcription session")
    return passed("intent in the address changed nothing at the upstream")


async def _unconfirmed(fault: SessionFault, trial: Trial) -> Outcome:
    """Whether a client is let in although the upstream does not confirm what the relay configured."""
    async with trial.session() as talk:
        own = talk.upstream.received.of_type("session.update")
        if not own:
            return not_applicable("the relay configures nothing of its own at the upstream")
        if isinstance(fault, AlterSessionUpdated) and "instructions" not in own[0]["session"]:
            return not_applicable("the relay configures no instructions at the upstream")
    await trial.settle()
    trial.simulator.faults.add(fault)
    before, credential = trial.dials, await trial.credential()
    try:
        client = await trial.knock(credential, after=client_frame(TEXT, json.dumps(FENCE).encode()))
    except NoAnswer as error:
        return passed(f"no session began: {error}")
    try:
        await client.until_event(FENCED, 2 * trial.target.patience)
        upstreams = trial.dialled_since(before)
        if not upstreams:
            raise NoSession("the relay did not dial")
        if any(upstream.received.counts[FENCE["type"]] for upstream in upstreams):
            return failed("the client's events reached a model that had not confirmed the lock")
        if not client.over:
            return failed("the client was left waiting for a session that cannot begin")
        return passed(f"nothing of the client reached the model: {client.said()}")
    finally:
        await client.leave()


async def _second_greeting(trial: Trial) -> Outcome:
    greeting = {"type": "session.created", "event_id": "event_1", "session": {"type": "realtime"}}
    trial.simulator.faults.add(Interject(after=FENCED, events=[greeting]))
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.client.send_text(ATTACKS[0].texts[0])
        await talk.fenced(trial.target.patience)
        if talk.upstream_heard(CANARY):
            return failed("after a second session.created the instructions can be set")
        return passed("a second session.created of the upstream unlocked nothing")


CHECKS = (
    *(
        Check(group=GROUP, name=attack.name, why=attack.why, source=attack.source, run=partial(_attack, attack))
        for attack in ATTACKS
    ),
    Check(
        group=GROUP,
        name="Another model in the address is not dialled",
        why="another model has another price",
        source=GA,
        run=_other_model,
    ),
    Check(
        group=GROUP,
        name="A call_id in the address is not dialled",
        why="it would attach a stranger to another live call of the account",
        source=GA,
        run=_foreign_call,
    ),
    Check(
        group=GROUP,
        name="An intent in the address is not dialled",
        why="another kind of session has other rules and prices",
        source=GA,
        run=_other_kind,
    ),
    Check(
        group=GROUP,
        name="Nobody is let in while the upstream refuses the lock",
        why="a lock that is sent and not confirmed is a hope",
        source="docs/policy.md",
        run=partial(_unconfirmed, RefuseSessionUpdate()),
    ),
    Check(
        group=GROUP,
        name="Nobody is let in when the upstream confirms something else",
        why="a lock that is sent and not confirmed is a hope",
        source="docs/policy.md",
        run=partial(_unconfirmed, AlterSessionUpdated(changes={"instructions": "Something else."})),
    ),
    Check(
        group=GROUP,
        name="A second session.created of the upstream unlocks nothing",
        why="whose state follows the upstream's events can be set back by one",
        source="docs/policy.md",
        run=_second_greeting,
    ),
)
