"""``python -m token_service``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service_kit.secrets import Secrets
from service_kit.service_start import start
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

if TYPE_CHECKING:
    from service_kit.service_life import Start


async def _serve(settings: TokenServiceSettings, secrets: Secrets[TokenServiceSecrets], start: Start) -> None:
    from token_service.serving import serve_token_service  # here, since a parent of workers needs none of it

    await serve_token_service(settings, secrets, start)


if __name__ == "__main__":
    start("token_service", TokenServiceSettings, TokenServiceSecrets, _serve)
