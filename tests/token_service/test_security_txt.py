from __future__ import annotations

from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from tests.serving import serving
from tests.token_service.conftest import MakeSettings
from token_service.app import create_app
from token_service.security_txt import PATH, check_contact

CONTACT = "mailto:security@voice.example"


async def test_it_names_the_contact_and_runs_out_within_a_year(make_settings: MakeSettings) -> None:
    app = create_app(*make_settings(security_contact=CONTACT))
    async with serving(app) as port, aiohttp.request("GET", f"http://127.0.0.1:{port}{PATH}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        lines = dict(line.split(": ", 1) for line in (await response.text()).splitlines())
    assert lines["Contact"] == CONTACT
    left = datetime.fromisoformat(lines["Expires"]) - datetime.now(UTC)
    assert timedelta(days=30) < left < timedelta(days=365)


async def test_without_a_contact_there_is_none(make_settings: MakeSettings) -> None:
    app = create_app(*make_settings())
    async with serving(app) as port, aiohttp.request("GET", f"http://127.0.0.1:{port}{PATH}") as response:
        assert response.status == 404


@pytest.mark.parametrize("contact", ["mailto:a@b.example", "https://voice.example/security"])
def test_a_contact_is_an_address(contact: str) -> None:
    assert check_contact(contact) == contact


@pytest.mark.parametrize(
    "contact", ["security@voice.example", "http://voice.example", "mailto:", "https://a b", "mailto:a@b\nContact: x"]
)
def test_anything_else_is_refused(contact: str) -> None:
    with pytest.raises(ValueError, match="must be an address"):
        check_contact(contact)
