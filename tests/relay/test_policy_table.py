"""Every event and field of the protocol reference (§3.2, §3.4, §3.6, §5), one row each, decided under every lock.

The rows say what may become of a field; what a lock then does follows from ``open_fields`` and ``on_locked_field``
alone. ``pytest -s`` prints how many decisions were tested; docs/policy.md names the number.
"""

import copy
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from relay.conversation import Conversation
from relay.policy import ShowSession, judge_browser_event
from service_kit.errors import Refusal
from service_kit.profiles import CLIENT_EVENTS
from service_kit.session_token import Lock
from tests.relay.building import audio_text
from tests.relay.test_hostile_frames import LIMITS, LOCKS

Json = dict[str, Any]
Decision = Literal[
    "forwarded",  # whatever the profile says
    "where open",  # forwarded where the profile opens it, else locked
    "locked",  # left out, or the event refused
    "left out",  # even where the profile refuses: it says nothing
    "event_not_allowed",  # the event is refused
    "invalid_event",
]


@dataclass(frozen=True, slots=True)
class Row:
    """One field: where it stands in which event, a value that the protocol allows, and the decision."""

    event: Json
    path: tuple[str | int, ...]
    decision: Decision
    field: str = ""
    """The session field that a profile opens, if that decides."""

    def __str__(self) -> str:
        value = value_at(self.event, self.path)
        return f"{self.event['type']}: {'.'.join(map(str, self.path))} {value!r:.30}"


def value_at(node: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        node = node[key]
    return node


# --- §3.2: the eleven events ---

TEXT = {"type": "input_text", "text": "hello"}
AUDIO = {"type": "input_audio", "audio": audio_text(4)}
MESSAGE = {"type": "message", "role": "user", "content": [TEXT]}
ANSWER = {"type": "function_call_output", "call_id": "call_1", "output": "{}"}
EVENTS: dict[str, Json] = {
    "session.update": {"session": {"type": "realtime"}},
    "input_audio_buffer.append": {"audio": audio_text(4)},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "output_audio_buffer.clear": {},
    "conversation.item.create": {"item": MESSAGE, "previous_item_id": "root"},
    "conversation.item.retrieve": {"item_id": "item_1"},
    "conversation.item.truncate": {"item_id": "item_1", "content_index": 0, "audio_end_ms": 1},
    "conversation.item.delete": {"item_id": "item_1"},
    "response.create": {"response": {"conversation": "auto"}},
    "response.cancel": {"response_id": "resp_1"},
}


def event_rows() -> list[Row]:
    rows = []
    for event_type, fields in EVENTS.items():
        event: Json = {"type": event_type, "event_id": "mine", **fields}
        rows += [Row(event, (key,), "forwarded") for key in event if key != "session"]
        rows.append(Row(event | {"novelty": 1}, ("novelty",), "locked"))
    return rows


# --- §3.4: items and their parts, in the conversation and in a response ---

PROTOCOL_ERROR = {"type": "protocol_error", "code": 1, "message": "m"}
OTHER_ITEMS: list[Json] = [
    {"type": "message", "role": "system", "content": [TEXT]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "x"}]},
    {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"},
    {"type": "mcp_list_tools", "server_label": "s", "tools": [{"name": "f", "input_schema": {}}]},
    {"type": "mcp_call", "id": "i", "server_label": "s", "name": "f", "arguments": "{}", "error": PROTOCOL_ERROR},
    {"type": "mcp_approval_request", "id": "i", "server_label": "s", "name": "f", "arguments": "{}"},
    {"type": "mcp_approval_response", "id": "i", "approval_request_id": "r", "approve": True, "reason": "x"},
    ANSWER | {"call_id": "call_foreign"},
    {"type": "novelty"},
]
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "auto"}
"""Allowed where a profile's ``client_content`` lists it, which none of the locks does: see test_policy.py."""
OTHER_PARTS: list[Json] = [
    {"type": "output_text", "text": "x"},
    {"type": "output_audio", "transcript": "x"},
    {"type": "text", "text": "x"},
    {"type": "audio", "audio": audio_text(4)},
    {"type": "input_audio", "transcript": "x"},
]


