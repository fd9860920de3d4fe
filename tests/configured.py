"""Settings and secrets from values that a test gives, without an environment."""

from __future__ import annotations

from typing import Any, TypeVar

from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from service_kit.secrets import Secrets, SecretsT
from service_kit.settings import ServiceSettings
from service_kit.upstreams import AZURE_KEY, OPENAI_KEY
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)

TokenServiceConfiguration = tuple[TokenServiceSettings, Secrets[TokenServiceSecrets]]
RelayConfiguration = tuple[RelaySettings, Secrets[RelaySecrets]]


def configured_token_service(**given: Any) -> TokenServiceConfiguration:
    """The token service's; ``given`` are fields of its settings and of its secrets."""
    return _configured(TokenServiceSettings, TokenServiceSecrets, given)


def configured_relay(**given: Any) -> RelayConfiguration:
    """The relay's; an upstream's key has the name of its variable, in lower case."""
    keys = {
        name: given.pop(name.replace("-", "_")) for name in (AZURE_KEY, OPENAI_KEY) if name.replace("-", "_") in given
    }
    return _configured(RelaySettings, RelaySecrets, given | {"upstream_keys": keys})


def _configured(
    settings_class: type[SettingsT], secrets_class: type[SecretsT], given: dict[str, Any]
) -> tuple[SettingsT, Secrets[SecretsT]]:
    secret = {name: value for name, value in given.items() if name in secrets_class.model_fields}
    settings = settings_class(**{name: value for name, value in given.items() if name in settings_class.model_fields})
    return settings, Secrets(secrets_class.model_validate(secret, context=dict(settings)))
