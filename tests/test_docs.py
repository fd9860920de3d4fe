"""The documents say what the code does: codes, settings, links, and the tests that pages name."""

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from bench.keeping import page_with_tables
from local_cloud.conformance.catalogue import CHECKS, GROUPS
from relay import policy
from relay.beta import BETA_NAMES, SAME_NAMES, TRANSCRIPTION_NAMES
from relay.leases import LEASE_SECONDS
from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from scripts import print_configuration, print_conformance, print_telemetry
from scripts.print_errors import errors_page
from service_kit.beta_session import GA_PATHS, GONE, SAME
from service_kit.live_entries import ENTRY_SECONDS
from service_kit.profiles import CLIENT_CONTENT, CLIENT_EVENTS
from service_kit.revocation import END_SECONDS, LONGEST_SESSION_SECONDS
from service_kit.secrets import variable_of
from service_kit.session_fields import FIELDS
from service_kit.session_token import MAX_TOKEN_SECONDS
from service_kit.tally import KEPT_SECONDS
from tests import named_tests
from token_service.backoff import REMEMBERED_SECONDS
from token_service.callers import CallerKey
from token_service.mint_rates import WINDOW_SECONDS
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

ROOT = Path(__file__).parent.parent
PACKAGES = ("relay", "service_kit", "token_service")
LAUNCHER_ONLY = {"AIRLOCK_PAGE_PORT", "AIRLOCK_RELAY_PORT"}


def test_telemetry_page_has_the_tables_of_the_catalogue() -> None:
    assert print_telemetry.PAGE.text() == print_telemetry.PAGE.renewed()
    assert "`airlock_mints_total`" in print_telemetry.PAGE.text()


def test_conformance_page_has_the_table_of_the_checks() -> None:
    assert print_conformance.PAGE.text() == print_conformance.PAGE.renewed()


def test_scores_of_the_conformance_page_are_of_these_checks() -> None:
    text = (ROOT / "docs/conformance.md").read_text(encoding="utf-8")
    scores = re.findall(r"^\| ([a-z-]+) \| (\d+) \| (.+) \|$", text, re.M)
    numbers = {group: len([check for check in CHECKS if check.group == group]) for group in GROUPS}
    assert {group: int(number) for group, number, _ in scores} == {**numbers, "all": len(CHECKS)}
    for _, number, columns in scores:
        assert [sum(map(int, column.split("/"))) for column in columns.split("|")] == [int(number)] * 3


def test_performance_page_has_the_figures_of_the_published_results() -> None:
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert text == page_with_tables(text)
    assert "| **Airlock** |" in text


def test_configuration_page_has_what_the_example_says() -> None:
    assert print_configuration.PAGE.text() == print_configuration.PAGE.renewed()
    assert "| `REDIS_URL` | both |" in print_configuration.PAGE.text()


def test_logs_page_has_every_event_and_no_other() -> None:
    sources = "\n".join(
        path.read_text(encoding="utf-8") for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))
    )
    written = set(re.findall(r"\b(?:\w*log|audit)\.(?:info|warning|error)\(\s*\"([a-z_.]+)\"", sources))
    assert len(written) >= 30
    text = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    table = text[text.index("| Event |") : text.index("## The receipt")]
    said = {name for line in table.splitlines() for name in re.findall(r"`([a-z_.]+)`", line.split(" | ")[0])}
    assert written - said == set()
    assert [name for name in sorted(said) if f'"{name}"' not in sources] == []


def test_architecture_page_names_every_kind_of_redis_key() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for path in (path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))):
        for key in re.findall(r'f"airlock:\{[a-z_.]+\}:([a-z]+)', path.read_text(encoding="utf-8")):
            assert f"`airlock:<env>:{key}" in text, f"{path.name}: {key}"


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


def test_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:relay|service_kit|token_service|scripts)/[a-z_/]+\.py)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", named_tests.PAGES)
def test_every_test_that_a_page_names_exists(page: str) -> None:
    """Tests are named as ``tests/path.py::test_name`` (Python) or ``tests/path.test.mjs`` (page)."""
    named = sorted(named_tests.named_tests(page, soak=True))
    assert named
    missing = []
    for path, name in (test.split("::") for test in named):
        source = ROOT / path
        if not source.is_file() or f"def {name}(" not in source.read_text(encoding="utf-8"):
            missing.append(f"{path}::{name}")
    assert missing == []


def test_make_test_fails_where_a_named_test_did_not_run() -> None:
    """The plugin itself: run with one named test out of all, it fails and says what is missing."""
    one = sorted(named_tests.named_tests("docs/controls.md", soak=False))[0]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.named_tests", "--no-header", "tests/test_project.py"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"NAMED BY A PAGE, NOT PASSED {one}" in run.stdout
    assert "tests/test_project.py::" not in run.stdout
    assert "-p tests.named_tests" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_every_control_has_a_state_and_what_is_built_a_test() -> None:
    text = (ROOT / "docs/controls.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")
    ]
    controls = [row for row in rows if row[0] not in ("Control", "Requirement", "---")]
    assert len(controls) > 80
    assert [row for row in controls if len(row) != 4] == []
    assert [row for row in controls if row[2] not in ("built", "template", "operator", "none needed")] == []
    assert [row for row in controls if row[2] in ("built", "template") and "::test_" not in row[3]] == []


def test_security_page_s_retention_is_the_code_s() -> None:
    rows = {
        line.split(" | ")[0].removeprefix("| "): line.split(" | ")[2]
        for line in (ROOT / "SECURITY.md").read_text(encoding="utf-8").splitlines()
        if line.count(" | ") == 3
    }
    assert rows["what a token stands for"] == f"{MAX_TOKEN_SECONDS} s at most"
    assert LEASE_SECONDS == ENTRY_SECONDS
    assert rows["leases, list of live sessions"] == f"{LEASE_SECONDS} s after the last renewal"
    assert (WINDOW_SECONDS, REMEMBERED_SECONDS) == (60, 3_600)
    assert rows["rates; sums of quotas"].startswith("a minute to an hour;")
    assert rows["counts of refusals by code"] == f"{KEPT_SECONDS // 3_600} h"
    assert END_SECONDS == LONGEST_SESSION_SECONDS + 5 * 60
    assert rows["orders and blocks"].startswith("the longest session and 5 min;")


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


def test_beta_page_has_every_field_and_event_with_its_counterpart() -> None:
    text = (ROOT / "docs/beta.md").read_text(encoding="utf-8")
    rows = [
        [re.findall(r"`([^`]+)`", cell) for cell in row.split("|")[1:3]] for row in re.findall(r"^\|.*", text, re.M)
    ]
    pairs = {(left[0], right[0]) for left, right in rows if left and right}
    assert pairs >= {*GA_PATHS.items(), *BETA_NAMES.items(), *TRANSCRIPTION_NAMES.items()}
    named = [set(left) for left, _ in rows]
    assert [names for names in (set(SAME), SAME_NAMES, *({gone} for gone in GONE)) if names not in named] == []
