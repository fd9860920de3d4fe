"""The lock, stated a second time: what may be in an event that the model receives, by what is in it.

It shares no code and no table with the policy it watches, nor with the description of the session object that the
policy reads; what both say, the protocol reference (§3.2, §3.4, §3.6, §5) says too. Pure.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

Check = Callable[[Any], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """What one session is locked to."""

    session_type: str
    open_fields: Set[str]
    client_events: Set[str]
    max_output_tokens: int
    client_content: Set[str] = frozenset({"input_text", "input_audio"})
    calls: Set[str] = frozenset()
    """Ids of the function calls that the model made."""


def text(at_most: int, at_least: int = 0) -> Check:
    return lambda value: type(value) is str and at_least <= len(value) <= at_most


def whole(least: int, most: int) -> Check:
    return lambda value: type(value) is int and least <= value <= most


def number(least: float, most: float) -> Check:
    return lambda value: type(value) in (int, float) and least <= value <= most


def one_of(*allowed: object) -> Check:
    return lambda value: any(type(value) is type(other) and value == other for other in allowed)


def either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def every(check: Check, at_most: int) -> Check:
    return lambda value: type(value) is list and len(value) <= at_most and all(map(check, value))


def shape(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys and no other."""
    known = {**(optional or {}), **required}
    return lambda value: (
        type(value) is dict
        and required.keys() <= value.keys() <= known.keys()
        and all(known[key](inner) for key, inner in value.items())
    )


BOOL: Check = one_of(True, False)
NULL: Check = one_of(None)
ID = text(512, 1)
NAME = text(256, 1)
LONG = text(65_536)


def _is_object(value: Any) -> bool:
    return type(value) is dict


