"""``python -m token_service``."""

from __future__ import annotations

from functools import partial

from service_kit.http_server import run, serve
from service_kit.log import set_up_logging
from service_kit.settings import load_settings
from token_service.app import create_app, drain
from token_service.settings import TokenServiceSettings


async def main() -> None:
    """Serve until told to stop."""
    settings = load_settings(TokenServiceSettings)
    set_up_logging("token_service", settings.log_level)
    app = create_app(settings)
    await serve(
        app, service="token_service", host=settings.host, port=settings.port, drain=partial(drain, app, settings)
    )


if __name__ == "__main__":
    run(main)
