"""Where the models are: the configured upstreams, in the order in which they are tried, without their keys. Pure.

The profiles file lists them; a file without any leaves it to ``AZURE_OPENAI_*`` and ``OPENAI_*`` (DESIGN: "Profiles").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from service_kit.provider import provider_name

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
OPENAI_KEY: Final = "openai-api-key"
AZURE_KEY: Final = "azure-openai-api-key"
"""The vault's names of the keys."""

AzureAuth = Literal["key", "managed_identity"]
MANAGED_IDENTITY: Final = "managed_identity"
_AZURE_PATH: Final = "/openai/v1"
_SECRET: Final = re.compile(r"secret:([a-z][a-z0-9-]{0,126})")
_NOT_FOR_UPSTREAMS: Final = frozenset(
    {"caller-api-keys", "operator-keys", "pseudonym-key", "redis-url", "token-signing-keys"}
)
"""The other secrets of the vault: a slip of the pen must not send one of them away."""


def check_base_url(url: str) -> str:
    """The URL without a slash at its end. Raises ValueError, which does not repeat it: credentials may be in it."""
    problem = f"must be a URL such as {OPENAI_BASE_URL}, without credentials or query"
    try:
        parts = urlsplit(url)
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise ValueError(problem) from error
    if parts.scheme not in ("https", "wss", "http", "ws") or not has_place:
        raise ValueError(problem)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(problem)
    return url.rstrip("/")


def has_tls(url: str) -> bool:
    """Whether nobody on the way can listen."""
    return urlsplit(url).scheme in ("https", "wss")


Name = Annotated[str, Field(min_length=1, max_length=128)]


class UpstreamSettings(BaseModel):
    """One place that has models.

    Attributes:
        name: what an operator calls it; for logs.
        auth: ``secret:NAME``, where NAME is the key's name in the vault, or ``managed_identity``.
        models: the deployment for each locked model; None means every model, by its own name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
    kind: Literal["openai", "azure"]
    base_url: Annotated[str, AfterValidator(check_base_url)]
    auth: str
    models: Annotated[dict[Name, Name], Field(min_length=1)] | None = None

    @field_validator("auth")
    @classmethod
    def _auth_is_understood(cls, auth: str, info: ValidationInfo) -> str:
        if auth == MANAGED_IDENTITY:
            if info.data.get("kind") == "openai":
                raise ValueError("managed_identity is for the kind azure alone; name a key: secret:NAME")
            return auth
        match = _SECRET.fullmatch(auth)
        if match is None:
            raise ValueError(f"must be managed_identity or secret:NAME, for example secret:{AZURE_KEY}")
        if match[1] in _NOT_FOR_UPSTREAMS:
            raise ValueError("names a secret that is not an upstream's key")
        return auth

    @property
    def secret(self) -> str | None:
        """The vault's name of its key; None for one that takes the managed identity."""
        return None if self.auth == MANAGED_IDENTITY else self.auth.removeprefix("secret:")

    @property
    def provider(self) -> str:
        """What it is called towards people."""
        return provider_name(self.kind, self.base_url)

    def deployment(self, model: str) -> str | None:
        """What it calls this model; None where it does not have it."""
        return model if self.models is None else self.models.get(model)


def upstreams_of_environment(
    *, azure_endpoint: str | None, openai_base_url: str | None, azure_auth: AzureAuth = "key"
) -> tuple[UpstreamSettings, ...]:
    """What ``AZURE_OPENAI_ENDPOINT`` and ``OPENAI_BASE_URL`` mean: Azure first, OpenAI if named or alone.

    The addresses decide, not the keys, so that the token service, which has no key, names the same providers.
    """
    upstreams = []
    if azure_endpoint:
        # Azure's portal shows the endpoint both with and without the path.
        base_url = azure_endpoint.rstrip("/").removesuffix(_AZURE_PATH) + _AZURE_PATH
        auth = MANAGED_IDENTITY if azure_auth == MANAGED_IDENTITY else f"secret:{AZURE_KEY}"
        upstreams.append(UpstreamSettings(name="azure", kind="azure", base_url=base_url, auth=auth))
    if openai_base_url or not azure_endpoint:
        base_url = openai_base_url or OPENAI_BASE_URL
        upstreams.append(UpstreamSettings(name="openai", kind="openai", base_url=base_url, auth=f"secret:{OPENAI_KEY}"))
    return tuple(upstreams)


def any_has(upstreams: Iterable[UpstreamSettings], model: str) -> bool:
    """Whether a session with this model has a place to go; without a table of models an upstream may have any."""
    return any(upstream.deployment(model) is not None for upstream in upstreams)


def provider_names(upstreams: tuple[UpstreamSettings, ...]) -> str:
    """Everybody who may hear the audio, in order, each once: "Azure OpenAI, OpenAI"."""
    return ", ".join(dict.fromkeys(upstream.provider for upstream in upstreams))
