"""What both services read from the environment and ``.env``: a frozen typed object, every problem reported at once.

Secrets are not here: :mod:`service_kit.secrets` has them, with the one message that names the problems of both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service_kit.certificate import check_pair
from service_kit.profiles import Profile, Profiles, ProfilesError, load_profiles
from service_kit.redis_address import RedisMode
from service_kit.telemetry.backends import TelemetryBackend, is_installed
from service_kit.telemetry.connection_string import parse_connection_string
from service_kit.tls import check_authority
from service_kit.upstreams import AzureAuth, UpstreamSettings, check_base_url, has_tls, upstreams_of_environment

ENV_FILE = ".env"

_valid_so_far: ContextVar[dict[str, object] | None] = ContextVar("valid_so_far", default=None)


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
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    redis_mode: RedisMode = "single"
    redis_auth: Literal["url", "entra"] = "url"
    redis_wait_replicas: Annotated[int, Field(ge=0, le=10)] = 0
    # The environment names the file; here it is the file, read and checked.
    airlock_profiles: Annotated[Profiles, NoDecode, BeforeValidator(_read_profiles)] = "profiles.toml"  # type: ignore[assignment]
    azure_openai_endpoint: str | None = None
    azure_openai_auth: AzureAuth = "key"
    openai_base_url: str | None = None
    allowed_origins: CommaSeparated = ()
    trusted_edge: Networks = ()
    azure_front_door_id: str | None = None
    max_sessions_per_subject: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    max_sessions_per_tenant: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    max_sessions_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    drain_seconds: Annotated[int, Field(ge=4, le=600)] = 25
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    operator_host: str = "127.0.0.1"
    operator_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    telemetry: TelemetryBackend | None = None
    telemetry_auth: Literal["key", "entra"] = "key"
    telemetry_interval_seconds: Annotated[float, Field(ge=0.1, le=600)] = 30.0
    applicationinsights_connection_string: SecretStr | None = None
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    key_vault_url: str | None = None
    secrets_refresh_seconds: Annotated[float, Field(ge=1, le=3_600)] = 300

    @field_validator("extra_ca_file")
    @classmethod
    def _extra_authority_can_be_read(cls, path: Path | None) -> Path | None:
        return None if path is None else check_authority(path)

    @field_validator("tls_key_file")
    @classmethod
    def _certificate_and_key_belong_together(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if "tls_cert_file" not in info.data:
            return key  # its own problem is told
        certificate = info.data["tls_cert_file"]
        if (certificate is None) != (key is None):
            raise ValueError("and TLS_CERT_FILE are set together or not at all")
        if certificate is not None and key is not None:
            check_pair(certificate, key)
        return key

    @field_validator("key_vault_url")
    @classmethod
    def _vault_is_an_address(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is None:
            if in_production(info):
                raise ValueError("is required in production, which takes no secret from the environment")
            return None
        return _check_vault_url(url)

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

    @field_validator("telemetry")
    @classmethod
    def _backend_is_installed(cls, backend: TelemetryBackend | None) -> TelemetryBackend | None:
        if backend is not None and not is_installed(backend):
            raise ValueError(f"{backend} is not installed; pip install 'realtime-airlock[{backend}]'")
        return backend

    @field_validator("applicationinsights_connection_string")
    @classmethod
    def _telemetry_has_a_place(cls, text: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if text is None:
            if info.data.get("telemetry") in ("opencensus", "otel"):
                raise ValueError(f"is required, because TELEMETRY is {info.data['telemetry']}")
            return None
        ingestion = parse_connection_string(text.get_secret_value())
        if in_production(info) and not ingestion.is_safe:
            raise ValueError("must name an https address in production")
        return text

    @field_validator("log_level")
    @classmethod
    def _log_level(cls, level: str, info: ValidationInfo) -> str:
        if level == "DEBUG" and in_production(info):
            raise ValueError("must not be DEBUG in production")
        return level

    def check_list(self) -> list[str]:
        """What production demands, and how it stands here: lines for people, without addresses, names or secrets."""
        identity = "the user-assigned identity" if self.azure_client_id else "the system-assigned identity"
        edge = "Front Door's id is demanded of every request" if self.azure_front_door_id else "no Front Door"
        authorities = "the machine's" if self.extra_ca_file is None else "the machine's, and those of EXTRA_CA_FILE"
        return [
            f"secrets: from Key Vault over https, as {identity}; none is in the environment or {ENV_FILE}",
            "signing and pseudonym keys: long, and not an example's; looked at whenever they are read",
            "Redis: TLS or a unix socket; looked at whenever its address is read",
            f"upstreams: {len(self.upstreams)}, over TLS",
            f"origins: {len(self.allowed_origins)}, exact, https",
            f"trusted authorities: {authorities}",
            f"TLS: {'ended here' if self.tls_cert_file else 'ended by what stands before'}",
            f"edge: {edge}; {len(self.trusted_edge)} networks are believed about a client's address",
            f"log level: {self.log_level}",
        ]

    @field_validator("*")  # the last one: what it sees is valid
    @classmethod
    def _note(cls, value: object, info: ValidationInfo) -> object:
        valid = _valid_so_far.get()
        if valid is not None and info.field_name is not None:
            valid[info.field_name] = value
        return value

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The profiles by name."""
        return self.airlock_profiles.profiles

    @cached_property
    def upstreams(self) -> tuple[UpstreamSettings, ...]:
        """Where the models are, in the order of trying: as the profiles file says, else as the environment does."""
        return self.airlock_profiles.upstreams or upstreams_of_environment(
            azure_endpoint=self.azure_openai_endpoint,
            openai_base_url=self.openai_base_url,
            azure_auth=self.azure_openai_auth,
        )

    @property
    def telemetry_backend(self) -> TelemetryBackend:
        """Where telemetry goes; OpenCensus, unless told otherwise, where there is a place for it."""
        if self.telemetry is not None:
            return self.telemetry
        return "none" if self.applicationinsights_connection_string is None else "opencensus"


@contextmanager
def noting_what_is_valid() -> Iterator[Mapping[str, Any]]:
    """The settings by name that were found valid in the block, also where others were not.

    What needs settings beside it, as secrets do, can so be checked in the same go.
    """
    valid: dict[str, object] = {}
    reset = _valid_so_far.set(valid)
    try:
        yield valid
    finally:
        _valid_so_far.reset(reset)


def _check_vault_url(url: str) -> str:
    problem = "must be the https:// address of a Key Vault, such as https://my-vault.vault.azure.net"
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(problem) from error
    if parts.scheme != "https" or not has_place or "@" in parts.netloc or parts.path.strip("/") or parts.query:
        raise ValueError(problem)
    if parts.fragment:
        raise ValueError(problem)
    return url.rstrip("/")


def in_production(info: ValidationInfo) -> bool:
    """Whether the settings under validation are production's."""
    return info.data.get("airlock_env") == "production"


def fail(problems: Iterable[str]) -> NoReturn:
    """Print the problems and exit with status 2, before any port is bound."""
    print("Cannot start. Please correct:", file=sys.stderr)  # noqa: T201 - logging is not set up yet
    for problem in problems:
        print(f"  - {problem}", file=sys.stderr)  # noqa: T201
    raise SystemExit(2)


def reason_of(item: Any, place: Iterable[object]) -> str:
    """One of a ValidationError's ``errors()`` in words, with the place within the value where that is a list."""
    reason = "is required" if item["type"] == "missing" else str(item["msg"]).removeprefix("Value error, ")
    return ": ".join(filter(None, [".".join(map(str, place)), reason]))
