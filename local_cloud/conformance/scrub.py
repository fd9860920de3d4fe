"""The scrub: a client sees nothing of the configuration, and no word of the upstream's about errors."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from local_cloud.conformance.check import Check, Outcome, failed, not_applicable, passed
from local_cloud.conformance.client import Json
from local_cloud.conformance.target import value_at
from local_cloud.conformance.trial import FENCED, Talk, Trial
from local_cloud.realtime.events import new_id
from local_cloud.realtime.faults import FailResponse, Interject, SessionFault, binary_frame, garbage

GROUP = "scrub"
SOURCE = "OWASP LLM07:2025; docs/policy.md"
ERRORS = "OWASP ASVS 5.0 16.5.1"
HIDDEN = ("instructions", "tools", "tool_choice", "prompt", "tracing")
WORDS = "conformance-words-of-the-upstream org-3391"
"""What an upstream might say of itself: never for a client."""
_SHOWN: Json = {
    "type": "realtime",
    "instructions": WORDS,
    "tools": [{"type": "function", "name": WORDS}],
    "tool_choice": {"type": "function", "name": WORDS},
    "prompt": {"id": WORDS},
    "tracing": {"workflow_name": WORDS},
}
TEXT_RESPONSE: Json = {"type": "response.create", "response": {"output_modalities": ["text"]}}


def shown(node: Any) -> Iterator[str]:
    """Names of the hidden fields that have a value somewhere in what a client was told."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in HIDDEN and value not in (None, "", [], {}):
                yield key
            else:
                yield from shown(value)
    elif isinstance(node, list):
        for value in node:
            yield from shown(value)


def _judge(talk: Talk, what: str) -> Outcome:
    visible = sorted({name for event in talk.client.events for name in shown(event)})
    if visible:
        return failed(f"{what} shows {', '.join(visible)}")
    if any(WORDS.encode() in raw for raw in talk.client.raw):
        return failed(f"{what} shows the configuration")
    return passed(f"{what} shows none of {', '.join(HIDDEN)}")


async def _greeting(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        return _judge(talk, "session.created")


async def _answer(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.send({"type": "session.update", "session": {"type": "realtime"}})
        await talk.fenced(trial.target.patience)
        return _judge(talk, "the answer to a client's session.update")


async def _unasked(event_type: str, where: str, trial: Trial) -> Outcome:
    event = {"type": event_type, "event_id": new_id("event"), where: _SHOWN}
    trial.simulator.faults.add(Interject(after=FENCED, events=[event]))
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.fenced(trial.target.patience)  # once more, since the fence came before the event
        return _judge(talk, event_type)


async def _mint(trial: Trial) -> Outcome:
    if trial.target.mint is None:
        return not_applicable("there is no mint")
    visible = sorted(set(shown(value_at((await trial.mint()).body, "session"))))
    if visible:
        return failed(f"the mint's answer shows {', '.join(visible)}")
    return passed(f"the mint's answer shows none of {', '.join(HIDDEN)}")


async def _words(fault: SessionFault, trial: Trial) -> Outcome:
    """Whether words of the upstream in the midst of a session reach the client."""
    trial.simulator.faults.add(fault)
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.client.send(TEXT_RESPONSE)
        await talk.client.until_event("response.done", trial.target.patience)
        if any(WORDS.encode() in raw for raw in talk.client.raw):
            return failed("the upstream's words reached the client")
        if talk.client.over:
            return failed(f"the upstream's words stayed out, and the session ended over them ({talk.client.said()})")
        return passed("the upstream's words did not reach the client, and the session went on")


def _error(**event: object) -> SessionFault:
    return Interject(after=FENCED, events=[{"event_id": new_id("event"), **event}])


async def _rubbish(trial: Trial) -> Outcome:
    trial.simulator.faults.add(garbage(after=FENCED, text=f'{{"type": "{WORDS}", '))
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.fenced(trial.target.patience)
        if any(WORDS.encode() in raw for raw in talk.client.raw):
            return failed("a text of the upstream that is no JSON was passed on")
        return passed("a text of the upstream that is no JSON was not passed on")


async def _binary(trial: Trial) -> Outcome:
    trial.simulator.faults.add(binary_frame(after=FENCED, data=WORDS.encode()))
    async with trial.session() as talk:
        await talk.fenced(trial.target.patience)
        await talk.fenced(trial.target.patience)
        if any(WORDS.encode() in raw for raw in talk.client.raw):
            return failed("a binary frame of the upstream was passed on")
        return passed("a binary frame of the upstream was not passed on")


async def _rate_limits(trial: Trial) -> Outcome:
    async with trial.session() as talk:
        await talk.client.send(TEXT_RESPONSE)
        await talk.client.until_event("response.done", trial.target.patience)
        await talk.fenced(trial.target.patience)
        if talk.client.count("rate_limits.updated"):
            return failed("rate_limits.updated was passed on")
        return passed("rate_limits.updated was not passed on")


_PROBLEM: Json = {"type": "server_error", "code": None, "message": WORDS, "param": None}
_READS_ERRORS = "free text of the upstream can hold parts of keys and ids of the account"

CHECKS = (
    Check(
        group=GROUP,
        name="session.created shows no configuration",
        why="instructions and tools are what the operator wrote, and show where to attack",
        source=SOURCE,
        run=_greeting,
    ),
    Check(
        group=GROUP,
        name="The answer to a session.update shows no configuration",
        why="the service answers with the whole session",
        source=SOURCE,
        run=_answer,
    ),
    *(
        Check(
            group=GROUP,
            name=f"A {event_type} out of the blue shows no configuration",
            why="the service may tell the session whenever it likes",
            source=SOURCE,
            run=partial(_unasked, event_type, where),
        )
        for event_type, where in (
            ("session.updated", "session"),
            ("response.created", "response"),
            ("session.novelty", "news"),
        )
    ),
    Check(
        group=GROUP,
        name="The mint's answer shows no configuration",
        why="a page that may not read it in the session must not read it before",
        source=SOURCE,
        run=_mint,
    ),
    Check(
        group=GROUP,
        name="An error event of the upstream comes in the relay's words",
        why=_READS_ERRORS,
        source=ERRORS,
        run=partial(_words, _error(type="error", error=_PROBLEM)),
    ),
    Check(
        group=GROUP,
        name="A failed transcription is told in the relay's words",
        why=_READS_ERRORS,
        source=ERRORS,
        run=partial(
            _words,
            _error(
                type="conversation.item.input_audio_transcription.failed",
                item_id="item_1",
                content_index=0,
                error=_PROBLEM,
            ),
        ),
    ),
    Check(
        group=GROUP,
        name="A failed response is told in the relay's words",
        why=_READS_ERRORS,
        source=ERRORS,
        run=partial(_words, FailResponse(message=WORDS)),
    ),
    Check(
        group=GROUP,
        name="What the upstream sends that is no JSON stops at the relay",
        why="what the relay cannot read it cannot scrub",
        source="OWASP API10:2023",
        run=_rubbish,
    ),
    Check(
        group=GROUP,
        name="A binary frame of the upstream stops at the relay",
        why="the protocol has none, and what the relay cannot read it cannot scrub",
        source="OpenAI Realtime GA protocol, 2026-11",
        run=_binary,
    ),
    Check(
        group=GROUP,
        name="The account's rate limits are not shown",
        why="they tell strangers how much of the account is in use",
        source="docs/policy.md",
        run=_rate_limits,
    ),
)
