"""What both services read from the environment and ``.env``: a frozen typed object, every problem reported at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service_kit.profiles import Profile, Profiles, ProfilesError, load_profiles
from service_kit.redis_address import RedisMode, check_scheme, read_nodes
from service_kit.tls import check_authority
from service_kit.upstreams import UpstreamSettings, check_base_url, has_tls, upstreams_of_environment

ENV_FILE = ".env"
MIN_KEY_CHARS = 32
EXAMPLE_MARKER = "change-me"
"""Every secret in ``.env.example`` holds this word; production refuses it."""


def split_commas(value: object) -> object:
    """``"a, b"`` → ``("a", "b")``."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


DEVELOPMENT_ORIGINS = ("http://localhost:8080", "http://127.0.0.1:8080")
_ORIGIN_SCHEMES = ("http", "https")
_GUID = r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _read_profiles(path: object) -> object:
    try:
        return load_profiles(Path(str(path)))
    except ProfilesError as error:
        raise ValueError(str(error)) from error


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(split_commas)]
Keys = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(split_commas), Field(min_length=1)]


class ServiceSettings(BaseSettings):
    """The settings that both services share. Names are the environment's, in lower case."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        hide_input_in_errors=True,
        validate_default=True,
    )

    airlock_env: Literal["development", "production"] = "development"
    extra_ca_file: Path | None = None
    azure_client_id: Annotated[str | None, Field(pattern=_GUID)] = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    redis_mode: RedisMode = "single"
    redis_url: SecretStr
    redis_wait_replicas: Annotated[int, Field(ge=0, le=10)] = 0
    # The environment names the file; here it is the file, read and checked.
    airlock_profiles: Annotated[Profiles, NoDecode, BeforeValidator(_read_profiles)] = "profiles.toml"  # type: ignore[assignment]
    azure_openai_endpoint: str | None = None
    openai_base_url: str | None = None
    allowed_origins: CommaSeparated = ()
    token_signing_keys: Keys
    pseudonym_key: SecretStr
    trusted_edge: Networks = ()
    azure_front_door_id: str | None = None
    max_sessions_per_subject: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    max_sessions_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    drain_seconds: Annotated[int, Field(ge=4, le=600)] = 25
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"

    @field_validator("extra_ca_file")
    @classmethod
    def _extra_authority_can_be_read(cls, path: Path | None) -> Path | None:
        return None if path is None else check_authority(path)

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        mode: RedisMode | None = info.data.get("redis_mode")
        if mode is None:  # that is a problem of its own
            return value
        scheme = check_scheme(value.get_secret_value(), mode)
        if mode != "single":
            read_nodes(value.get_secret_value(), mode)
        if in_production(info) and scheme == "redis":
            raise ValueError("must use TLS (rediss://) or a unix socket in production")
        return value

    @field_validator("airlock_profiles")
    @classmethod
    def _upstreams_have_tls(cls, profiles: Profiles, info: ValidationInfo) -> Profiles:
        for upstream in profiles.upstreams if in_production(info) else ():
            if not has_tls(upstream.base_url):
                raise ValueError(f"the upstream '{upstream.name}' must use TLS (https://) in production")
        return profiles

    @field_validator("azure_openai_endpoint", "openai_base_url")
    @classmethod
    def _address_of_an_upstream(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            return None
        url = check_base_url(url)
        if in_production(info) and not has_tls(url):
            raise ValueError("must use TLS (https://) in production")
        return url

    @field_validator("token_signing_keys")
    @classmethod
    def _signing_keys(cls, keys: tuple[SecretStr, ...], info: ValidationInfo) -> tuple[SecretStr, ...]:
        return tuple(check_key(key, info) for key in keys)

    @field_validator("pseudonym_key")
    @classmethod
    def _pseudonym_key(cls, key: SecretStr, info: ValidationInfo) -> SecretStr:
        return check_key(key, info)

    @field_validator("allowed_origins")
    @classmethod
    def _origins_are_exact(cls, origins: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not origins and in_production(info):
            raise ValueError("must name the page's origin in production")
        for origin in origins:
            parts = urlsplit(origin)
            if not parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin or parts.scheme not in _ORIGIN_SCHEMES:
                raise ValueError(f"'{origin}' is not an origin such as https://example.com (no path, no wildcard)")
            if "*" in origin:
                raise ValueError(f"'{origin}' has a wildcard; name each origin")
            if in_production(info) and parts.scheme != "https":
                raise ValueError(f"'{origin}' must be https in production")
        # Nothing named, in development: the page's own address in both spellings.
        return origins or DEVELOPMENT_ORIGINS

    @field_validator("azure_front_door_id")
    @classmethod
    def _front_door_is_trusted(cls, front_door_id: str | None, info: ValidationInfo) -> str | None:
        if front_door_id is not None and not info.data.get("trusted_edge", True):
            raise ValueError("needs TRUSTED_EDGE beside it, the networks that Front Door's requests come from")
        return front_door_id

    @field_validator("log_level")
    @classmethod
    def _log_level(cls, level: str, info: ValidationInfo) -> str:
        if level == "DEBUG" and in_production(info):
            raise ValueError("must not be DEBUG in production")
        return level

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The profiles by name."""
        return self.airlock_profiles.profiles

    @property
    def upstreams(self) -> tuple[UpstreamSettings, ...]:
        """Where the models are, in the order of trying: as the profiles file says, else as the environment does."""
        return self.airlock_profiles.upstreams or upstreams_of_environment(
            azure_endpoint=self.azure_openai_endpoint, openai_base_url=self.openai_base_url
        )

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The key ring, oldest first."""
        return tuple(key.get_secret_value() for key in self.token_signing_keys)


def variable_of(secret: str) -> str:
    """The environment variable that holds a secret of the vault: ``openai-api-key`` → ``OPENAI_API_KEY``."""
    return secret.upper().replace("-", "_")


def read_secret(secret: str) -> SecretStr | None:
    """A secret by its name in the vault, from the environment or ``.env``; None if it is not there or empty."""
    name = variable_of(secret)
    value = os.environ.get(name) or dotenv_values(ENV_FILE).get(name)
    return SecretStr(value) if value else None


def in_production(info: ValidationInfo) -> bool:
    """Whether the settings under validation are production's."""
    return info.data.get("airlock_env") == "production"


