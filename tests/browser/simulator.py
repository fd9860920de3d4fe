"""What the simulated model was sent and said, over its control API."""

import base64
import json
import time
import urllib.request
from typing import Any

from tests.browser.speech import Samples, from_pcm16

WAIT_SECONDS = 10.0


class SimulatorHandle:
    """The simulator of a running stack, seen through its newest connection."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/_simulator"

    def received(self, event_type: str) -> list[dict[str, Any]]:
        """The events of a type that the model was sent."""
        return self._of_type("received", event_type)

    def sent(self, event_type: str) -> list[dict[str, Any]]:
        """The events of a type that the model sent."""
        return self._of_type("sent", event_type)

    def wait_received(self, event_type: str) -> dict[str, Any]:
        """The first event of a type that the model was sent, waited for."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            events = self.received(event_type)
            if events:
                return events[0]
            time.sleep(0.05)  # polling another process
        raise AssertionError(f"the model was never sent {event_type}")

    def received_audio(self) -> Samples:
        """All the audio that the model was sent."""
        return from_pcm16(base64.b64decode(self._connection()["received_audio"]))

    def sent_audio(self) -> Samples:
        """All the audio that the model sent."""
        deltas = self.sent("response.output_audio.delta")
        return from_pcm16(b"".join(base64.b64decode(event["delta"]) for event in deltas))

    def answer_with(self, text: str) -> None:
        """Script the next answer; the simulator's voice must have the words."""
        self._post("answers", [{"type": "say", "text": text}])

    def emit(self, event: dict[str, Any]) -> None:
        """Send an event to the client as if it were the model's."""
        self._post("connections/last/emit", event)

    def abort(self) -> None:
        """Cut the newest connection."""
        self._post("connections/last/abort", None)

    def _of_type(self, direction: str, event_type: str) -> list[dict[str, Any]]:
        return [event for event in self._connection()[direction] if event["type"] == event_type]

    def _connection(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._url}/connections/last") as response:  # noqa: S310 - our own loopback
            shown: dict[str, Any] = json.load(response)
        return shown

    def _post(self, path: str, body: object) -> None:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}/{path}", data, headers)  # noqa: S310 - our own loopback
        with urllib.request.urlopen(request):  # noqa: S310 - our own loopback
            pass
