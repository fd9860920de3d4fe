"""What the Dockerfile says; that it is true is tested in the soak, where its steps are carried out."""

import json
import tomllib
from pathlib import Path

import pytest

from relay.memory import scrubbing_environment
from scripts.build_image_root import instructions, is_sent

ROOT = Path(__file__).parents[2]
STEPS = list(instructions((ROOT / "Dockerfile").read_text(encoding="utf-8")))
STARTS = [number for number, (name, _) in enumerate(STEPS) if name == "FROM"]
LAST_STAGE = STEPS[STARTS[-1] :]
IGNORED = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in LAST_STAGE if name == instruction]


def test_it_runs_as_a_numeric_user_who_is_not_root() -> None:
    [user] = arguments("USER")
    assert [int(part) > 999 for part in user.split(":")] == [True, True]
    after = [name for name, _ in LAST_STAGE[LAST_STAGE.index(("USER", user)) + 1 :]]
    assert "RUN" not in after
    assert "COPY" not in after


def test_freed_memory_is_overwritten_without_a_second_start() -> None:
    [environment] = arguments("ENV")
    given = dict(pair.split("=", 1) for pair in environment.split())
    assert scrubbing_environment(given, "linux") == {}
    assert (given["HOST"], given["PORT"]) == ("0.0.0.0", "8080")


def test_signals_reach_the_service_and_health_is_asked_for() -> None:
    [command], [check] = arguments("CMD"), arguments("HEALTHCHECK")
    assert json.loads(command) == ["python", "-m", "token_service"]  # a list: no shell stands between
    assert "/healthz" in check
    assert arguments("STOPSIGNAL") == ["SIGTERM"]


def test_what_is_installed_is_locked() -> None:
    [install] = [rest for name, rest in STEPS if name == "RUN" and "pip install" in rest]
    for option in ("--require-hashes", "--only-binary :all:", "-r requirements.lock", "-r requirements-build.lock"):
        assert option in install


def test_every_package_of_the_distribution_is_copied_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    sources = {path for name, rest in STEPS if name == "COPY" and "--from" not in rest for path in rest.split()[:-1]}
    what_compiles = {"requirements-build.lock", "scripts/compile_relay.py"}
    assert sources == packages | what_compiles | {"frontend", "profiles.toml", "LICENSE", "requirements.lock"}
    assert {line.removeprefix("!") for line in IGNORED if line.startswith("!")} == sources


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("relay/app.py", True),
        ("service_kit/telemetry/seam.py", True),
        ("frontend/index.html", True),
        (".env", False),
        (".git/config", False),
        ("tests/conftest.py", False),
        ("relay/wire.pxd", True),
        ("scripts/compile_relay.py", True),
        ("scripts/scan_secrets.py", False),
        ("relay/__pycache__/app.pyc", False),
        ("relay/__compiled__/0123456789abcdef/wire.so", False),
        ("service_kit/telemetry/__pycache__/seam.pyc", False),
        ("relay2/app.py", False),
        ("infra/bicep/main.bicep", False),
    ],
)
def test_only_what_is_copied_goes_to_the_builder(path: str, sent: bool) -> None:
    assert is_sent(path, IGNORED) is sent
