"""Conversations by OpenAI's Agents SDK for Python: ``python -m tests.clients.openai_agents``.

Each line of input is a job, each line of output what came of it.
"""

from __future__ import annotations

import asyncio
import base64
import sys

from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession
from agents.realtime.items import RealtimeItem
from agents.realtime.model_events import RealtimeModelRawServerEvent
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from tests.clients.job import Job, Outcome, Refused
from tests.clients.openai_python import TYPED, of_status


async def hold(job: Job) -> Outcome:
    """One conversation."""
    outcome = Outcome()
    error_code: str | None = None

    @function_tool
    def get_weather(city: str) -> str:
        """Tells the weather."""
        outcome.called = ["get_weather", {"city": city}]
        return "sunny"

    agent: RealtimeAgent[None] = RealtimeAgent(
        name="guide", instructions="The agent's own instructions.", tools=[get_weather]
    )
    runner = RealtimeRunner(agent)
    try:
        async with await runner.run(model_config={"url": job.url, "api_key": job.token}) as session:
            heard = bytearray()
            answers_left = 2 if job.conversation == "function" else 1
            if job.conversation == "voice":
                await speak(session, job)
            elif job.conversation != "wait":
                await session.send_message(TYPED[job.conversation])
            async for event in session:
                if event.type == "audio":
                    if job.conversation == "interruption" and not heard:
                        await speak(session, job)
                    heard += event.audio.data
                elif event.type == "history_updated":
                    outcome.history = [remembered(item) for item in event.history]
                elif event.type == "error":
                    error_code = getattr(event.error, "code", None) or str(event.error)
                elif event.type == "raw_model_event" and isinstance(event.data, RealtimeModelRawServerEvent):
                    told = event.data.data
                    if told["type"] == "response.output_audio_transcript.done":
                        outcome.said = told["transcript"]
                    elif told["type"] == "conversation.item.truncated":
                        outcome.truncated_ms = told["audio_end_ms"]
                    elif told["type"] == "response.done":
                        details = told["response"]["status_details"] or {}
                        outcome.endings.append([told["response"]["status"], details.get("reason")])
                elif event.type == "agent_end" and outcome.endings[-1][0] == "completed":
                    answers_left -= 1
                    if answers_left == 0:
                        break
            outcome.heard = base64.b64encode(heard).decode()
    except InvalidStatus as error:
        outcome.refused = of_status(error)
    except ConnectionClosedError as error:
        close = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
        outcome.refused = Refused("error", code=error_code, close=close)
    return outcome


async def speak(session: RealtimeSession, job: Job) -> None:
    for audio in job.speech:
        await session.send_audio(base64.b64decode(audio))


def remembered(item: RealtimeItem) -> list[str]:
    return [item.type, item.name if item.type == "function_call" else item.role]


if __name__ == "__main__":
    for line in sys.stdin:
        sys.stdout.write(asyncio.run(hold(Job.from_json(line))).as_json() + "\n")
        sys.stdout.flush()
