"""How a process' telemetry begins and ends: the backend that its settings name, and a flush that the drain leaves."""

import subprocess
import sys
import threading

import pytest

from service_kit.settings import ServiceSettings
from service_kit.telemetry.exporting import GRACE_SECONDS
from service_kit.telemetry.life import Farewell
from service_kit.telemetry.recorder import Recorder
from tests.service_kit.test_settings import load, refuse
from tests.stack import ROOT

PLACE = "InstrumentationKey=00000000-1111-2222-3333-444444444444;IngestionEndpoint="
SAFE = f"{PLACE}https://westeurope.in.applicationinsights.azure.com/;"


class Closing(Recorder):
    """Writes down how long it was given, and where it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[float] = []
        self.thread = ""

    def close(self, seconds: float) -> None:
        self.given.append(seconds)
        self.thread = threading.current_thread().name


async def test_the_last_flush_has_two_seconds_and_its_own_thread() -> None:
    telemetry = Closing()
    async with Farewell(telemetry, 25) as farewell:
        farewell.drain_begins()
    assert telemetry.given == [GRACE_SECONDS] == [2]
    assert telemetry.thread != threading.current_thread().name


async def test_the_last_flush_fits_into_what_is_left_of_the_drain() -> None:
    telemetry = Closing()
    async with Farewell(telemetry, 1) as farewell:
        farewell.drain_begins()
    assert 0.2 <= telemetry.given[0] <= 0.7
    late = Closing()
    async with Farewell(late, 0) as farewell:
        farewell.drain_begins()
    assert late.given == [0.2]


async def test_a_failure_is_told_too() -> None:
    telemetry = Closing()
    with pytest.raises(ZeroDivisionError):
        async with Farewell(telemetry, 25):
            raise ZeroDivisionError
    assert len(telemetry.given) == 1


@pytest.mark.parametrize(
    ("variables", "backend"),
    [
        ({}, "none"),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": SAFE}, "opencensus"),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": SAFE, "TELEMETRY": "otel"}, "otel"),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": SAFE, "TELEMETRY": "none"}, "none"),
    ],
)
def test_a_connection_string_is_enough(
    bare_environment: pytest.MonkeyPatch, variables: dict[str, str], backend: str
) -> None:
    settings: ServiceSettings = load(bare_environment, **variables)
    assert settings.telemetry_backend == backend
    assert "444444444444" not in repr(settings)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"TELEMETRY": "otel"}, "APPLICATIONINSIGHTS_CONNECTION_STRING: is required, because TELEMETRY is otel"),
        ({"TELEMETRY": "statsd"}, "TELEMETRY: "),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": "canary-0123456789-canary-0123456789"}, "must be Name=value"),
        ({"APPLICATIONINSIGHTS_CONNECTION_STRING": f"{PLACE}http://10.0.0.7/"}, "must name an https address"),
        ({"TELEMETRY_INTERVAL_SECONDS": "0"}, "TELEMETRY_INTERVAL_SECONDS: "),
        ({"TELEMETRY_AUTH": "password"}, "TELEMETRY_AUTH: "),
    ],
)
def test_what_cannot_work_is_said_at_start(
    bare_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variables: dict[str, str], reason: str
) -> None:
    assert reason in refuse(bare_environment, capsys, AIRLOCK_ENV="production", **variables)


def test_no_vendor_s_package_is_imported_where_none_was_chosen() -> None:
    program = (
        "import sys, relay.app, token_service.app, service_kit.telemetry.life;"
        "print([name for name in ('opencensus', 'azure.monitor') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
