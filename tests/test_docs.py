"""The documents say what the code does: codes, settings, links, and the tests that pages name."""

import re
from pathlib import Path
from typing import get_args

import pytest

from relay import policy
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from scripts.print_errors import errors_page
from service_kit.profiles import CLIENT_CONTENT, CLIENT_EVENTS
from service_kit.secrets import variable_of
from service_kit.session_fields import FIELDS
from token_service.callers import CallerKey
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

ROOT = Path(__file__).parent.parent
LAUNCHER_ONLY = {"AIRLOCK_PAGE_PORT", "AIRLOCK_RELAY_PORT"}


def test_errors_page_is_the_error_table() -> None:
    assert (ROOT / "docs/errors.md").read_text(encoding="utf-8") == errors_page()


def test_env_example_lists_exactly_the_settings() -> None:
    listed = set(re.findall(r"^# ([A-Z][A-Z0-9_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M))
    fields = TokenServiceSettings.model_fields.keys() | RelaySettings.model_fields.keys()
    secrets = {*TokenServiceSecrets.understood({}), *RelaySecrets.understood({})}
    assert listed == {name.upper() for name in fields} | set(map(variable_of, secrets)) | LAUNCHER_ONLY


PAGES = [
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_files_that_the_readme_names_exist() -> None:
    named = set(
        re.findall(r"`((?:relay|service_kit|token_service|scripts)/[a-z_/]+\.py)`", (ROOT / "README.md").read_text())
    )
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/faults.md", "docs/threats.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    """Tests are named as ``tests/path.py::test_name`` (Python) or ``tests/path.test.mjs`` (page)."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert len(named) >= 20
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_limits_page_names_every_limit_and_ceiling() -> None:
    text = (ROOT / "docs/limits.md").read_text(encoding="utf-8")
    settings = TokenServiceSettings.model_fields.keys() | RelaySettings.model_fields.keys()
    limits = {name for name in settings if re.match(r"mints_|max_sessions|quota_|tenant_quota_", name)}
    own = {name for name in limits & CallerKey.model_fields.keys() if not name.startswith("tenant_")}
    assert len(limits) == 13
    assert [name for name in sorted(limits) if f"`{name.upper()}`" not in text] == []
    assert [name for name in sorted(own) if f"`{name}`" not in text] == []


def test_policy_page_names_every_event_and_field() -> None:
    text = (ROOT / "docs/policy.md").read_text(encoding="utf-8")
    events = {name for event in get_args(policy._Events) for name in event.__struct_fields__}
    items = {
        name
        for part in (
            policy._UserMessage,
            policy._FunctionCallOutput,
            policy._InputText,
            policy._InputAudio,
            policy._InputImage,
        )
        for name in part.__struct_fields__
    }
    known = CLIENT_EVENTS | CLIENT_CONTENT | FIELDS.keys() | policy._RESPONSE_FIELDS | events | items
    assert [name for name in sorted(known) if f"`{name}`" not in text] == []
