"""The page as production serves it: https, behind the edge, with the model's connection over TLS too."""

from pathlib import Path

import pytest

from tests.browser.conftest import Launch
from tests.browser.microphone_page import MicrophonePage
from tests.browser.speech import Speech
from tests.cloud import Cloud

pytestmark = pytest.mark.browser


def test_a_spoken_turn_in_production_mode(launch: Launch, question: Speech, tmp_path: Path) -> None:
    with Cloud(tmp_path) as cloud:
        context = launch(question.path).new_context(ignore_https_errors=True)  # it knows no throw-away authority
        page = MicrophonePage(context.new_page(), cloud.page_url)
        page.press("Start talking")
        page.wait_until_quiet()
        _, assistant = page.turns()
        assert assistant.startswith("Assistant I heard")
        assert "simulator" in page.text("main").lower()
        page.press("End")
        page.wait_until("ended")
        assert page.complaints() == []
