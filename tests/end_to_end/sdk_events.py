"""What tests do with openai-python's connection, GA's or the beta's: wait for an event, type, speak."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any


async def until(
    connection: Any,
    event_type: str,
    seen: list[Any] | None = None,
    *,
    check: Callable[[dict[str, Any]], object] = lambda _: None,
    seconds: float = 10,
) -> Any:
    """The next event of a type; ``check`` is shown every one on the way as it came, and ``seen`` gets them parsed."""
    async with asyncio.timeout(seconds):
        while True:
            raw = await connection.recv_bytes()
            check(json.loads(raw))
            event = connection.parse_event(raw)
            if seen is not None:
                seen.append(event)
            if event.type == event_type:
                return event
            assert event.type != "error", event


async def add_text(connection: Any, text: str) -> None:
    """A typed message of the user."""
    content = [{"type": "input_text", "text": text}]
    await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})


async def speak(connection: Any, audio: bytes) -> None:
    """Audio as a microphone gives it, a tenth of a second at a time."""
    for at in range(0, len(audio), 4_800):
        await connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + 4_800]).decode())
