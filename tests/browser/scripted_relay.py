"""A relay and a token service that say exactly what a test wants to see, and the page that talks to them."""

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from playwright.sync_api import Page, Route, WebSocketRoute

from tests.browser.microphone_page import MicrophonePage

RATE = 24_000
SECONDS_LEFT = 684
QUESTION = "How long does one pass last?"
ANSWER = "Five minutes until it is used, and it works once. After that your browser asks for another one by itself."
SESSION = {"audio": {"input": {"turn_detection": {"type": "server_vad"}, "transcription": {"model": "m"}}}}


def place_of(name: str) -> dict[str, Any]:
    """What every event of one answer says of its place in the conversation."""
    return {"item_id": f"item_{name}", "response_id": f"resp_{name}", "output_index": 0, "content_index": 0}


class ScriptedRelay:
    """What the page talks to. Without a script it mints, greets and answers pings.

    Attributes:
        mint: how a token request is answered; replace it.
        greets: whether a connection gets its session.
        pongs: whether pings are answered.
        received: every event of the page.
    """

    def __init__(self, page: Page, relay_url: str) -> None:
        airlock = {"relay_url": relay_url, "max_session_seconds": 900, "provider": "OpenAI", "stores": "nothing"}
        minted = {"value": "ek_scripted-0123456789", "airlock": airlock}
        self.mint: Callable[[Route], None] = lambda route: route.fulfill(json=minted)
        self.greets = self.pongs = True
        self.received: list[dict[str, Any]] = []
        self._page = page
        self._sockets: list[WebSocketRoute] = []
        page.route("**/v1/realtime/client_secrets", lambda route: self.mint(route))
        page.route_web_socket(relay_url, self._accept)

    def refuse(self, status: int, code: str, **headers: str) -> None:
        """Refuse every token request."""
        error = {"code": code, "message": "The operator said so."}
        headers = {"X-Request-Id": "req_0123456789abcdef"} | headers
        self.mint = lambda route: route.fulfill(status=status, headers=headers, json={"error": error})

    def ignore(self) -> None:
        """Leave token requests without an answer."""
        self.mint = lambda route: None

    def cut(self) -> None:
        """Let token requests fail as without a network."""
        self.mint = lambda route: route.abort()

    def send(self, event_type: str, **fields: Any) -> None:
        """Send one event."""
        self._sockets[-1].send(json.dumps({"type": event_type, "event_id": "event_1", **fields}))

    def close(self, close_code: int, code: str | None = None, **error: Any) -> None:
        """Say why, if there is a code to say it with, and close."""
        if code:
            self.send("error", error={"code": code, "message": "The operator said so.", **error})
        self._sockets[-1].close(code=close_code, reason=code)

    def start(self, seconds_left: float = SECONDS_LEFT) -> None:
        """The session has this long to go."""
        self.send(
            "airlock.session.started",
            session_id="sess_0123456789abcdef",
            server_time=5_000,  # the page's clock is not asked
            ends_at=5_000 + seconds_left,
            max_session_seconds=900,
            provider="OpenAI",
            stores="nothing",
        )

    def listen(self) -> None:
        """The person's turn begins."""
        self.send("input_audio_buffer.speech_started", item_id="item_you")

    def told(self, text: str, item: str = "item_question") -> None:
        """The person said something."""
        self.send("conversation.item.input_audio_transcription.completed", item_id=item, transcript=text)

    def speak(self, text: str, seconds: float, *, name: str = "a") -> None:
        """Answer with a tone as loud as speech."""
        place = place_of(name)
        self.send("response.created", response={"id": place["response_id"]})
        self.send("response.output_audio_transcript.delta", **place, delta=text)
        at = np.arange(int(seconds * RATE)) / RATE
        tone = 0.3 * np.sin(2 * np.pi * 220 * at) * (1 + np.sin(2 * np.pi * 3 * at)) / 2
        audio = base64.b64encode((tone * 32767).astype("<i2").tobytes()).decode()
        self.send("response.output_audio.delta", **place, delta=audio)

    def finish(self, text: str, *, name: str = "a", tokens: int = 0) -> None:
        """All of an answer has been sent."""
        place = place_of(name)
        self.send("response.output_audio_transcript.done", **place, transcript=text)
        self.send("response.output_audio.done", **place)
        done = {"id": place["response_id"], "status": "completed", "usage": {"total_tokens": tokens}}
        self.send("response.done", response=done)

    def _accept(self, socket: WebSocketRoute) -> None:
        self._sockets.append(socket)
        socket.on_message(lambda message: self._hear(socket, json.loads(message)))
        if not self.greets:
            return
        self.send("session.created", session=SESSION)
        self.start()

    def _hear(self, socket: WebSocketRoute, event: dict[str, Any]) -> None:
        if event["type"] == "airlock.ping" and self.pongs:
            socket.send(json.dumps({"type": "airlock.pong", "t": event["t"], "server_time": time.time()}))
        elif event["type"] == "response.create":
            socket.send(json.dumps({"type": "response.created", "response": {"id": "resp_a"}}))
        elif event["type"] != "input_audio_buffer.append":
            self.received.append(event)


@dataclass(frozen=True)
class Scene:
    """A page and the relay it talks to."""

    page: MicrophonePage
    relay: ScriptedRelay

    def start(self) -> None:
        """Press the button."""
        self.page.press("Start talking")

    def live(self) -> None:
        """A session has begun, and a question was asked."""
        self.start()
        self.page.wait_for("airlock.facts.phase === 'live'")
        self.relay.told(QUESTION)

    def type(self) -> None:
        """Say something without a microphone."""
        self.page.page.get_by_label("Message").fill("Hello")
        self.page.press("Send")

    def ready(self) -> None:
        """What was typed has been answered."""
        self.type()
        self.page.wait_for("airlock.state === 'thinking'")
        self.relay.send("response.output_text.done", **place_of("a"), text="Hello to you.")
        self.relay.send("response.done", response={"id": "resp_a", "status": "completed"})

    def speaking(self) -> None:
        """The answer sounds."""
        self.live()
        self.relay.speak(ANSWER, 8)
        self.page.wait_for("airlock.facts.sounding")

    def interrupted(self) -> None:
        """The person talks over it."""
        self.speaking()
        self.page.wait_for("airlock.counters.playedSamples > 24000")
        self.relay.listen()

    def hearing(self) -> None:
        """And goes on talking."""
        self.interrupted()
        interim = {"item_id": "item_you", "delta": "And if I refresh the page"}
        self.relay.send("conversation.item.input_audio_transcription.delta", **interim)

    def over(self, close_code: int, code: str, **error: Any) -> None:
        """The relay ends the session."""
        self.live()
        self.relay.close(close_code, code, **error)

    def script(self, source: str) -> None:
        """Change the browser before the page starts anything."""
        self.page.page.evaluate(f"() => {{ {source} }}")

    def microphone_fails(self, name: str) -> None:
        """The browser says no, in this way."""
        self.script(f"navigator.mediaDevices.getUserMedia = async () => {{ throw new DOMException('', '{name}') }}")
        self.start()