def check_key(key: SecretStr, info: ValidationInfo) -> SecretStr:
    """Refuse a key that is short or, in production, the example's."""
    if len(key.get_secret_value()) < MIN_KEY_CHARS:
        raise ValueError(f"each key needs at least {MIN_KEY_CHARS} characters, for example from: openssl rand -hex 32")
    if in_production(info) and EXAMPLE_MARKER in key.get_secret_value():
        raise ValueError("must not be the example's in production")
    return key


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(settings_class: type[SettingsT]) -> SettingsT:
    """Read the environment; on any problem print all of them, names and not values, and exit with status 2."""
    try:
        return settings_class()
    except ValidationError as error:
        fail(f"{_name(item['loc'])}{_reason(item)}" for item in error.errors(include_input=False, include_url=False))


def fail(problems: Iterable[str]) -> NoReturn:
    """Print the problems and exit with status 2, before any port is bound."""
    print("Cannot start. Please correct:", file=sys.stderr)  # noqa: T201 - logging is not set up yet
    for problem in problems:
        print(f"  - {problem}", file=sys.stderr)  # noqa: T201
    raise SystemExit(2)


def _name(location: tuple[int | str, ...]) -> str:
    """The variable, and the place within it where it holds a list of objects."""
    if not location:
        return ""
    variable, *place = map(str, location)
    return f"{variable.upper()}: " + (f"{'.'.join(place)}: " if place else "")


def _reason(item: Any) -> str:
    if item["type"] == "missing":
        return "is required"
    return str(item["msg"]).removeprefix("Value error, ")
