"""A service's settings and secrets, read at its start: both, or one message with everything that is wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from service_kit.secrets import (
    Secrets,
    SecretsT,
    check_secrets,
    read_environment,
    secrets_of_environment,
    variable_of,
)
from service_kit.settings import ServiceSettings, fail, noting_what_is_valid, reason_of

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load(
    settings_class: type[SettingsT], secrets_class: type[SecretsT], *, tells_checks: bool = True
) -> tuple[SettingsT, Secrets[SecretsT]]:
    """Read the environment; on any problem print all of them, names and not values, and exit with status 2.

    In production it also prints what was checked, unless somebody else did.

    With ``KEY_VAULT_URL`` the secrets are not there yet: they arrive while :meth:`Secrets.kept` runs.
    """
    problems: list[str] = []
    settings = None
    with noting_what_is_valid() as valid:
        try:
            settings = settings_class()
        except ValidationError as error:
            problems += [_problem(item) for item in error.errors(include_input=False, include_url=False)]
    environment = read_environment()
    given = secrets_of_environment(secrets_class.understood(valid), environment)
    secrets: SecretsT | None = None
    if valid.get("key_vault_url", "") is None:
        secrets, wrong = check_secrets(secrets_class, given, valid)
        problems += [f"{variable_of(name)}: {reason}" for name, reasons in wrong.items() for reason in reasons]
    else:
        problems += _beside_the_vault(secrets_class, environment, given, valid)
    if problems:
        fail(problems)
    assert settings is not None  # noqa: S101 - else there were problems
    if settings.airlock_env == "production" and tells_checks:
        print("Production mode. Checked:", *settings.check_list(), sep="\n  - ", file=sys.stderr)  # noqa: T201
    if secrets is not None:
        return settings, Secrets(secrets)
    return settings, _of_the_vault(secrets_class, settings)


def _of_the_vault(secrets_class: type[SecretsT], settings: ServiceSettings) -> Secrets[SecretsT]:
    # Here, since a service without a vault needs not load Azure's packages.
    from service_kit.key_vault import open_vault
    from service_kit.tls import client_context
    from service_kit.vault_secrets import VaultSecrets

    url, client_id = settings.key_vault_url, settings.azure_client_id
    assert url is not None  # noqa: S101 - else they are the environment's
    return VaultSecrets(
        secrets_class,
        dict(settings),
        lambda: open_vault(url, client_id, client_context(settings.extra_ca_file)),
        refresh_seconds=settings.secrets_refresh_seconds,
    )


def _beside_the_vault(
    secrets_class: type[SecretsT],
    environment: Mapping[str, str],
    given: Mapping[str, SecretStr],
    valid: Mapping[str, Any],
) -> list[str]:
    """What is wrong with secrets that should stand in the vault: that they are here, where anybody can read them.

    In production without a vault they are looked at besides, so that one message names all that must change.
    """
    if any(name.upper() == "KEY_VAULT_URL" for name in environment):
        return [f"{variable_of(name)}: must not be set beside KEY_VAULT_URL" for name in given]
    _, wrong = check_secrets(secrets_class, given, valid)
    return [f"{variable_of(name)}: {reason}" for name, reasons in wrong.items() if name in given for reason in reasons]


def _problem(item: Any) -> str:
    variable, *place = item["loc"] or ("",)
    return f"{str(variable).upper()}: {reason_of(item, place)}" if item["loc"] else reason_of(item, ())
