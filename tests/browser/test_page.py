"""What the page does beside talking, against a relay that says what each test wants."""

import json

import pytest
from playwright.sync_api import Route

from tests.browser.scripted_relay import Scene, place_of

pytestmark = pytest.mark.browser

RELEASES = {
    "outside the button": "document.getElementById('hold').dispatchEvent(new PointerEvent('pointerup'))",
    "pointer taken away": "document.getElementById('hold').dispatchEvent(new PointerEvent('pointercancel'))",
    "capture lost": "document.getElementById('hold').dispatchEvent(new PointerEvent('lostpointercapture'))",
    "another window": "window.dispatchEvent(new Event('blur'))",
    "tab hidden": "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
    " document.dispatchEvent(new Event('visibilitychange'))",
}


def types(scene: Scene) -> list[str]:
    return [event["type"] for event in scene.relay.received]


@pytest.mark.parametrize("release", RELEASES)
def test_hold_to_talk_ends_however_the_button_is_let_go(scene: Scene, release: str) -> None:
    scene.live()
    page = scene.page.page
    page.locator("#hold").hover()
    page.mouse.down()
    scene.page.wait_for("airlock.facts.holding")
    sent = scene.page.counter("sentSamples")
    scene.page.wait_for(f"airlock.counters.sentSamples > {sent} + 4800")
    scene.script(RELEASES[release])
    scene.page.wait_for("!airlock.facts.holding")
    scene.page.wait_for("airlock.state === 'thinking'")
    expected = ["session.update", "input_audio_buffer.clear", "input_audio_buffer.commit"]
    assert types(scene) == expected
    assert scene.relay.received[0]["session"]["audio"]["input"]["turn_detection"] is None
    assert scene.page.page.text_content("#notice") == ""


def test_a_press_too_short_to_be_a_turn_is_no_turn(scene: Scene) -> None:
    scene.live()
    page = scene.page.page
    page.locator("#hold").hover()
    page.mouse.down()
    page.mouse.up()
    assert page.inner_text("#notice") == "Hold while you speak."
    assert types(scene) == ["session.update", "input_audio_buffer.clear", "input_audio_buffer.clear"]


def test_a_drain_waits_for_the_turn_and_comes_back_with_a_fresh_token(scene: Scene) -> None:
    scene.live()
    scene.relay.listen()
    scene.page.wait_for("airlock.facts.hearing")
    scene.relay.send("airlock.session.draining", ends_at=0)
    scene.page.wait_for("document.getElementById('notice').textContent.startsWith('The relay is restarting.')")
    assert scene.page.counter("tokens") == 1
    assert scene.page.page.evaluate("airlock.facts.phase") == "live"
    scene.relay.send("input_audio_buffer.speech_stopped", item_id="item_you")
    scene.relay.send("response.created", response={"id": "resp_a"})
    scene.relay.send("response.done", response={"id": "resp_a", "status": "completed"})
    scene.page.wait_for("airlock.counters.tokens === 2 && airlock.facts.phase === 'live'")
    reconnected = "Reconnected. The assistant starts fresh; your transcript is still here."
    assert reconnected in scene.page.turns()
    assert any("How long does one pass last?" in turn for turn in scene.page.turns())
    assert scene.page.watched("tracks.map((track) => track.readyState)") == ["live"]


def test_an_offline_browser_is_noticed_at_once(scene: Scene) -> None:
    scene.live()
    scene.page.page.context.set_offline(True)
    scene.page.wait_until("reconnecting")
    scene.page.page.context.set_offline(False)
    scene.page.wait_for("airlock.facts.phase === 'live'")
    assert scene.page.counter("tokens") == 2


def test_the_inspector_is_closed_and_shows_neither_audio_nor_secrets(scene: Scene) -> None:
    scene.speaking()
    page = scene.page.page
    scene.page.wait_for("airlock.counters.sentSamples > 9600")
    lines = page.locator("#event-lines")
    assert not lines.is_visible()
    page.get_by_text("Events", exact=True).click()
    scene.page.wait_for("document.querySelectorAll('#event-lines li').length > 3")
    shown = lines.inner_text()
    for words in (
        "← session.created",
        "→ input_audio_buffer.append",
        "← response.output_audio.delta",
        "bytes of audio",
    ):
        assert words in shown
    assert "ek_" not in shown
    assert max(len(word) for word in shown.split()) < 300
    assert page.locator("#event-lines li").count() <= 200


