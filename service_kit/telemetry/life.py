"""A process' telemetry from its start to its end."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from types import TracebackType
from typing import Final, Self

from service_kit.settings import ServiceSettings
from service_kit.telemetry.backends import open_backend
from service_kit.telemetry.connection_string import parse_connection_string
from service_kit.telemetry.exporting import GRACE_SECONDS
from service_kit.telemetry.recorder import Recorder
from service_kit.telemetry.seam import Telemetry

_LEAVING_SECONDS: Final = 0.3
"""For Python to end."""
_LEAST_SECONDS: Final = 0.2


def replica_name() -> str:
    """What operators call this process; Azure Container Apps names its replicas."""
    return f"{os.environ.get('CONTAINER_APP_REPLICA_NAME') or socket.gethostname()}:{os.getpid()}"


def start_telemetry(settings: ServiceSettings, role: str) -> Recorder:
    """What the process records into, as its settings say."""
    text = settings.applicationinsights_connection_string
    credential = None
    if settings.telemetry_auth == "entra" and settings.telemetry_backend != "none":
        # The exporters ask for tokens in their own thread, so this one is not async.
        from azure.identity import ManagedIdentityCredential

        credential = ManagedIdentityCredential(client_id=settings.azure_client_id)
    return open_backend(
        settings.telemetry_backend,
        parse_connection_string(text.get_secret_value()) if text else None,
        role=role,
        role_instance=replica_name(),
        credential=credential,
        interval_seconds=settings.telemetry_interval_seconds,
    )


class Farewell:
    """Sends what is left when its block ends: within 2 s, and within what is left of the drain."""

    def __init__(self, telemetry: Telemetry, drain_seconds: float) -> None:
        self._telemetry = telemetry
        self._drain_seconds = drain_seconds
        self._ends_at: float | None = None

    def drain_begins(self) -> None:
        """The process was asked to stop."""
        self._ends_at = time.monotonic() + self._drain_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = GRACE_SECONDS
        if self._ends_at is not None:
            seconds = min(seconds, self._ends_at - time.monotonic() - _LEAVING_SECONDS)
        await asyncio.to_thread(self._telemetry.close, max(seconds, _LEAST_SECONDS))
