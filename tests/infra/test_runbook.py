"""The pages about deployment and operation: their commands, names and numbers are the code's and the templates'."""

import re
import shlex
from pathlib import Path

import pytest

from relay.secrets import RelaySecrets
from service_kit.telemetry.catalogue import EVENTS
from tests.infra.bicep import FOLDER
from tests.infra.installation import ENVIRONMENT, FOOTPRINTS, app_of, installed, told
from token_service import api_keys
from token_service.operators import __main__ as operators
from token_service.secrets import TokenServiceSecrets

DOCS = Path(__file__).parents[2] / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text(encoding="utf-8") for name in ("deployment", "runbook")}
BOTH = "\n".join(PAGES.values())
PARSERS = {"operators": operators._parser(), "api_keys": api_keys._parser()}
COMMANDS = re.findall(r"^ *python -m token_service\.(\w+) (.+)$", BOTH, re.MULTILINE)


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_every_command_of_ours_is_one_that_it_takes(module: str, arguments: str) -> None:
    PARSERS[module].parse_args(shlex.split(arguments, comments=True))  # else SystemExit


def test_every_kind_of_order_is_shown() -> None:
    assert len(COMMANDS) > 8
    shown = {arguments.split()[0] for module, arguments in COMMANDS if module == "operators"}
    assert shown >= {"sessions", "end", "revoke", "block", "unblock", "new-key"}


def test_every_secret_is_set_by_a_name_that_the_services_read() -> None:
    known = {*TokenServiceSecrets.understood({}), *RelaySecrets.understood({})}
    named = {*re.findall(r'"\$folder/([a-z-]+)"', BOTH), *re.findall(r"secret set .* --name ([a-z-]+)", BOTH)}
    settings = {"callers": ["api_key"], "operator_port": 8090}
    assert named <= known
    assert named >= {*TokenServiceSecrets.needed(settings), "openai-api-key"}


def test_every_variable_is_one_that_azd_keeps() -> None:
    kept = {*installed("small").outputs, *ENVIRONMENT, "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_ID"}
    for path in FOLDER.glob("*.bicepparam"):
        kept |= set(re.findall(r"readEnvironmentVariable\('(\w+)'", path.read_text(encoding="utf-8")))
    read_by_hooks = {"AIRLOCK_FOOTPRINT"}
    assert set(re.findall(r"\b(?:AIRLOCK|AZURE)_[A-Z_]+\b", BOTH)) <= kept | read_by_hooks


def test_every_alert_has_a_line_and_every_line_an_alert() -> None:
    table = PAGES["runbook"].partition("| Alert |")[2].partition("\n\n")[0]
    alerts = installed("small").of_type("Microsoft.Insights/scheduledQueryRules")
    lines = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    assert lines == {each.name.removeprefix("voice-") for each in alerts}
    assert set(re.findall(r'name == "([a-z.]+)"', PAGES["runbook"])) <= set(EVENTS)


def test_the_footprints_are_as_large_as_the_page_says() -> None:
    table = PAGES["deployment"].partition("| | `small`")[2].partition("\n\n")[0]
    rows = {row.split("|")[1].strip(): row.split("|")[2:4] for row in table.splitlines()[2:]}
    for column, footprint in enumerate(FOOTPRINTS):
        deployed = installed(footprint)
        says = {name: cells[column].strip() for name, cells in rows.items()}
        for service in ("relay", "token_service"):
            scale = app_of(deployed, service).properties["template"]["scale"]
            numbers = f"{scale['minReplicas']} to {scale['maxReplicas']}"
            assert f"{service.replace('_', ' ')} {numbers}" in says["replicas"]
        assert says["live sessions"].startswith(f"{told(app_of(deployed, 'relay'))['MAX_SESSIONS']} for each relay")
        [redis] = deployed.of_type("Microsoft.Cache/redisEnterprise")
        assert says["Redis"].startswith(redis.body["sku"]["name"].removeprefix("Balanced_") + " with")
        [registry] = deployed.of_type("Microsoft.ContainerRegistry/registries")
        assert says["registry"] == registry.body["sku"]["name"]


def test_what_was_not_run_is_said() -> None:
    assert "**Nothing here has run against Azure**" in PAGES["deployment"]
    assert "**not run** against Azure" in PAGES["runbook"]