def test_the_transcript_can_be_saved_and_copied(scene: Scene) -> None:
    scene.hearing()
    page = scene.page.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write", "microphone"])
    scene.page.wait_for("document.querySelector('.mark') !== null")
    with page.expect_download() as download:
        scene.page.press("Save")
    saved = download.value.path().read_text("utf-8")
    assert saved.startswith("You: How long does one pass last?\nAssistant: Five")
    assert " — interrupted\n" in saved
    scene.page.press("Copy")
    scene.page.wait_for("document.getElementById('notice').textContent === 'Transcript copied.'")
    assert page.evaluate("navigator.clipboard.readText()") == saved


def test_a_voice_is_asked_for_and_done_without_where_it_is_locked(scene: Scene) -> None:
    bodies = []
    answer = scene.relay.mint

    def locked(route: Route) -> None:
        bodies.append(json.loads(route.request.post_data or ""))
        if "session" in bodies[-1]:
            error = {"code": "invalid_request", "param": "session.audio.output.voice", "message": "Locked."}
            route.fulfill(status=400, json={"error": error})
        else:
            answer(route)

    scene.relay.mint = locked
    page = scene.page.page
    page.get_by_text("Settings").click()
    page.get_by_label("Voice, from").select_option("cedar")
    scene.start()
    scene.page.wait_for("airlock.facts.phase === 'live'")
    assert bodies == [{"session": {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}}, {}]
    assert page.inner_text("#notice") == "The voice cannot be chosen here."


def test_the_screen_stays_awake_while_a_session_lives(scene: Scene) -> None:
    scene.script("""window.locks = [];
        const ask = navigator.wakeLock.request.bind(navigator.wakeLock);
        navigator.wakeLock.request = async (kind) => locks[locks.push(await ask(kind)) - 1];""")
    scene.live()
    scene.page.wait_for("locks.length === 1 && !locks[0].released")
    scene.script("document.dispatchEvent(new Event('visibilitychange'))")
    scene.page.wait_for("locks.length === 2")
    scene.page.press("End")
    scene.page.wait_for("locks.at(-1).released")


def test_another_microphone_takes_over_within_the_session(scene: Scene) -> None:
    scene.live()
    page = scene.page.page
    scene.page.wait_for("document.querySelectorAll('#microphone option').length > 1")
    page.locator("#microphone").select_option(index=1)
    scene.page.wait_for("watched.tracks.length === 2 && watched.tracks[0].readyState === 'ended'")
    sent = scene.page.counter("sentSamples")
    scene.page.wait_for(f"airlock.counters.sentSamples > {sent}")
    assert scene.page.counter("tokens") == 1


def test_a_microphone_that_is_gone_is_replaced_by_the_default_one(scene: Scene) -> None:
    scene.script("""const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wanted) => {
            if (wanted.audio.deviceId) throw new OverconstrainedError("deviceId");
            return ask(wanted);
        }""")
    scene.script("airlock.start({ microphoneId: 'unplugged' })")
    scene.page.wait_for("airlock.facts.phase === 'live'")
    assert scene.page.text("#notice") == "The microphone you chose is not there. The default one is used."


def test_the_receipt_is_the_relay_s_words_or_the_page_s_own_count(scene: Scene) -> None:
    scene.speaking()
    scene.relay.send("response.done", response={"id": "resp_a", "status": "completed", "usage": {"total_tokens": 321}})
    scene.page.wait_for("airlock.counters.usedTokens === 321")
    scene.page.press("End")
    receipt = " ".join(scene.page.text("#receipt").split())
    for words in ("Counted by this page", "It answered with 8.0 s of audio", "Tokens used 321", "relay nothing"):
        assert words in receipt


