"""Every screen of the page: reached by what leads to it, its words, its look by theme and width, and what axe says.

The pictures are left in ``screenshots/`` for the eye: THEME-WIDTH-SCREEN.png.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext

from tests.browser import axe
from tests.browser.scripted_relay import Scene, ScriptedRelay

pytestmark = pytest.mark.browser

SCREENSHOTS = Path(__file__).parents[2] / "screenshots"
FREEZE = Path(__file__).with_name("freeze.js")
WIDTHS = (1100, 390, 320)
THEMES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "dark", "forced_colors": "active"},
}
# Half-faded text has half its contrast.
FADED = "Promise.all(document.getAnimations().filter((a) => a.animationName === 'fade').map((a) => a.finished))"
SMALL_TARGETS = """() => [...document.querySelectorAll("button, select, input[type=text], summary, label.option")]
    .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 44)
    .map((node) => node.id || node.textContent)"""


Reach = Callable[[Scene], None]


def starting(*, after: str = "", relay: Callable[[ScriptedRelay], None] = lambda _: None) -> Reach:
    def reach(scene: Scene) -> None:
        relay(scene.relay)
        if after:
            scene.script(after)
        scene.start()

    return reach


def failing(name: str) -> Reach:
    return lambda scene: scene.microphone_fails(name)


def closed(close_code: int, code: str, **error: Any) -> Reach:
    return lambda scene: scene.over(close_code, code, **error)


def denied(scene: Scene) -> None:
    scene.script("navigator.permissions.query = async () => ({ state: 'denied' })")
    scene.microphone_fails("NotAllowedError")


def thinking(scene: Scene) -> None:
    scene.live()
    scene.relay.listen()
    scene.relay.send("input_audio_buffer.speech_stopped", item_id="item_you")


def muted(scene: Scene) -> None:
    scene.live()
    scene.page.press("Mute")


def hold(scene: Scene) -> None:
    scene.live()
    updated = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "m"}}}}
    scene.relay.send("session.updated", session=updated)


def paused(scene: Scene) -> None:
    scene.live()
    scene.script("void watched.contexts[0].suspend()")


def slow(scene: Scene) -> None:
    scene.relay.pongs = False
    scene.live()


def reconnecting(scene: Scene) -> None:
    scene.live()
    scene.relay.ignore()
    scene.relay.close(1012)


def ended(scene: Scene) -> None:
    scene.hearing()
    scene.page.wait_for("airlock.state === 'hearing'")
    receipt = {
        "session_id": "sess_0123456789abcdef",
        "ending": "browser_closed",
        "duration_seconds": 216,
        "audio_in_seconds": 31.4,
        "audio_out_seconds": 58.2,
        "tokens": {"total": 4211},
        "stored_bytes": 0,
    }
    scene.relay.send("airlock.session.ended", receipt=receipt)
    scene.relay.close(1000)


def lost(scene: Scene) -> None:
    scene.live()
    scene.script("const [track] = watched.tracks; track.stop(); track.dispatchEvent(new Event('ended'))")


@dataclass(frozen=True)
class Screen:
    """One row of the table of states; ``says`` is what can be read in the card, in any order."""

    name: str
    heading: str
    says: tuple[str, ...]
    buttons: tuple[str, ...]
    reach: Reach


TALK = ("End", "Mute", "Hold to talk")
AGAIN = ("Start again", "Type instead")
RETRY = ("Try again", "Type instead")
SCREENS = [
    Screen(
        "idle",
        "Talk with the assistant.",
        ("Press start and your browser will ask for the microphone. Nothing is heard before that.",),
        ("Start talking", "Type instead"),
        lambda _: None,
    ),
    Screen(
        "asking",
        "Allow the microphone.",
        ("Your browser is asking now, usually near the address bar.",),
        ("Cancel", "Type instead"),
        starting(after="navigator.mediaDevices.getUserMedia = () => new Promise(() => {})"),
    ),
    Screen(
        "connecting",
        "Connecting.",
        ("Your microphone is ready. Nothing is sent yet.",),
        ("Cancel",),
        starting(relay=ScriptedRelay.ignore),
    ),
    Screen("listening", "Listening.", ("Speak when you like.", "11:24"), TALK, Scene.live),
    Screen("hearing", "Hearing you.", (), TALK, Scene.hearing),
    Screen("interrupted", "Go ahead.", (), TALK, Scene.interrupted),
    Screen("thinking", "One moment.", (), (*TALK, "Stop"), thinking),
    Screen("speaking", "Speaking.", ("Start talking to interrupt.",), (*TALK, "Stop"), Scene.speaking),
    Screen(
        "muted",
        "Muted.",
        ("Nothing is being heard. The microphone is still held by this page; End lets it go.",),
        ("End", "Unmute"),
        muted,
    ),
    Screen("hold", "Hold to talk.", ("Nothing is sent until you hold",), ("End", "Hands-free", "Hold to talk"), hold),
    Screen("ready", "Type a message.", ("The microphone is off.",), ("End",), Scene.ready),
    Screen("slow", "Slow connection.", ("Your words may arrive late.",), TALK, slow),
    Screen(
        "reconnecting",
        "The connection dropped.",
        ("Trying again with a fresh pass, 1 of 5. Nothing is being sent.",),
        ("End",),
        reconnecting,
    ),
    Screen("paused", "Paused by your device.", ("A call or another app took the sound.",), ("End", "Continue"), paused),
    Screen("ended", "Ended.", ("Microphone off.", "The transcript stays until you close this tab."), AGAIN, ended),
    Screen("long-silence", "Ended after a long silence.", ("Microphone off.",), AGAIN, closed(4408, "idle_timeout")),
    Screen(
        "time-up",
        "Time is up.",
        ("This session reached its limit of 15 minutes. Microphone off.",),
        AGAIN,
        closed(4410, "session_limit_reached"),
    ),
    Screen(
        "quota",
        "Enough for now.",
        ("You have used today's allowance.", "Microphone off.", "Next one at "),
        RETRY,
        closed(4402, "quota_exhausted"),
    ),
    Screen("budget", "Enough for one session.", ("Microphone off.",), AGAIN, closed(4402, "budget_exhausted")),
    Screen(
        "busy",
        "All lines are busy.",
        ("Microphone off.", "Try again in 10 seconds."),
        ("Try again in 0:10", "Type instead"),
        closed(4429, "too_many_sessions", retry_after=10),
    ),
    Screen(
        "pass-expired",
        "That pass has expired.",
        ("Passes last five minutes and work once. Microphone off.",),
        ("Get a new one", "Type instead"),
        closed(4401, "token_expired"),
    ),
    Screen(
        "denied",
        "The microphone is blocked.",
        (
            "Nothing was heard.",
            "Open the site settings next to the address, allow the microphone, then try again.",
        ),
        RETRY,
        denied,
    ),
    Screen(
        "no-microphone",
        "No microphone found.",
        ("Plug one in or check that your system shows one, then try again.",),
        RETRY,
        failing("NotFoundError"),
    ),
    Screen(
        "busy-microphone",
        "The microphone is in use.",
        ("Another app may be holding it. Close that app, then try again.",),
        RETRY,
        failing("NotReadableError"),
    ),
    Screen(
        "lost-microphone",
        "The microphone went away.",
        ("It was unplugged, or permission was withdrawn. Nothing more is being sent.",),
        ("Choose a microphone", "Type instead"),
        lost,
    ),
    Screen(
        "insecure",
        "This page needs a secure address.",
        ("Browsers allow the microphone only over https.", "Open the https address."),
        ("Open the https address", "Type instead"),
        failing("SecurityError"),
    ),
    Screen(
        "old-browser",
        "This browser cannot do live voice.",
        ("A current Chrome, Edge, Firefox or Safari can.",),
        ("Type instead",),
        starting(after="delete window.AudioWorkletNode"),
    ),
    Screen(
        "signed-out",
        "Please sign in again.",
        ("Your sign-in has expired",),
        ("Sign in", "Type instead"),
        starting(relay=lambda relay: relay.refuse(401, "invalid_token")),
    ),
    Screen(
        "provider-down",
        "The speech service is not answering.",
        ("It is not your connection.", "Try again in a minute."),
        RETRY,
        starting(relay=lambda relay: relay.refuse(503, "unavailable")),
    ),
    Screen(
        "unreachable",
        "The relay cannot be reached.",
        ("Check your connection",),
        RETRY,
        starting(relay=ScriptedRelay.cut),
    ),
    Screen("policy", "That is not allowed here.", ("The operator said so.",), AGAIN, closed(4403, "session_revoked")),
    Screen(
        "error",
        "Something went wrong.",
        ("Microphone off. ", "give the reference req_0123456789abcdef."),
        AGAIN,
        starting(relay=lambda relay: relay.refuse(400, "invalid_request")),
    ),
]


@pytest.fixture(autouse=True)
def frozen(context: BrowserContext) -> None:
    context.add_init_script(path=FREEZE)


@pytest.mark.parametrize("screen", SCREENS, ids=lambda screen: screen.name)
def test_screen(scene: Scene, screen: Screen) -> None:
    page = scene.page.page
    page.evaluate("name => freezeAt(name)", screen.name)
    screen.reach(scene)
    scene.page.wait_until(screen.name)

    assert page.inner_text("h1") == screen.heading
    card = " ".join(page.inner_text("#stage").split())
    assert [words for words in screen.says if words not in card] == []
    assert sorted(page.locator(".controls button:visible").all_inner_texts()) == sorted(screen.buttons)
    assert page.inner_text("#word")

    page.evaluate(FADED)
    for theme, media in THEMES.items():
        page.emulate_media(**media)
        page.set_viewport_size({"width": WIDTHS[0], "height": 800})
        assert axe.violations(page) == []
        for width in WIDTHS if theme != "forced" else WIDTHS[:1]:
            page.set_viewport_size({"width": width, "height": 800})
            page.screenshot(path=SCREENSHOTS / f"{theme}-{width}-{screen.name}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            small = page.evaluate(SMALL_TARGETS)
            assert small == []
    refused = [complaint for complaint in scene.page.complaints() if "Failed to load resource" not in complaint]
    assert refused == []


def test_every_screen_of_the_page_is_here(scene: Scene) -> None:
    known = scene.page.page.evaluate("async () => Object.keys((await import('/copy.js')).SCREENS)")
    assert sorted(known) == sorted(screen.name for screen in SCREENS)
