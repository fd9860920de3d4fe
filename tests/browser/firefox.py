"""Firefox, driven by the WebDriver BiDi that it speaks itself: playwright drives only a Firefox of its own.

Its fake microphone hums, and PulseAudio's null sink is the loudspeaker: without one Firefox runs no audio at all.
"""

import itertools
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

WAIT_SECONDS = 30.0
PREFERENCES = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "app.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,#",
}
_NULL_SINK = ("--load=module-native-protocol-unix", "--load=module-null-sink")


class Firefox:
    """One window."""

    def __init__(self, socket: Connection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._do("session.new", capabilities={})
        self._context = self._do("browsingContext.getTree")["contexts"][0]["context"]

    def open(self, url: str) -> None:
        """Go there, and wait until all of it has come."""
        self._do("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, as JSON has it."""
        target = {"context": self._context}
        answer = self._do(
            "script.evaluate", expression=f"JSON.stringify({expression})", target=target, awaitPromise=True
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never: {expression}; {self.evaluate('document.body.innerText')}"
            time.sleep(0.05)  # polling another process

    def click(self, selector: str) -> None:
        """Click in the middle of an element, as a person would: it unlocks sound."""
        locator = {"type": "css", "value": selector}
        (node,) = self._do("browsingContext.locateNodes", context=self._context, locator=locator)["nodes"]
        origin = {"type": "element", "element": {"sharedId": node["sharedId"]}}
        steps = [
            {"type": "pointerMove", "x": 0, "y": 0, "origin": origin},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        actions = [{"type": "pointer", "id": "mouse", "actions": steps}]
        self._do("input.performActions", context=self._context, actions=actions)

    def _do(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(WAIT_SECONDS))
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]


@contextmanager
def running_firefox(folder: Path) -> Iterator[Firefox]:
    """A Firefox with a fresh profile, a humming microphone and a loudspeaker that nobody hears."""
    (folder / "user.js").write_text(
        "".join(f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
    )
    environment = {**os.environ, "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "MOZ_HEADLESS": "1"}
    sound = subprocess.Popen(
        ["pulseaudio", "-n", "--exit-idle-time=-1", *_NULL_SINK], env=environment, stderr=subprocess.DEVNULL
    )
    log = folder / "firefox.log"
    with log.open("wb") as output:
        command = ["firefox-esr", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0"]
        browser = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        with connect(f"{_address(log, browser)}/session", max_size=None) as socket:
            yield Firefox(socket)
    finally:
        for process in (browser, sound):
            process.kill()
            process.wait()


def _address(log: Path, browser: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and browser.poll() is None:
        if said := re.search(r"WebDriver BiDi listening on (\S+)", log.read_text("utf-8", "replace")):
            return said[1]
        time.sleep(0.05)  # polling another process
    raise AssertionError(log.read_text("utf-8", "replace"))
