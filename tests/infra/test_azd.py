"""``azd up``: what runs before and after it, with commands in Azure's place that write down how they were called.

It shows what the scripts decide; whether Azure's commands then do what they promise is not shown.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.infra.bicep import FOLDER

ROOT = Path(__file__).parents[2]
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in
    *repository*show*) [ -e "$CALLS.built" ] && echo sha256:0123 || exit 1 ;;
    "acr build"*) touch "$CALLS.built" ;;
    "acr show"*) echo registry.example.com ;;
    *"connection list"*) echo /connections/ours ;;
    "status --porcelain") printf '%s' "${CHANGES:-}" ;;
    "rev-parse"*) echo 0123456789ab ;;
esac
"""


class Project:
    """A copy of what the scripts touch, and the calls that they made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "infra/bicep").mkdir(parents=True)
        for path in (*FOLDER.glob("*.bicepparam"), *(ROOT / "scripts").glob("azure_*.sh")):
            to = folder / path.relative_to(ROOT)
            to.parent.mkdir(exist_ok=True)
            shutil.copy(path, to)
        (folder / "bin").mkdir()
        for name in ("az", "azd", "git"):
            (folder / "bin" / name).write_text(STAND_IN)
            (folder / "bin" / name).chmod(0o755)

    def run(self, hook: str, **environment: str) -> tuple[int, str]:
        """The exit status of a hook of ``azure.yaml``, and what it said."""
        command = yaml.safe_load((ROOT / "azure.yaml").read_text())["hooks"][hook]["run"]
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env={"PATH": path, "CALLS": str(self.folder / "calls"), "AZURE_ENV_NAME": "voice", **environment},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_azd_provisions_what_the_files_describe() -> None:
    described = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert (ROOT / described["infra"]["path"] / f"{described['infra']['module']}.bicep").is_file()
    assert described["workflows"]["up"]["steps"] == [{"azd": "provision"}]


@pytest.mark.parametrize("footprint", ["small", "production"])
def test_the_first_time_chooses_the_footprint_and_builds_nothing(project: Project, footprint: str) -> None:
    status, said = project.run("preprovision", AIRLOCK_FOOTPRINT=footprint)
    assert status == 0, said
    chosen = (project.folder / "infra/bicep/main.bicepparam").read_text()
    assert chosen == (FOLDER / f"{footprint}.bicepparam").read_text()
    [call] = project.calls()
    assert call.startswith("azd env set AIRLOCK_BUDGET_START 20")
    assert call.endswith("-01")


def test_with_a_registry_the_commit_s_image_is_built_once_and_named_by_its_digest(project: Project) -> None:
    for _ in range(2):
        status, said = project.run("preprovision", AIRLOCK_REGISTRY="ours", AIRLOCK_BUDGET_START="2026-11-01")
        assert status == 0, said
    builds = [call for call in project.calls() if call.startswith("az acr build")]
    assert builds == ["az acr build --registry ours --image airlock:0123456789ab ."]
    assert project.calls()[-1] == "azd env set AIRLOCK_IMAGE registry.example.com/airlock@sha256:0123"


def test_what_is_in_no_commit_is_not_deployed(project: Project) -> None:
    status, said = project.run("preprovision", AIRLOCK_REGISTRY="ours", CHANGES=" M relay/app.py")
    assert status == 1
    assert "Commit first" in said
    assert not [call for call in project.calls() if call.startswith("az ")]


def test_afterwards_the_private_link_that_waits_is_approved_and_the_next_step_is_told(project: Project) -> None:
    found = {"AZURE_RESOURCE_GROUP": "rg-voice", "AIRLOCK_APPS_ENVIRONMENT": "cae-voice", "AIRLOCK_VAULT": "kv-1"}
    status, said = project.run("postprovision", **found)
    assert status == 0, said
    asked, approved = project.calls()
    assert "description=='Airlock voice'" in asked  # as the origins ask: modules/front_door.bicep
    assert "requestMessage: 'Airlock ${environmentName}'" in (FOLDER / "modules/front_door.bicep").read_text()
    assert approved.startswith("az network private-endpoint-connection approve --id /connections/ours ")
    assert "set the secrets in kv-1" in said
    _, said = project.run("postprovision", **found, AIRLOCK_IMAGE="i", AIRLOCK_URL="https://voice.example.com")
    assert "https://voice.example.com" in said