def test_the_end_of_a_session_is_told_at_one_minute_and_at_ten_seconds(scene: Scene) -> None:
    scene.page.page.evaluate("""() => {
        window.told = [];
        const status = document.getElementById("status");
        new MutationObserver(() => told.push(status.textContent)).observe(status, { childList: true });
    }""")
    scene.live()
    for seconds in (60, 10):
        scene.relay.send("airlock.session.expiring", seconds_left=seconds, ends_at=0)
        scene.page.wait_for(f"told.includes('{seconds} seconds left.')")
    assert scene.page.page.evaluate("told.filter((words) => words.endsWith('left.')).length") == 2


def test_a_double_click_is_one_click(scene: Scene) -> None:
    """Else whoever ends a session like that has the microphone on again."""
    button = scene.page.page.locator("#main")
    button.dblclick()
    scene.page.wait_for("airlock.facts.phase === 'live'")
    button.dblclick()
    assert scene.page.state == "ended"
    assert scene.page.counter("tokens") == 1


def test_a_key_held_down_is_one_press(scene: Scene) -> None:
    keyboard = scene.page.page.keyboard
    scene.page.page.locator("#main").focus()
    keyboard.down("Enter")
    scene.page.wait_for("airlock.facts.phase === 'live'")
    keyboard.down("Enter")  # which the driver reports as a repetition
    assert scene.page.page.evaluate("airlock.facts.phase") == "live"
    keyboard.up("Enter")


def test_who_types_twice_sees_that_the_first_answer_was_cut(scene: Scene) -> None:
    scene.type()
    scene.page.wait_for("airlock.state === 'thinking'")
    scene.relay.send("response.output_text.delta", **place_of("a"), delta="Hello to")
    scene.page.wait_for("document.querySelectorAll('#turns > li').length === 2")
    scene.type()
    assert scene.page.turns()[1] == "Assistant Hello to — interrupted"
    assert scene.page.page.get_attribute("#turns li.assistant", "aria-busy") == "false"


def test_a_paused_page_shows_no_voice(scene: Scene) -> None:
    scene.live()
    scene.script("void watched.contexts[0].suspend()")
    scene.page.wait_until("paused")
    levels = "() => { window.levels = 0; airlock.addEventListener('level', () => (levels += 1)); }"
    scene.page.page.evaluate(levels)
    scene.page.wait_for("levels > 20")
    assert not scene.page.page.evaluate("document.querySelector('.moving')")


def test_a_quiet_room_is_no_wrong_microphone(scene: Scene) -> None:
    scene.script("""navigator.mediaDevices.getUserMedia = async () => {
        const context = new AudioContext();
        const microphone = new MediaStreamAudioDestinationNode(context);
        const breath = new OscillatorNode(context);
        breath.connect(new GainNode(context, { gain: 0.0004 })).connect(microphone);
        breath.start();
        return microphone.stream;
    }""")
    scene.live()
    scene.page.page.wait_for_timeout(6500)  # nothing happens, which cannot be awaited
    assert scene.page.text("#notice") == ""


def test_a_microphone_is_changed_while_reconnecting_and_never_asked_for_by_a_text_session(scene: Scene) -> None:
    scene.live()
    scene.page.wait_for("document.querySelectorAll('#microphone option').length > 1")
    mint = scene.relay.mint
    scene.relay.ignore()
    scene.relay.close(1012)
    scene.page.wait_until("reconnecting")
    chosen = scene.page.page.locator("#microphone").select_option(index=1)
    scene.page.wait_for("watched.tracks.length === 2 && watched.tracks[0].readyState === 'ended'")
    assert [scene.page.watched("tracks[1].getSettings().deviceId")] == chosen
    scene.page.press("End")

    scene.relay.mint = mint
    scene.type()
    scene.page.wait_for("airlock.facts.phase === 'live'")
    assert not scene.page.page.locator("#microphone").is_visible()
    assert scene.page.watched("tracks.length") == 2


def test_who_types_goes_on_seeing_the_field(scene: Scene) -> None:
    scene.ready()
    page = scene.page.page
    page.set_viewport_size({"width": 390, "height": 500})
    page.locator("#composer").scroll_into_view_if_needed()
    for line in range(30):
        scene.relay.send("response.output_text.delta", **place_of("b"), delta=f"Line {line}.\n")
    scene.page.wait_for("document.getElementById('turns').textContent.includes('Line 29.')")
    assert page.evaluate("document.getElementById('composer').getBoundingClientRect().bottom < innerHeight + 1")
