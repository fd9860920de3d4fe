"""Which backends there are, and the one that a process uses.

A vendor's packages are imported where they were chosen and nowhere else: they cost a quarter of a second and 20 MiB.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Final, Literal

from service_kit.telemetry.connection_string import Ingestion
from service_kit.telemetry.exporting import Backend, Exporter
from service_kit.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

TelemetryBackend = Literal["none", "opencensus", "otel"]
_VARIABLES: Final = ("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPINSIGHTS_INSTRUMENTATIONKEY")
_DISTRIBUTIONS: Final = {"opencensus": "opencensus-ext-azure", "otel": "azure-monitor-opentelemetry-exporter"}


def is_installed(backend: TelemetryBackend) -> bool:
    """Whether its packages are there; looking imports none of them."""
    try:
        return backend == "none" or bool(distribution(_DISTRIBUTIONS[backend]))
    except PackageNotFoundError:
        return False


def open_backend(
    kind: TelemetryBackend,
    ingestion: Ingestion | None,
    *,
    role: str,
    role_instance: str,
    credential: TokenCredential | None,
    interval_seconds: float,
) -> Recorder:
    """What the process records into. ``credential`` proves who we are, where a resource wants more than its key."""
    if kind == "none" or ingestion is None:
        return Recorder()
    backend: Backend
    with _variables_hidden():
        if kind == "opencensus":
            from service_kit.telemetry.opencensus_backend import OpenCensusBackend

            backend = OpenCensusBackend(ingestion, role, role_instance, credential)
        else:
            from service_kit.telemetry.otel_backend import OtelBackend

            backend = OtelBackend(ingestion, role, role_instance, credential)
    return Exporter(backend, interval_seconds)


@contextlib.contextmanager
def _variables_hidden() -> Iterator[None]:
    """The exporters read these too, even if they are told; and do not accept what the portal shows."""
    kept = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)
