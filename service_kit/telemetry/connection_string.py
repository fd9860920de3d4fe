"""What ``APPLICATIONINSIGHTS_CONNECTION_STRING`` must look like, and how it must be spelled for the exporters. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

_KEY: Final = "instrumentationkey"
_ENDPOINT: Final = "ingestionendpoint"
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Ingestion:
    """Where telemetry goes, and whose it is."""

    instrumentation_key: str
    endpoint: str

    @property
    def connection_string(self) -> str:
        """The spelling that both exporters accept: no trailing semicolon, the key in lower case, nothing unused."""
        return f"InstrumentationKey={self.instrumentation_key};IngestionEndpoint={self.endpoint}"

    @property
    def is_safe(self) -> bool:
        """Whether nobody on the way can read along."""
        parts = urlsplit(self.endpoint)
        return parts.scheme == "https" or parts.hostname in _LOOPBACK


def parse_connection_string(text: str) -> Ingestion:
    """Raises ValueError that says what is wrong, without the string's own words."""
    fields: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            fields[name.lower()] = value.strip()
        elif name:
            raise ValueError("must be Name=value pairs with ; between them, as the Azure portal shows it")
    key, endpoint = fields.get(_KEY, "").lower(), fields.get(_ENDPOINT, "").rstrip("/")
    if not _GUID.fullmatch(key):
        raise ValueError("needs InstrumentationKey= and a GUID")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or "=" in endpoint:
        raise ValueError("needs IngestionEndpoint= and an https address")
    return Ingestion(key, endpoint)
