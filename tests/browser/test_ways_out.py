"""Nobody is left standing at an error: its button leads on once the cause is gone, and so does typing."""

import pytest

from tests.browser.screens import SCREENS, Screen
from tests.browser.scripted_relay import Scene

pytestmark = pytest.mark.browser

LEADS_BACK = ("Start again", "Try again", "Get a new one")
BACK = [screen for screen in SCREENS if set(screen.buttons) & set(LEADS_BACK) and screen.name != "quota"]
TYPED = [screen for screen in SCREENS if "Type instead" in screen.buttons]
REPAIR = "delete navigator.mediaDevices.getUserMedia; delete navigator.permissions.query;"


def reach(scene: Scene, screen: Screen) -> None:
    mint = scene.relay.mint
    screen.reach(scene)
    scene.page.wait_until(screen.name)
    scene.relay.mint = mint


@pytest.mark.parametrize("screen", BACK, ids=lambda screen: screen.name)
def test_its_button_leads_back_to_a_conversation(scene: Scene, screen: Screen) -> None:
    reach(scene, screen)
    scene.script(REPAIR)
    assert scene.page.page.inner_text("#main") in LEADS_BACK
    scene.page.page.locator("#main").click()
    scene.page.wait_for("airlock.facts.phase === 'live' && airlock.facts.mode === 'voice'")


@pytest.mark.parametrize("screen", TYPED, ids=lambda screen: screen.name)
def test_typing_is_a_way_on(scene: Scene, screen: Screen) -> None:
    reach(scene, screen)
    tracks = scene.page.watched("tracks.length")
    scene.page.press("Type instead")
    scene.page.wait_for("airlock.facts.phase === 'live' && airlock.facts.mode === 'text'")
    assert scene.page.page.evaluate("document.activeElement.id") == "message"
    assert scene.page.counter("tokens") == 1
    assert scene.page.watched("tracks.length") == tracks
    assert scene.page.watched("tracks.every((track) => track.readyState === 'ended')")


def test_a_lost_microphone_is_replaced_by_the_one_that_is_chosen(scene: Scene) -> None:
    reach(scene, next(screen for screen in SCREENS if screen.name == "lost-microphone"))
    page = scene.page.page
    scene.page.press("Choose a microphone")
    assert page.evaluate("document.activeElement.id") == "microphone"
    chosen = page.locator("#microphone").select_option(index=2)
    scene.page.press("Start again")
    scene.page.wait_for("airlock.facts.phase === 'live'")
    assert [scene.page.watched("tracks.at(-1).getSettings().deviceId")] == chosen


def test_a_busy_service_lets_nobody_in_before_its_time(scene: Scene) -> None:
    reach(scene, next(screen for screen in SCREENS if screen.name == "busy"))
    page = scene.page.page
    assert page.locator("#main").is_disabled()
    assert page.locator("#send").is_disabled()
    assert not page.locator("#type").is_visible()


def test_sign_in_asks_the_site_again(scene: Scene) -> None:
    reach(scene, next(screen for screen in SCREENS if screen.name == "signed-out"))
    with scene.page.page.expect_navigation():
        scene.page.press("Sign in")
    assert scene.page.state == "idle"


def test_the_secure_address_is_the_same_page_over_https(scene: Scene) -> None:
    reach(scene, next(screen for screen in SCREENS if screen.name == "insecure"))
    page = scene.page.page
    secure = page.url.replace("http:", "https:")
    with page.expect_request(lambda request: request.is_navigation_request()) as asked:
        scene.page.press("Open the https address")
    assert asked.value.url == secure
