"""The relay's settings."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from service_kit.settings import ServiceSettings, in_production

WebSocketLibrary = Literal["aiohttp", "picows"]


class RelaySettings(ServiceSettings):
    """What the relay reads beside the shared settings."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    openai_api_key: SecretStr
    openai_base_url: str = "https://api.openai.com/v1"
    websockets: WebSocketLibrary = "aiohttp"
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    max_sessions_per_subject: Annotated[int, Field(ge=1, le=1_000_000)] = 3
    max_sessions_per_tenant: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    max_sessions_per_address: Annotated[int, Field(ge=1, le=1_000_000)] = 10

    @field_validator("openai_base_url")
    @classmethod
    def _base_url(cls, url: str, info: ValidationInfo) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "wss", "http", "ws") or not parts.netloc or parts.query or parts.fragment:
            raise ValueError("must be a URL such as https://api.openai.com/v1")
        if in_production(info) and parts.scheme in ("http", "ws"):
            raise ValueError("must use TLS (https://) in production")
        return url.rstrip("/")
