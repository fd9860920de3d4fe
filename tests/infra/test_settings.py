"""What the templates tell the services is what the services read, and production starts with it."""

from pathlib import Path

import pytest

from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from scripts.build_image_root import instructions
from service_kit.secrets import SharedSecrets
from service_kit.settings import ServiceSettings
from tests.infra.bicep import FOLDER, Deployed, parameters_of
from tests.infra.installation import ENVIRONMENT, FOOTPRINTS, app_of, container_of, installed, installed_with, told
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, tuple[type[ServiceSettings], type[SharedSecrets]]] = {
    "token_service": (TokenServiceSettings, TokenServiceSecrets),
    "relay": (RelaySettings, RelaySecrets),
}
VARIANTS = {
    "small": lambda: installed("small"),
    "production": lambda: installed("production"),
    "Azure OpenAI alone": lambda: installed("production", AIRLOCK_AZURE_OPENAI="true"),
    "Azure OpenAI before OpenAI": lambda: installed_with(deployAzureOpenAi=True, useOpenAi=True),
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)
every_service = pytest.mark.parametrize("service", SERVICES)


def settings_of(deployed: Deployed, service: str, environment: pytest.MonkeyPatch) -> ServiceSettings:
    """The service's settings, as they are read at its start. Raises ValidationError."""
    for name, value in told(app_of(deployed, service)).items():
        environment.setenv(name, value)
    environment.chdir(ROOT)  # where the profiles file is, as in the image
    return SERVICES[service][0]()


@every_variant
@every_service
def test_it_is_told_only_what_it_reads(variant: str, service: str) -> None:
    fields = {name.upper() for name in SERVICES[service][0].model_fields}
    names = told(app_of(VARIANTS[variant](), service)).keys()
    assert not names - fields
    assert {f"# {name}=" for name in names} <= {
        line[: line.index("=") + 1] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line
    }


@every_variant
@every_service
def test_production_starts_with_it(variant: str, service: str, bare_environment: pytest.MonkeyPatch) -> None:
    settings = settings_of(VARIANTS[variant](), service, bare_environment)
    assert settings.airlock_env == "production"
    assert settings.allowed_origins == ("https://host.example.com",)
    assert settings.azure_front_door_id
    assert settings.redis_auth == settings.telemetry_auth == "entra"
    assert settings.telemetry_backend != "none"


@every_variant
@every_service
def test_it_may_read_the_secrets_that_it_needs_and_no_other(
    variant: str, service: str, bare_environment: pytest.MonkeyPatch
) -> None:
    deployed = VARIANTS[variant]()
    settings = settings_of(deployed, service, bare_environment)
    symbol = {"token_service": "tokenService", "relay": "relay"}[service]
    roles = deployed.modules[symbol].of_type("Microsoft.Authorization/roleAssignments")
    assert {role.body["scope"].name for role in roles} == set(SERVICES[service][1].needed(dict(settings)))
    assert {role.body["scope"].type for role in roles} == {"Microsoft.KeyVault/vaults/secrets"}


@every_service
def test_no_secret_is_among_what_it_is_told(service: str) -> None:
    secrets = {name for _, each in SERVICES.values() for name in each.understood({})}
    names = told(app_of(installed("production"), service)).keys()
    assert not names & {name.replace("-", "_").upper() for name in secrets}


def test_the_address_of_redis_is_one_that_production_takes() -> None:
    address = installed("production").outputs["AIRLOCK_REDIS_ADDRESS"]
    known = {"redis_mode": "single", "redis_auth": "entra", "airlock_env": "production"}
    values = {"redis_url": address, "token_signing_keys": "k" * 32, "pseudonym_key": "k" * 32}
    assert SharedSecrets.model_validate(values, context=known).redis_url.get_secret_value() == address


@pytest.mark.parametrize("footprint", FOOTPRINTS)
def test_settings_that_a_footprint_adds_are_settings(footprint: str) -> None:
    given = parameters_of(FOLDER / f"{footprint}.bicepparam", ENVIRONMENT)
    both = TokenServiceSettings.model_fields.keys() & RelaySettings.model_fields.keys()
    assert {name.lower() for name in given.get("settings", {})} <= both
    assert {name.lower() for name in given.get("tokenServiceSettings", {})} <= TokenServiceSettings.model_fields.keys()
    assert {name.lower() for name in given.get("relaySettings", {})} <= RelaySettings.model_fields.keys()


def test_production_serves_the_page_where_people_may_mint_from_it() -> None:
    for callers, served in (("api_key", "false"), ("anonymous,api_key", "true")):
        app = app_of(installed("production", AIRLOCK_CALLERS=callers), "token_service")
        assert (told(app)["CALLERS"], told(app)["SERVE_PAGE"]) == (callers, served)


def test_a_setting_of_one_s_own_reaches_whom_it_is_for() -> None:
    deployed = installed_with(
        settings={"MAX_SESSIONS_PER_SUBJECT": "1"},
        tokenServiceSettings={"OIDC_ISSUER": "https://issuer.example.com"},
        relaySettings={"MAX_SESSIONS": "7"},
    )
    token_service, relay = told(app_of(deployed, "token_service")), told(app_of(deployed, "relay"))
    assert token_service["MAX_SESSIONS_PER_SUBJECT"] == relay["MAX_SESSIONS_PER_SUBJECT"] == "1"
    assert "OIDC_ISSUER" in token_service
    assert "OIDC_ISSUER" not in relay
    assert relay["MAX_SESSIONS"] == "7"


@every_service
def test_the_command_is_one_that_the_image_has(service: str) -> None:
    copied = [rest.split()[0] for name, rest in instructions((ROOT / "Dockerfile").read_text()) if name == "COPY"]
    assert container_of(app_of(installed("small"), service))["command"] == ["python", "-m", service]
    assert service in copied


@every_service
def test_nobody_is_killed_before_the_drain_is_over(service: str) -> None:
    for seconds in (25, 300):
        app = app_of(installed_with(drainSeconds=seconds), service)
        assert told(app)["DRAIN_SECONDS"] == str(seconds)
        assert app.properties["template"]["terminationGracePeriodSeconds"] >= seconds + 10