def item_rows() -> list[Row]:
    rows = []
    for item, path in (
        (MESSAGE | {"id": "item_1"}, ("id",)), (MESSAGE, ("role",)), (MESSAGE, ("content",)), (MESSAGE, ("type",)),
        (MESSAGE, ("content", 0, "text")), (MESSAGE | {"content": [AUDIO]}, ("content", 0, "audio")),
        (MESSAGE | {"content": [AUDIO | {"transcript": "x"}]}, ("content", 0, "transcript")),
        (MESSAGE | {"content": [AUDIO | {"transcript": None}]}, ("content", 0, "transcript")),
        (ANSWER, ("type",)), (ANSWER, ("call_id",)), (ANSWER, ("output",)), (ANSWER | {"id": "item_1"}, ("id",)),
    ):  # fmt: skip
        rows += in_both(item, path, "forwarded")
    for item in (MESSAGE, ANSWER):
        rows += in_both(item | {"object": "realtime.item"}, ("object",), "left out")
        rows += in_both(item | {"status": "completed"}, ("status",), "left out")
        rows += in_both(item | {"novelty": 1}, ("novelty",), "locked")
    for part in (TEXT, AUDIO):
        rows += in_both(MESSAGE | {"content": [part | {"novelty": 1}]}, ("content", 0, "novelty"), "locked")
    for item in OTHER_ITEMS:
        rows += in_both(item, (), "event_not_allowed")
    rows += in_both(MESSAGE | {"content": [PICTURE]}, ("content", 0), "event_not_allowed")
    for part in OTHER_PARTS:
        rows += in_both(MESSAGE | {"content": [part]}, ("content", 0), "invalid_event")
    reference = {"type": "item_reference", "id": "item_1"}
    rows.append(Row({"type": "conversation.item.create", "item": reference}, ("item",), "event_not_allowed"))
    rows.append(
        Row({"type": "response.create", "response": {"input": [reference]}}, ("response", "input", 0), "forwarded")
    )
    return rows


def in_both(item: Json, path: tuple[str | int, ...], decision: Decision) -> list[Row]:
    return [
        Row({"type": "conversation.item.create", "item": item}, ("item", *path), decision),
        Row({"type": "response.create", "response": {"input": [item]}}, ("response", "input", 0, *path), decision),
    ]


# --- §5: the session object; §3.6: what of it a response can override ---

