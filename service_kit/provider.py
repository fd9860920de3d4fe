"""What a provider of models is called towards people. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def provider_name(kind: str, base_url: str) -> str:
    """The name of whoever hears the audio: "Azure OpenAI", "OpenAI", "simulator" for this machine, or the host."""
    host = urlsplit(base_url).hostname or ""
    if _is_loopback(host):
        return "simulator"
    if kind == "azure":
        return "Azure OpenAI"
    return "OpenAI" if host == "api.openai.com" else host


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
