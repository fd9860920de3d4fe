"""What the simulated model answers: a sentence about what it heard or read, or a function call.

A test, or a person at the page, steers it with plain words: "call <tool>" in a typed message calls that tool (with the
JSON object that follows the name, if one does), "count to twenty" in a message or in the instructions counts.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from local_cloud.realtime import voice
from local_cloud.realtime.conversation import Entry
from local_cloud.realtime.events import Json


class Say(msgspec.Struct, tag="say", frozen=True):
    """A message; where it is to be spoken, the voice must have its words."""

    text: str


class CallFunction(msgspec.Struct, tag="call_function", frozen=True):
    """A function call; ``arguments`` is a JSON text."""

    name: str
    arguments: str = "{}"


Answer = Sequence[Say | CallFunction]
_COUNT = re.compile(r"\bcount to (\w+)", re.IGNORECASE)
_MOST_COUNTED = 99


@dataclass(frozen=True, slots=True)
class _Function:
    name: str
    parameters: Json


def answer(context: Sequence[Entry], config: Json) -> Answer:
    """Return the answer to a conversation whose last item is the newest, under a session's configuration."""
    spoken = config["output_modalities"] == ["audio"]
    last = context[-1] if context else None
    if last and last.body["type"] == "function_call_output":
        return [Say(_about_tool_output(str(last.body["output"]), spoken=spoken))]
    typed = last.texts() if last else ""
    call = _function_call(typed, config)
    if call:
        return [call]
    counted = _COUNT.search(typed) or _COUNT.search(config.get("instructions") or "")
    if counted:
        return [Say(_counting(counted[1]))]
    if last is None or last.body.get("role") != "user":
        return [Say("Hello, I am listening.")]
    if typed:
        return [Say(_about_text(typed) if spoken else f'You said: "{typed}"')]
    return [Say(_about_speech(last.speech_ms))]


def _about_speech(speech_ms: int) -> str:
    if speech_ms == 0:
        return "Are you still there?"
    seconds = (speech_ms + 500) // 1000
    if seconds == 0:
        return "I heard less than a second of you."
    return f"I heard {voice.number(seconds)} {'second' if seconds == 1 else 'seconds'} of you."


def _about_text(text: str) -> str:
    return f"I read your {_count_of_words(text)}"


def _about_tool_output(output: str, *, spoken: bool) -> str:
    if not spoken:
        return f"The tool answered: {output}"
    only_number = re.search(r"(?<![\d.])\d{1,2}(?![\d.])", output)
    if only_number:
        return f"The tool answered {voice.number(int(only_number[0]))}"
    return f"The tool answered with {_count_of_words(output)}" if output else "The tool answered."


def _count_of_words(text: str) -> str:
    words = len(text.split())
    return f"{voice.number(words)} {'word' if words == 1 else 'words'}."


def _counting(last: str) -> str:
    numbers = [voice.number(value) for value in range(1, _MOST_COUNTED + 1)]
    if last.isdigit():
        last = voice.number(min(max(int(last), 1), _MOST_COUNTED))
    return " ".join(numbers[: numbers.index(last.lower()) + 1] if last.lower() in numbers else numbers[:10])


def _function_call(typed: str, config: Json) -> CallFunction | None:
    functions = {
        tool["name"]: _Function(tool["name"], tool.get("parameters") or {})
        for tool in config["tools"]
        if tool["type"] == "function"
    }
    choice = config["tool_choice"]
    if choice == "none" or not functions:
        return None
    for function in functions.values():
        asked = re.search(rf"\bcall {re.escape(function.name)}\b\s*", typed, re.IGNORECASE)
        if asked:
            return CallFunction(function.name, _json_object_at(typed, asked.end()) or _made_up_arguments(function))
    if choice == "required":
        forced: _Function | None = next(iter(functions.values()))
    else:
        forced = functions.get(choice["name"]) if isinstance(choice, dict) and choice["type"] == "function" else None
    return CallFunction(forced.name, _made_up_arguments(forced)) if forced else None


def _json_object_at(text: str, at: int) -> str | None:
    try:
        value, end = json.JSONDecoder().raw_decode(text, at)
    except ValueError:
        return None
    return text[at:end] if isinstance(value, dict) else None


_EXAMPLES: Json = {"string": "example", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}


def _made_up_arguments(function: _Function) -> str:
    """Return a value of the right type for every parameter of the function's JSON Schema."""
    properties = function.parameters.get("properties")
    if not isinstance(properties, dict):
        return "{}"
    return json.dumps(
        {
            name: next(iter(schema.get("enum") or ()), _EXAMPLES.get(str(schema.get("type")), "example"))
            for name, schema in properties.items()
            if isinstance(schema, dict)
        }
    )
