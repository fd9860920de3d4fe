"""Holds the shape of the project: its verbs, its locked versions, and which package may import which."""

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
VERBS = {
    "help",
    "run",
    "install",
    "compiled",
    "test",
    "check",
    "bench",
    "pictures",
    "soak",
    "audit",
    "sbom",
    "format",
    "lock",
    "clean",
}
PACKAGES = {"service_kit", "token_service", "relay", "local_cloud", "bench"}
MAY_IMPORT = {
    "service_kit": set[str](),
    "token_service": {"service_kit"},
    "relay": {"service_kit"},
    "local_cloud": set[str](),
    "bench": {"service_kit", "local_cloud", "relay"},  # the relay's own redemption is what it measures
}


def imported_packages(source: str) -> set[str]:
    """Return the top-level names that a module imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_follow_the_arrows(package: str) -> None:
    modules = list((ROOT / package).rglob("*.py"))
    assert modules
    forbidden = PACKAGES - MAY_IMPORT[package] - {package}
    for module in modules:
        wrong = imported_packages(module.read_text("utf-8")) & (forbidden | {"tests"})
        assert not wrong, f"{module.relative_to(ROOT)} imports {wrong}"


def test_help_lists_every_verb() -> None:
    listing = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z]+) +\S", listing)) == VERBS


def test_ci_runs_make_test() -> None:
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert "set -euo pipefail" in script
    assert re.search(r"^make test$", script, re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("requirements.lock", 30),
        ("requirements-dev.lock", 30),
        ("requirements-build.lock", 1),
        ("bench/litellm.lock", 30),
        ("bench/plot.lock", 10),
    ],
)
def test_every_locked_package_has_a_hash_and_no_address(name: str, least: int) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^--|^-[a-z]", text, re.MULTILINE)
    requirements = re.findall(r"^(\S+==\S+)((?:.*\\\n)*.*)", text, re.MULTILINE)
    assert len(requirements) > least
    for requirement, rest in requirements:
        assert "--hash=sha256:" in rest, requirement


def test_every_locked_npm_package_has_a_hash_and_no_address() -> None:
    text = (ROOT / "package-lock.json").read_text("utf-8")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert packages.pop("")["devDependencies"]
    assert packages
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert package["dev"], f"{name} is not only for tests"


def test_packages_of_the_distribution_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for package in project["tool"]["setuptools"]["packages"]:
        assert (ROOT / package.replace(".", "/") / "__init__.py").is_file(), package


def test_settings_example_parses_and_sets_nothing_by_itself() -> None:
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    assert all(line.startswith("#") for line in lines if line)
    names = [match[1] for line in lines if (match := re.match(r"# ([A-Z][A-Z0-9_]+)=\S", line))]
    assert len(names) == len(set(names)) > 20
