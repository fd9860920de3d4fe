"""The secrets of a service: what each must look like, and who holds the ones in force.

They come from the environment and ``.env``, or, with ``KEY_VAULT_URL``, from Key Vault alone
(:mod:`service_kit.vault_secrets`). The rules are the same; only the names differ: ``TOKEN_SIGNING_KEYS`` in the
environment is ``token-signing-keys`` in the vault. Whoever needs a secret asks :attr:`Secrets.current` when it needs
it, which never waits and never touches the network.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Final, Generic, Self, TypeVar

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo
from pydantic import field_validator as check

from service_kit.redis_address import RedisMode, check_options, check_scheme, has_login, read_nodes
from service_kit.settings import ENV_FILE, reason_of, split_commas

MIN_KEY_CHARS: Final = 32
EXAMPLE_MARKER: Final = "change-me"
"""A key with this word in it is an example's; production refuses it."""

Known = Mapping[str, Any]
"""The valid settings by name; where the settings have problems of their own, those that have none."""


class SharedSecrets(BaseModel):
    """The secrets that both services need. A field ``redis_url`` is ``redis-url`` in the vault."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    redis_url: SecretStr
    token_signing_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(split_commas), Field(min_length=1)]
    pseudonym_key: SecretStr

    FIXED: ClassVar[frozenset[str]] = frozenset({"pseudonym-key"})
    """What a process keeps as it was when it started."""

    @classmethod
    def needed(cls, settings: Known) -> tuple[str, ...]:  # noqa: ARG003 - both services' own depend on them
        """What a service with these settings cannot do without, by the names in the vault."""
        return ("redis-url", "token-signing-keys", "pseudonym-key")

    @classmethod
    def understood(cls, settings: Known) -> tuple[str, ...]:
        """What is read of the environment: everything needed, and what is checked although nothing needs it."""
        return cls.needed(settings)

    @classmethod
    def arrange(cls, values: Mapping[str, SecretStr]) -> dict[str, object]:
        """The fields, from the values by the names in the vault."""
        return {field_of(name): value.get_secret_value() for name, value in values.items()}

    @check("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        mode: RedisMode | None = known(info).get("redis_mode")
        if mode is None:  # that is a problem of its own
            return value
        scheme = check_scheme(value.get_secret_value(), mode)
        check_options(value.get_secret_value())
        if known(info).get("redis_auth") == "entra":
            if scheme != "rediss":
                raise ValueError("must use TLS (rediss://) with REDIS_AUTH=entra")
            if has_login(value.get_secret_value()):
                raise ValueError("must hold no user or password with REDIS_AUTH=entra")
        if mode != "single":
            read_nodes(value.get_secret_value(), mode)
        if in_production(info) and scheme == "redis":
            raise ValueError("must use TLS (rediss://) or a unix socket in production")
        return value

    @check("token_signing_keys")
    @classmethod
    def _signing_keys(cls, keys: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        return tuple(check_key(key, info) for key in keys)

    @check("pseudonym_key")
    @classmethod
    def _pseudonym_key(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        return check_key(key, info)

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The key ring, oldest first."""
        return tuple(key.get_secret_value() for key in self.token_signing_keys)


SecretsT = TypeVar("SecretsT", bound=SharedSecrets)


class Problems(ValueError):
    """What is wrong with several secrets that stand in one field: reasons by the names in the vault."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(", ".join(reasons))
        self.reasons = reasons


def known(info: ValidationInfo) -> Known:
    """The settings that the secrets under validation must fit."""
    context: Known = info.context or {}
    return context


def in_production(info: ValidationInfo) -> bool:
    """Whether the secrets under validation are production's."""
    return known(info).get("airlock_env") == "production"


def check_key(key: SecretStr, info: ValidationInfo) -> SecretStr:
    """Refuse a key that is short or, in production, an example's."""
    if len(key.get_secret_value()) < MIN_KEY_CHARS:
        raise ValueError(f"each key needs at least {MIN_KEY_CHARS} characters, for example from: openssl rand -hex 32")
    if in_production(info) and EXAMPLE_MARKER in key.get_secret_value():
        raise ValueError("must not be the example's in production")
    return key


def field_of(secret: str) -> str:
    """The field that holds a secret of the vault: ``redis-url`` → ``redis_url``."""
    return secret.replace("-", "_")


def variable_of(secret: str) -> str:
    """The environment variable that holds a secret of the vault: ``openai-api-key`` → ``OPENAI_API_KEY``."""
    return field_of(secret).upper()


def read_environment() -> Mapping[str, str]:
    """Every variable of the environment and, where it has none or an empty one, of ``.env``."""
    in_file = {name: value for name, value in dotenv_values(ENV_FILE).items() if value}
    return in_file | {name: value for name, value in os.environ.items() if value}


def secrets_of_environment(names: Iterable[str], environment: Mapping[str, str]) -> dict[str, SecretStr]:
    """Those secrets, by their names in the vault, that stand in the environment."""
    variables = {name.upper(): value for name, value in environment.items()}
    return {name: SecretStr(variables[variable_of(name)]) for name in names if variable_of(name) in variables}


def check_secrets(
    secrets_class: type[SecretsT], values: Mapping[str, SecretStr], settings: Known
) -> tuple[SecretsT | None, dict[str, list[str]]]:
    """The secrets, or what is wrong with them: lines for people, by the names in the vault, with no value in any."""
    try:
        return secrets_class.model_validate(secrets_class.arrange(values), context=settings), {}
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for item in error.errors(include_input=False, include_url=False):
            cause = item.get("ctx", {}).get("error")
            if isinstance(cause, Problems):
                for name, reason in cause.reasons.items():
                    problems.setdefault(name, []).append(reason)
                continue
            field, *place = item["loc"] or ("",)
            name = str(field).replace("_", "-")
            problems.setdefault(name, []).append(reason_of(item, place))
        return None, problems


class Secrets(Generic[SecretsT]):
    """The secrets in force. These are the environment's: they stay as they are for as long as the process lives."""

    def __init__(self, current: SecretsT | None) -> None:
        self._current = current
        self._followers: list[Callable[[SecretsT], None]] = []

    @property
    def are_there(self) -> bool:
        """Whether there are any yet."""
        return self._current is not None

    @property
    def may_be_used(self) -> bool:
        """Whether they are good enough to begin something with."""
        return self.are_there

    async def are_good(self) -> bool:
        """The same, as readiness asks it."""
        return self.may_be_used

    @property
    def current(self) -> SecretsT:
        """The secrets in force now; not to be kept, since they may be others in a moment."""
        if self._current is None:
            raise LookupError("the secrets are not there yet")
        return self._current

    def follow(self, use: Callable[[SecretsT], None]) -> None:
        """Call ``use`` with the secrets in force, now and whenever they change."""
        self._followers.append(use)
        use(self.current)

    async def arrive(self) -> None:
        """Wait until they are there."""

    async def reread(self, name: str) -> None:
        """Look at once whether a secret has changed, since somebody refused it. Never raises."""

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[Self]:
        """Keep them fresh while the block runs."""
        yield self

    def _replace(self, secrets: SecretsT) -> None:
        self._current = secrets
        for use in self._followers:
            use(secrets)
