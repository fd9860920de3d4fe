"""The GitHub Actions workflows: they parse, are pinned, have few rights, and call what is there."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def runs(path: Path) -> str:
    return "\n".join(step.get("run", "") for step in steps(path))


def test_there_are_checks_and_a_deployment() -> None:
    assert [path.stem for path in WORKFLOWS] == ["check", "deploy"]


@every_workflow
def test_actions_are_pinned_by_commit_and_leave_no_credential(path: Path) -> None:
    for step in steps(path):
        if "uses" in step:
            assert re.fullmatch(r"(actions|azure)/[a-z-]+@[0-9a-f]{40}", step["uses"]), step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every_workflow
def test_nothing_has_more_rights_than_it_needs(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for name, job in jobs(path).items():
        rights = job.get("permissions", workflow["permissions"])
        expected = {"contents": "read"} | ({"id-token": "write"} if name == "deploy" else {})
        assert rights == expected, name
        assert job["timeout-minutes"] <= 90


@every_workflow
def test_no_text_of_a_stranger_s_becomes_a_command(path: Path) -> None:
    assert "${{" not in runs(path)
    assert "pull_request_target" not in path.read_text(encoding="utf-8")


def test_azure_believes_the_workflow_and_there_is_no_password() -> None:
    text = (ROOT / ".github/workflows/deploy.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    [login] = [step for step in steps(ROOT / ".github/workflows/deploy.yml") if "azure/login" in step.get("uses", "")]
    assert set(login["with"]) == {"client-id", "tenant-id", "subscription-id"}


@every_workflow
def test_the_verbs_and_files_that_it_names_are_there(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for verb in re.findall(r"\bmake ([a-z-]+)$", runs(path), re.MULTILINE):
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb
    for name in re.findall(r"infra/bicep/\w+\.bicep\b", runs(path)):
        assert (ROOT / name).is_file(), name


def test_it_tests_builds_and_compiles() -> None:
    told = runs(ROOT / ".github/workflows/check.yml")
    for command in (
        "make test",
        "docker build",
        "az bicep build --file infra/bicep/main.bicep",
        "az bicep build-params",
    ):
        assert command in told


def test_the_deployment_gives_every_variable_that_a_parameter_file_wants() -> None:
    job = jobs(ROOT / ".github/workflows/deploy.yml")["deploy"]
    given = job["env"].keys() | {"AIRLOCK_IMAGE"}  # that one is found out on the way
    for path in (ROOT / "infra/bicep").glob("*.bicepparam"):
        wanted = set(re.findall(r"readEnvironmentVariable\('(\w+)'\)", path.read_text(encoding="utf-8")))
        assert wanted <= given, path.name
