"""The relay's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from service_kit.profiles import Profiles
from service_kit.settings import ServiceSettings, read_secret, variable_of
from service_kit.upstreams import AZURE_KEY, OPENAI_KEY, UpstreamSettings

WebSocketLibrary = Literal["picows", "aiohttp"]


class RelaySettings(ServiceSettings):
    """What the relay reads beside the shared settings."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    azure_openai_api_key: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    websockets: WebSocketLibrary = "picows"
    replay_ends_session: bool = False
    connects_per_minute_per_address: Annotated[int, Field(ge=1, le=10_000_000)] = 6_000
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 1_000

    @field_validator("airlock_profiles")
    @classmethod
    def _upstreams_have_keys(cls, profiles: Profiles) -> Profiles:
        for upstream in profiles.upstreams:
            if read_secret(upstream.secret) is None:
                raise ValueError(f"the upstream '{upstream.name}' needs its key in {variable_of(upstream.secret)}")
        return profiles

    @field_validator("azure_openai_api_key")
    @classmethod
    def _azure_has_a_key(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if key is None and _environment_decides(info) and info.data.get("azure_openai_endpoint"):
            raise ValueError("is required, because AZURE_OPENAI_ENDPOINT is set")
        return key

    @field_validator("openai_api_key")
    @classmethod
    def _openai_has_a_key_and_is_named(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        azure, openai = info.data.get("azure_openai_endpoint"), info.data.get("openai_base_url")
        if not _environment_decides(info):
            return key
        if key is None and openai:
            raise ValueError("is required, because OPENAI_BASE_URL is set")
        if key is None and not azure:
            raise ValueError(
                "is required, unless there is AZURE_OPENAI_ENDPOINT, or the profiles file has [[upstreams]]"
            )
        if key is not None and azure and not openai:
            # The token service has no key and tells people who hears them; it goes by the addresses.
            raise ValueError("beside AZURE_OPENAI_ENDPOINT needs OPENAI_BASE_URL too, or must be left out")
        return key

    def key_of(self, upstream: UpstreamSettings) -> str:
        """The key of one of the ``upstreams``."""
        own = {AZURE_KEY: self.azure_openai_api_key, OPENAI_KEY: self.openai_api_key}
        key = own.get(upstream.secret) or read_secret(upstream.secret)
        assert key is not None  # noqa: S101 - validated above
        return key.get_secret_value()


def _environment_decides(info: ValidationInfo) -> bool:
    """Whether the upstreams are those of the environment, as far as the profiles file could be read."""
    profiles: Profiles | None = info.data.get("airlock_profiles")
    return profiles is not None and not profiles.upstreams
