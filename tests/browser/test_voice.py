"""A spoken turn: what the model hears, what the person hears, what both can read."""

import numpy as np
import pytest

from tests.browser.conftest import Launch, OpenPage
from tests.browser.simulator import SimulatorHandle
from tests.browser.speech import Speech, correlation, envelope_correlation, figures

pytestmark = pytest.mark.browser


def test_speech_reaches_the_model_unchanged(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle, question: Speech
) -> None:
    """On a machine that is too busy the browser's fake microphone skips, so one of three tries must be whole."""
    heard = 0.0
    for _ in range(3):
        page = open_page(launch(question.path), "?raw=1")
        page.press("Start talking")
        page.wait_until_quiet()
        received = simulator.received_audio()
        page.press("End")
        assert np.abs(received).max() > 0.1
        heard = correlation(received, question.samples)
        if heard > 0.98:
            figures("microphone to model, processing off: r", heard)
            return
    pytest.fail(f"correlation {heard:.2f}")


def test_a_spoken_turn_as_shipped(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle, question: Speech
) -> None:
    page = open_page(launch(question.path))
    page.press("Start talking")
    page.wait_until_quiet()

    alike = envelope_correlation(simulator.received_audio(), question.samples)
    assert alike > 0.7
    sent = simulator.sent_audio()
    assert page.counter("playedSamples") == page.counter("receivedSamples") == len(sent)
    assert page.counter("underruns") == 0
    page.page.wait_for_timeout(1500)  # the tap hands over whole blocks, two thirds of a second each
    played = correlation(page.heard(), sent)
    assert played > 0.9999
    figures("microphone to model, as shipped: envelope r", alike, "; model to loudspeaker: r", played)

    answer = page.counter("lastAnswer")
    assert 0 < answer["fromFirstDelta"] < answer["milliseconds"] < 5000
    figures("last sample to socket, ms", page.counter("captureMilliseconds"))
    figures("ping to the relay and back, ms", page.counter("roundTripMilliseconds"))
    figures("first delta to audible, ms", answer["fromFirstDelta"], "; end of turn to audible", answer["milliseconds"])

    you, assistant = page.turns()
    assert you.startswith("You (")
    assert you.endswith("seconds of speech)")
    assert assistant.startswith("Assistant I heard")
    page.press("End")


def test_each_start_uses_a_token_of_its_own(launch: Launch, open_page: OpenPage, question: Speech) -> None:
    page = open_page(launch(question.path))
    page.press("Start talking")
    page.wait_until("listening", "hearing")
    page.press("End")
    page.press("Start again")
    page.wait_until("listening", "hearing")
    page.press("End")
    first, second = page.tokens()
    assert first != second
    assert first.startswith("ek_")
    assert page.counter("tokens") == 1, "each session counts anew"
    assert first not in page.page.content()


def test_the_end_lets_go_of_everything(launch: Launch, open_page: OpenPage, question: Speech) -> None:
    page = open_page(launch(question.path))
    page.press("Start talking")
    page.wait_until("listening", "hearing")
    assert page.watched("tracks.map((track) => track.readyState)") == ["live"]
    page.press("End")
    assert page.state == "ended"
    page.wait_for("watched.contexts.every((context) => context.state === 'closed')")
    assert page.watched("tracks.map((track) => track.readyState)") == ["ended"]
    assert page.watched("contexts.length") == 2
    sent = page.counter("sentSamples")
    page.page.wait_for_timeout(200)
    assert page.counter("sentSamples") == sent
    assert "Microphone off." in page.text("#hint")


def test_mute_sends_silence_until_no_turn_can_be_open(launch: Launch, open_page: OpenPage, question: Speech) -> None:
    page = open_page(launch(question.path))
    page.press("Start talking")
    page.wait_until("hearing")
    page.press("Mute")
    # The silence ends the turn, the answer is played, and then nothing more is sent.
    page.wait_for(
        "airlock.counters.receivedSamples > 0 && airlock.counters.playedSamples === airlock.counters.receivedSamples"
    )
    page.wait_until("muted")
    page.page.wait_for_timeout(1600)
    sent = page.counter("sentSamples")
    page.page.wait_for_timeout(200)
    assert page.counter("sentSamples") == sent
    assert page.text("#heading") == "Muted."
    page.press("Unmute")
    page.wait_until("listening")
    page.press("End")


def test_a_lost_connection_comes_back_with_another_token(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle
) -> None:
    page = open_page(launch())
    page.press("Start talking")
    page.wait_until("listening", "hearing")
    simulator.abort()
    page.wait_until("reconnecting")
    assert page.text("#heading") == "The connection dropped."
    page.wait_until("listening", "hearing")
    assert any("Reconnected." in turn for turn in page.turns())
    assert len(set(page.tokens())) == 2
    assert page.watched("tracks.map((track) => track.readyState)") == ["live"]
    page.press("End")


def test_hold_to_talk_ends_the_turn_on_release_outside_the_button(
    launch: Launch, open_page: OpenPage, simulator: SimulatorHandle, question: Speech
) -> None:
    page = open_page(launch(question.path))
    page.press("Start talking")
    page.wait_until("listening", "hearing")
    mouse = page.page.mouse
    box = page.page.locator("#hold").bounding_box()
    assert box
    mouse.move(box["x"] + 20, box["y"] + 20)
    mouse.down()
    page.wait_until("hearing")
    page.page.wait_for_timeout(600)
    mouse.move(5, 5)
    mouse.up()
    simulator.wait_received("input_audio_buffer.commit")
    page.wait_until("hold")
    page.wait_for(
        "airlock.counters.receivedSamples > 0 && airlock.counters.playedSamples === airlock.counters.receivedSamples"
    )
    assert simulator.received("session.update")[-1]["session"]["audio"]["input"]["turn_detection"] is None
    sent = page.counter("sentSamples")
    page.page.wait_for_timeout(200)
    assert page.counter("sentSamples") == sent
    page.press("Hands-free")
    page.wait_until("listening", "hearing")
    page.press("End")
