"""The relay's settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from service_kit.settings import ServiceSettings

WebSocketLibrary = Literal["picows", "aiohttp"]


class RelaySettings(ServiceSettings):
    """What the relay reads beside the shared settings."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8081
    websockets: WebSocketLibrary = "picows"
    azure_openai_scope: Annotated[str, Field(pattern=r"^https://[a-z0-9.-]+/+\.default$")] = (
        "https://cognitiveservices.azure.com/.default"
    )
    replay_ends_session: bool = False
    connects_per_minute_per_address: Annotated[int, Field(ge=1, le=10_000_000)] = 6_000
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] = 1_000

    @property
    def wants_identity(self) -> bool:
        """Whether Redis or an upstream takes the managed identity."""
        return self.redis_auth == "entra" or any(upstream.secret is None for upstream in self.upstreams)