def is_audio(value: Any) -> bool:
    """Standard base64 and nothing else."""
    return type(value) is str and bool(
        re.fullmatch(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", value)
    )


def is_picture(value: Any) -> bool:
    """A picture in the URL itself, never an address."""
    head = re.match(r"data:image/(?:png|jpeg);base64,(?=.)", value) if type(value) is str else None
    return head is not None and is_audio(value[head.end() :])


FORMAT = either(
    shape({"type": one_of("audio/pcm")}, {"rate": one_of(24_000)}), shape({"type": one_of("audio/pcmu", "audio/pcma")})
)
MODALITIES: Check = one_of(["audio"], ["text"])
DETECTION = {"create_response": BOOL, "interrupt_response": BOOL}
CONFIG: dict[str, Check] = {
    "output_modalities": MODALITIES,
    "instructions": LONG,
    "audio.input.format": FORMAT,
    "audio.input.transcription": either(
        NULL,
        shape(
            {},
            {
                "model": NAME,
                "language": either(NULL, text(16)),
                "languages": every(text(16), 32),
                "prompt": either(NULL, LONG),
                "keywords": every(NAME, 256),
                "delay": one_of("minimal", "low", "medium", "high", "xhigh"),
            },
        ),
    ),
    "audio.input.noise_reduction": either(
        NULL, shape({"type": one_of("near_field", "far_field")}, {"strength": number(-1e308, 1e308)})
    ),
    "audio.input.turn_detection": either(
        NULL,
        shape(
            {"type": one_of("server_vad")},
            DETECTION
            | {
                "threshold": number(0, 1),
                "prefix_padding_ms": whole(0, 60_000),
                "silence_duration_ms": whole(0, 60_000),
                "idle_timeout_ms": either(NULL, whole(5_000, 30_000)),
            },
        ),
        shape(
            {"type": one_of("semantic_vad")}, DETECTION | {"eagerness": one_of("auto", "low", "medium", "high")}
        ),
    ),
    "audio.output.format": FORMAT,
    "audio.output.voice": either(NAME, shape({"id": NAME})),
    "audio.output.speed": number(0.25, 1.5),
    "tools": every(
        shape(
            {"type": one_of("function"), "name": text(64, 1)}, {"description": LONG, "parameters": _is_object}
        ),
        128,
    ),
    "tool_choice": either(
        one_of("auto", "none", "required"), shape({"type": one_of("function"), "name": NAME})
    ),
    "parallel_tool_calls": BOOL,
    "reasoning": shape({"effort": one_of("minimal", "low", "medium", "high", "xhigh")}),
    "truncation": either(
        one_of("auto", "disabled"),
        shape(
            {"type": one_of("retention_ratio"), "retention_ratio": number(0, 1)},
            {"token_limits": shape({}, {"post_instructions": whole(0, 2**64)})},
        ),
    ),
}  # fmt: skip
"""What a profile can open, and what may stand there; the number of output tokens apart."""

IN_TRANSCRIPTION = {path for path in CONFIG if path.startswith("audio.input.")}
IN_RESPONSE = {
    "instructions", "audio.output.format", "audio.output.voice", "tools", "tool_choice", "parallel_tool_calls",
    "reasoning",
}  # fmt: skip

PART = either(
    shape({"type": one_of("input_text"), "text": text(2**24)}),
    shape({"type": one_of("input_audio"), "audio": is_audio}, {"transcript": either(NULL, text(2**24))}),
    shape({"type": one_of("input_image"), "image_url": is_picture}, {"detail": one_of("auto", "low", "high")}),
)
MESSAGE = shape(
    {"type": one_of("message"), "role": one_of("user"), "content": every(PART, 2**16)}, {"id": ID}
)  # fmt: skip
REFERENCE = shape({"type": one_of("item_reference"), "id": ID})
METADATA: Check = lambda value: (  # noqa: E731 - one more of the checks above
    type(value) is dict and len(value) <= 16 and all(text(64)(key) and text(512)(inner) for key, inner in value.items())
)


def escapes(event: Any, fence: Fence) -> list[str]:
    """Where an event that the model received lies outside the fence; nothing, if the lock held."""
    if type(event) is not dict or type(event.get("type")) is not str:
        return ["not an event"]
    if event["type"] not in fence.client_events or event["type"] not in _FIELDS:
        return [f"type {event['type']}"]
    if fence.session_type == "transcription" and event["type"].startswith("response."):
        return ["a response in a transcription session"]
    found = list(_outside(event, {"type": text(64), "event_id": text(512)} | _FIELDS[event["type"]], ""))
    match event:
        case {"type": "session.update", "session": dict(session)}:
            found += _config(session, fence, "session.")
        case {"type": "conversation.item.create", "item": item}:
            found += _item(item, fence, "item")
        case {"type": "response.create", "response": dict(response)}:
            found += _response(response, fence)
    return found


_FIELDS: dict[str, dict[str, Check]] = {
    "session.update": {"session": _is_object},
    "input_audio_buffer.append": {"audio": is_audio},
    "input_audio_buffer.commit": {},
    "input_audio_buffer.clear": {},
    "output_audio_buffer.clear": {},
    "conversation.item.create": {"item": _is_object, "previous_item_id": either(NULL, ID)},
    "conversation.item.retrieve": {"item_id": ID},
    "conversation.item.truncate": {
        "item_id": ID, "content_index": whole(0, 2**31), "audio_end_ms": whole(0, 2**31),
    },
    "conversation.item.delete": {"item_id": ID},
    "response.create": {"response": either(NULL, _is_object)},
    "response.cancel": {"response_id": ID},
}  # fmt: skip


def _outside(node: Mapping[str, Any], allowed: Mapping[str, Check], where: str) -> Iterator[str]:
    for key, value in node.items():
        if key not in allowed:
            yield f"{where}{key}: does not belong there"
        elif not allowed[key](value):
            yield f"{where}{key}: {value!r:.80}"


def _config(session: Mapping[str, Any], fence: Fence, where: str) -> Iterator[str]:
    fields = IN_TRANSCRIPTION if fence.session_type == "transcription" else {*CONFIG, "max_output_tokens"}
    for path, value in _leaves(session):
        if path == "type":
            if value != fence.session_type:
                yield f"{where}type: {value!r:.80}"
        else:
            yield from _leaf(path, value, fields, fence, where)


def _leaf(path: str, value: Any, fields: Set[str], fence: Fence, where: str) -> Iterator[str]:
    if path not in fields:
        yield f"{where}{path}: does not belong there"
    elif not _is_open(path, fence.open_fields):
        yield f"{where}{path}: is locked"
    elif not (whole(1, fence.max_output_tokens) if path == "max_output_tokens" else CONFIG[path])(value):
        yield f"{where}{path}: {value!r:.80}"


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if "." in key:  # another spelling of a path is none
            yield f"{prefix}[{key}]", value
        elif (prefix, key) in {("", "audio"), ("audio.", "input"), ("audio.", "output")} and type(value) is dict:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _is_open(path: str, open_fields: Iterable[str]) -> bool:
    steps = path.split(".")
    return any(".".join(steps[:length]) in open_fields for length in range(1, len(steps) + 1))


def _item(item: Any, fence: Fence, where: str, *, may_refer: bool = False) -> Iterator[str]:
    answer = shape(
        {"type": one_of("function_call_output"), "call_id": lambda id_: id_ in fence.calls, "output": text(2**24)},
        {"id": ID},
    )
    if not either(MESSAGE, answer, *([REFERENCE] if may_refer else []))(item):
        yield f"{where}: {item!r:.200}"
    elif item["type"] == "message":
        for part in item["content"]:
            if part["type"] not in fence.client_content:
                yield f"{where}: {part!r:.200}"


def _response(response: Mapping[str, Any], fence: Fence) -> Iterator[str]:
    own: dict[str, Check] = {
        "conversation": one_of("auto", "none"),
        "metadata": either(NULL, METADATA),
        "output_modalities": MODALITIES,
        "max_output_tokens": whole(1, fence.max_output_tokens),
        "input": lambda items: type(items) is list,
    }
    yield from _outside({key: value for key, value in response.items() if key in own}, own, "response.")
    for index, item in enumerate(response.get("input", ())):
        yield from _item(item, fence, f"response.input[{index}]", may_refer=True)
    for path, value in _leaves({key: value for key, value in response.items() if key not in own}):
        yield from _leaf(path, value, IN_RESPONSE, fence, "response.")
