"""Every screen of the page, and what leads to it: a table that the gallery reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.browser.scripted_relay import ANSWER, Scene, ScriptedRelay

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


def answered(scene: Scene) -> None:
    thinking(scene)
    scene.relay.told("And how often?", item="item_you")
    scene.relay.speak(ANSWER, 0.5)
    scene.relay.finish(ANSWER, tokens=4211)
    scene.page.wait_for("airlock.state === 'listening' && airlock.counters.lastAnswer")


def thinking_long(scene: Scene) -> None:
    thinking(scene)
    scene.page.wait_for("document.getElementById('hint').textContent")


def holding(scene: Scene) -> None:
    hold(scene)
    scene.page.page.locator("#hold").hover()
    scene.page.page.mouse.down()


def muted_while_it_speaks(scene: Scene) -> None:
    scene.speaking()
    scene.page.press("Mute")


def with_keys_and_settings(scene: Scene) -> None:
    scene.live()
    page = scene.page.page
    page.get_by_text("Settings").click()
    page.get_by_label("Keys: M to mute").check()
    page.keyboard.press("Tab")  # leaves a focus ring to look at


def with_events(scene: Scene) -> None:
    scene.speaking()
    scene.page.page.get_by_text("Events", exact=True).click()
    scene.page.wait_for("document.querySelectorAll('#event-lines li').length > 3")


def much_said(scene: Scene) -> None:
    scene.live()
    long_word = "Donaudampfschifffahrtsgesellschaftskapitän" * 3
    scene.relay.send("response.function_call_arguments.done", call_id="call_a", name="look_out", arguments="{}")
    scene.relay.speak(f"{ANSWER} https://example.com/{'a' * 90} and one word: {long_word}.", 0.2)
    scene.relay.finish(f"{ANSWER} https://example.com/{'a' * 90} and one word: {long_word}.")
    scene.relay.told("First line\nSecond line, <b>not bold</b> & as it was typed", item="item_more")
    scene.relay.send("response.created", response={"id": "resp_b"})
    scene.relay.send("response.done", response={"id": "resp_b", "status": "failed"})
    scene.page.wait_for("airlock.state === 'listening' && document.querySelectorAll('.note').length === 2")


def last_minute(scene: Scene) -> None:
    scene.live()
    scene.relay.start(seconds_left=42)
    scene.page.wait_for("airlock.timeLeft.seconds < 43")


def reconnected(scene: Scene) -> None:
    scene.speaking()
    scene.relay.close(1012)
    scene.page.wait_for("airlock.counters.tokens === 2 && airlock.facts.phase === 'live'")


def draining(scene: Scene) -> None:
    scene.live()
    scene.relay.listen()
    scene.page.wait_until("hearing")
    scene.relay.send("airlock.session.draining", ends_at=0)
    scene.page.wait_for("!document.getElementById('notice').hidden")


def nobody_speaks(scene: Scene) -> None:
    scene.script("""navigator.mediaDevices.getUserMedia = async () =>
        new MediaStreamAudioDestinationNode(new AudioContext()).stream""")


def nothing_heard(scene: Scene) -> None:
    nobody_speaks(scene)
    scene.live()
    scene.page.wait_for("document.getElementById('notice').textContent.startsWith('I cannot')")


def with_echo(scene: Scene) -> None:
    scene.script("""const settings = MediaStreamTrack.prototype.getSettings;
        MediaStreamTrack.prototype.getSettings = function () {
            return { ...settings.call(this), echoCancellation: false };
        }""")
    scene.live()


def choosing(scene: Scene) -> None:
    lost(scene)
    scene.page.press("Choose a microphone")


def denied_by_the_system(scene: Scene) -> None:
    scene.script("navigator.permissions.query = async () => ({ state: 'granted' })")
    scene.microphone_fails("NotAllowedError")


def typing_first(scene: Scene) -> None:
    scene.relay.ignore()
    scene.page.press("Type instead")


def typed_and_over(scene: Scene) -> None:
    scene.ready()
    scene.page.wait_until("ready")
    scene.page.press("End")


def still(reach: Reach, line: str) -> Reach:
    def reached(scene: Scene) -> None:
        scene.page.page.emulate_media(reduced_motion="reduce")
        reach(scene)
        scene.page.wait_for(f"document.querySelector('#{line}.moving') !== null")

    return reached


@dataclass(frozen=True)
class Screen:
    """One thing to see: ``says`` can be read there, in any order; ``state`` is the table's row if not the name."""

    name: str
    heading: str
    says: tuple[str, ...]
    buttons: tuple[str, ...]
    reach: Reach
    state: str = ""


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
        ("Try again",),
        closed(4402, "quota_exhausted"),
    ),
    Screen("budget", "Enough for one session.", ("Microphone off.",), AGAIN, closed(4402, "budget_exhausted")),
    Screen(
        "busy",
        "All lines are busy.",
        ("Microphone off.", "Try again in 10 seconds."),
        ("Try again in 0:10",),
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

# The same screens in other circumstances: other words, more beside them, or another way to draw.
VARIANTS = [
    Screen("thinking-long", "One moment.", ("Still working on it.",), (*TALK, "Stop"), thinking_long, "thinking"),
    Screen("answered", "Listening.", ("answered in", "4211 tokens"), TALK, answered, "listening"),
    Screen(
        "holding",
        "Hearing you.",
        ("Let go to get an answer.",),
        ("End", "Hands-free", "Hold to talk"),
        holding,
        "hearing",
    ),
    Screen(
        "muted-while-it-speaks",
        "Speaking.",
        ("You are muted.",),
        ("End", "Unmute", "Hold to talk", "Stop"),
        muted_while_it_speaks,
        "speaking",
    ),
    Screen("keys", "Listening.", ("Keys: M to mute",), TALK, with_keys_and_settings, "listening"),
    Screen("events", "Speaking.", ("bytes of audio",), (*TALK, "Stop"), with_events, "speaking"),
    Screen(
        "much-said",
        "Listening.",
        ("The assistant calls look_out.", "<b>not bold</b>", "The assistant could not answer."),
        TALK,
        much_said,
        "listening",
    ),
    Screen("last-minute", "Listening.", ("0:42",), TALK, last_minute, "listening"),
    Screen(
        "reconnected",
        "Listening.",
        ("Reconnected. The assistant starts fresh; your transcript is still here.", "interrupted"),
        TALK,
        reconnected,
        "listening",
    ),
    Screen("draining", "Hearing you.", ("The relay is restarting.",), TALK, draining, "hearing"),
    Screen("nothing-heard", "Listening.", ("Is the right microphone chosen?",), TALK, nothing_heard, "listening"),
    Screen(
        "echo", "Listening.", ("Use headphones: this browser is not cancelling echo.",), TALK, with_echo, "listening"
    ),
    Screen("choosing", "The microphone went away.", (), ("Start again", "Type instead"), choosing, "lost-microphone"),
    Screen(
        "denied-by-the-system",
        "The microphone is blocked.",
        ("Allow the microphone for this browser in your system's privacy settings, then try again.",),
        RETRY,
        denied_by_the_system,
        "denied",
    ),
    Screen("typing-first", "Connecting.", ("The microphone stays off.",), ("Cancel",), typing_first, "connecting"),
    Screen("typed-and-over", "Ended.", ("The microphone was not used.",), AGAIN, typed_and_over, "ended"),
    Screen("still-speaking", "Speaking.", (), (*TALK, "Stop"), still(Scene.speaking, "wire-assistant"), "speaking"),
    Screen("still-hearing", "Hearing you.", (), TALK, still(Scene.hearing, "wire-you"), "hearing"),
]