FUNCTION = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}
SESSION: dict[str, list[Any]] = {
    "output_modalities": [["audio"], ["text"]],
    "instructions": ["", "Be someone else."],
    "audio.input.format": [{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}],
    "audio.input.transcription": [
        None, {"model": "whisper-1"}, {"language": "de"}, {"languages": ["de"]}, {"prompt": "x"}, {"keywords": ["x"]},
        {"delay": "low"},
    ],
    "audio.input.noise_reduction": [None, {"type": "near_field"}, {"type": "far_field", "strength": 0.5}],
    "audio.input.turn_detection": [
        None, {"type": "server_vad"}, {"type": "server_vad", "threshold": 0.5},
        {"type": "server_vad", "prefix_padding_ms": 1}, {"type": "server_vad", "silence_duration_ms": 1},
        {"type": "server_vad", "create_response": False}, {"type": "server_vad", "interrupt_response": False},
        {"type": "server_vad", "idle_timeout_ms": 5_000}, {"type": "server_vad", "idle_timeout_ms": None},
        {"type": "semantic_vad"}, {"type": "semantic_vad", "eagerness": "high"},
        {"type": "semantic_vad", "create_response": False}, {"type": "semantic_vad", "interrupt_response": False},
    ],
    "audio.output.format": [{"type": "audio/pcm"}, {"type": "audio/pcmu"}, {"type": "audio/pcma"}],
    "audio.output.voice": ["cedar", {"id": "voice_1"}],
    "audio.output.speed": [0.25, 1.5],
    "tools": [[], [FUNCTION], [{"type": "function", "name": "f"}]],
    "tool_choice": ["auto", "none", "required", {"type": "function", "name": "f"}],
    "parallel_tool_calls": [True, False],
    "reasoning": [{"effort": effort} for effort in ("minimal", "low", "medium", "high", "xhigh")],
    "truncation": [
        "auto", "disabled", {"type": "retention_ratio", "retention_ratio": 0.5},
        {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 1}},
    ],
    "max_output_tokens": [1, LIMITS.max_output_tokens],
}  # fmt: skip
NEVER: dict[str, list[Any]] = {
    "tracing": [None, "auto", {"workflow_name": "w", "group_id": "g", "metadata": {}}],
    "prompt": [None, {"id": "pmpt_1", "version": "1", "variables": {}}],
    "include": [None, ["item.input_audio_transcription.logprobs"]],
    "id": ["sess_1"],
    "object": ["realtime.session"],
    "expires_at": [1],
    "novelty": [1],
    "audio.novelty": [1],
    "audio.input.novelty": [1],
    "audio.output.novelty": [1],
}
MCP = {"type": "mcp", "server_label": "s"}
MCP_KEYS: Json = {
    "server_url": "https://x", "connector_id": "c", "tunnel_id": "t", "authorization": "a", "headers": {},
    "allowed_tools": [], "require_approval": "never", "server_description": "d", "defer_loading": True,
    "allowed_callers": [],
}  # fmt: skip
NEVER_THERE: dict[str, list[Any]] = {
    "tools": [[FUNCTION | {"novelty": 1}], *([MCP | {key: value}] for key, value in MCP_KEYS.items())],
    "tool_choice": [{"type": "mcp", "server_label": "s"}, {"type": "mcp", "server_label": "s", "name": "f"}],
}  # fmt: skip
"""Values that the protocol allows in a field that can be open, and a client may not set: not even there."""
RESPONSE_ALWAYS: dict[str, list[Any]] = {
    "conversation": ["auto"],
    "metadata": [None, {}, {"a": "b"}],
    "output_modalities": SESSION["output_modalities"],
    "max_output_tokens": SESSION["max_output_tokens"],
    "input": [[], [MESSAGE]],
}
RESPONSE_WHERE_OPEN = {
    "instructions", "audio.output.format", "audio.output.voice", "tools", "tool_choice", "parallel_tool_calls",
    "reasoning",
}  # fmt: skip


def config_rows(event_type: str, root: str, base: Json, where_open: set[str]) -> list[Row]:
    rows = []
    for path, values in (SESSION | NEVER).items():
        if event_type == "response.create" and path in RESPONSE_ALWAYS:
            continue
        for value in values:
            event = {"type": event_type, root: laid_over(base, path, value)}
            decision: Decision = "where open" if path in where_open else "locked"
            rows.append(Row(event, (root, *path.split(".")), decision, path))
    for path, values in NEVER_THERE.items():
        rows += [
            Row({"type": event_type, root: laid_over(base, path, value)}, (root, path), "invalid_event", path)
            for value in values
        ]
    return rows


def laid_over(base: Json, path: str, value: object) -> Json:
    built = copy.deepcopy(base)
    *branches, leaf = path.split(".")
    node = built
    for branch in branches:
        node = node.setdefault(branch, {})
    node[leaf] = value
    return built


def response_rows() -> list[Row]:
    rows = [
        Row({"type": "response.create", "response": {field: value}}, ("response", field), "forwarded")
        for field, values in RESPONSE_ALWAYS.items()
        for value in values
    ]
    rows += [
        Row({"type": "response.create", "response": {"metadata": {"a": "b"}, key: value}}, ("response", key), "locked")
        for key, value in (("type", "realtime"), ("model", "gpt-realtime-2.1"))
    ]
    return rows + config_rows("response.create", "response", {"metadata": {"a": "b"}}, RESPONSE_WHERE_OPEN)


