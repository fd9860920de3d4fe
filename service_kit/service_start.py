"""How ``python -m`` starts a service: as the one process, as the parent of several workers, or as one of these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from service_kit.configuration import SettingsT, load
from service_kit.log import set_up_logging
from service_kit.secrets import Secrets, SecretsT
from service_kit.telemetry.life import start_telemetry
from service_kit.workers.post import take_post

if TYPE_CHECKING:
    from service_kit.service_life import Start


def start(
    name: str,
    settings_class: type[SettingsT],
    secrets_class: type[SecretsT],
    import_serve: Callable[[], Callable[[SettingsT, Secrets[SecretsT], Start], Awaitable[None]]],
) -> None:
    """Read the settings, then serve; exits with status 2 when they are wrong.

    ``import_serve`` imports what serves, and returns it: half of the memory, which a parent of workers does without.
    """
    post = take_post()
    settings, secrets = load(settings_class, secrets_class, tells_checks=post is None)
    if post is None and settings.workers > 1:
        from service_kit.workers.parent import tend

        raise SystemExit(tend(name, settings))

    from service_kit.http_server import run
    from service_kit.service_life import Start
    from service_kit.workers.worker import Worker

    serve = import_serve()
    telemetry = start_telemetry(settings, name)  # after all imports: its thread has its own
    set_up_logging(name, settings.log_level, telemetry, worker=post.number if post else None)
    started = Start(telemetry, Worker(post, telemetry) if post else None)
    run(lambda: serve(settings, secrets, started))
