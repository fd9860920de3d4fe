"""``python -m token_service``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from service_kit.secrets import Secrets
from service_kit.service_start import start
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

if TYPE_CHECKING:
    from service_kit.service_life import Start


def _import_serve() -> Callable[[TokenServiceSettings, Secrets[TokenServiceSecrets], Start], Awaitable[None]]:
    from token_service.serving import serve_token_service

    return serve_token_service


if __name__ == "__main__":
    start("token_service", TokenServiceSettings, TokenServiceSecrets, _import_serve)