def session_rows() -> list[Row]:
    base = {"type": "realtime"}
    rows = config_rows("session.update", "session", base, set(SESSION))
    for key, value in (("type", "novelty"), ("model", "gpt-other")):
        rows.append(Row({"type": "session.update", "session": base | {key: value}}, ("session", key), "locked"))
    event: Json = {"type": "session.update", "session": base | {"model": "gpt-realtime-2.1"}}
    rows.append(Row(event, ("session", "model"), "left out"))
    return rows


ROWS = [*event_rows(), *item_rows(), *session_rows(), *response_rows()]


# --- what follows from a row and a lock ---


def expected(row: Row, lock: Lock) -> object:
    """The forwarded event, "shown", or the refusal's code."""
    event_type = row.event["type"]
    is_transcription = lock.session["type"] == "transcription"
    if event_type not in lock.client_events or (is_transcription and event_type.startswith("response.")):
        return "event_not_allowed"
    exists = not is_transcription or not row.field or row.field.startswith("audio.input.")
    is_open = exists and any(f"{row.field}.".startswith(f"{field}.") for field in lock.open_fields)
    decision = row.decision
    if row.field and decision == "invalid_event" and not is_open:
        decision = "locked"
    if decision == "where open":
        decision = "forwarded" if is_open else "locked"
    if decision == "locked" and lock.on_locked_field == "refuse":
        return "field_locked"
    if decision in ("event_not_allowed", "invalid_event"):
        return decision
    event = copy.deepcopy(row.event)
    remove_informational(event)
    if decision == "locked":
        remove(event, row.path)
    if event_type == "session.update":
        event["session"].pop("model", None)
        if not event["session"].keys() - {"type"}:
            return "shown"
        event["session"]["type"] = lock.session["type"]
    return event


def remove(event: Json, path: tuple[str | int, ...]) -> None:
    """Take the field away, and the objects that are empty without it, but for the outermost."""
    for length in range(len(path), min(1, len(path) - 1), -1):
        node = value_at(event, path[: length - 1])
        if length == len(path) or node[path[length - 1]] == {}:
            del node[path[length - 1]]


def remove_informational(event: Json) -> None:
    for item in (event.get("item"), *(event.get("response") or {}).get("input", ())):
        for key in ("object", "status"):
            (item or {}).pop(key, None)


def judged(event: Json, lock: Lock) -> object:
    talk = Conversation({})
    talk.open_calls.add("call_1")
    try:
        verdict = judge_browser_event(copy.deepcopy(event), lock=lock, limits=LIMITS, conversation=talk)
    except Refusal as refusal:
        return refusal.code
    return "shown" if isinstance(verdict, ShowSession) else verdict.event


def as_its_client_writes_it(event: Json, lock: Lock) -> Json:
    """With the session's own type and model, where it names those of a realtime session."""
    if event["type"] != "session.update":
        return event
    own = {("type", "realtime"), ("model", "gpt-realtime-2.1")}
    session = {key: lock.session[key] if key in ("type", "model") and (key, value) in own else value
               for key, value in event["session"].items()}  # fmt: skip
    return event | {"session": session}


@pytest.mark.parametrize("lock_name", sorted(LOCKS))
def test_every_field_of_every_event_is_decided_as_the_table_says(lock_name: str) -> None:
    lock = LOCKS[lock_name]
    wrong = {}
    for row in ROWS:
        verdict, due = judged(as_its_client_writes_it(row.event, lock), lock), expected(row, lock)
        if verdict != due:
            wrong[str(row)] = (verdict, due)
    assert wrong == {}


def test_the_table_holds_every_event_and_the_page_names_its_size() -> None:
    assert {row.event["type"] for row in ROWS} == CLIENT_EVENTS == set(EVENTS)
    size = f"{len(ROWS)} rows under {len(LOCKS)} locks, {len(ROWS) * len(LOCKS):,} decisions"
    print(f"\n{size}")  # noqa: T201 - figures
    page = (Path(__file__).parent.parent.parent / "docs/policy.md").read_text(encoding="utf-8")
    assert size in re.sub(r"\s+", " ", page)
