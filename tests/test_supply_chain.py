"""What is shipped and locked was looked at: bandit, secrets, a bill of materials, known weaknesses."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from scripts.audit_packages import verdict, weaknesses
from scripts.scan_secrets import Found, find_secrets, read_baseline, tracked_files, unexplained

ROOT = Path(__file__).parent.parent
PACKAGES = ("relay", "service_kit", "token_service", "local_cloud", "scripts")
IMPORT_OF_SUBPROCESS = "B404"  # it is the calls that count, and they are found by themselves


def bandit(*paths: Path | str) -> list[dict[str, Any]]:
    """What bandit finds."""
    command = [sys.executable, "-m", "bandit", "-q", "-r", "-f", "json", "-s", IMPORT_OF_SUBPROCESS, *map(str, paths)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    results: list[dict[str, Any]] = json.loads(found)["results"]
    return results


def is_explained(finding: dict[str, Any]) -> bool:
    """Whether a line of it says why it is none, or pyproject.toml does so for its package.

    Ruff has bandit's rules under the same numbers, and its comments are not said twice: ``# noqa: S311 - the reason``.
    """
    rule = f"S{finding['test_id'][1:]}"
    lines = (ROOT / finding["filename"]).read_text(encoding="utf-8").splitlines()
    if any(re.search(rf"# noqa: [^-]*\b{rule}\b[^-]* - \S", lines[number - 1]) for number in finding["line_range"]):
        return True
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    package = finding["filename"].removeprefix("./").partition("/")[0]
    return rule in ruff["per-file-ignores"].get(f"{package}/**", ())


def test_bandit_finds_nothing_that_is_not_explained() -> None:
    findings = bandit(*PACKAGES)
    assert len(findings) > 10
    rest = [finding for finding in findings if not is_explained(finding)]
    assert [f"{each['filename']}:{each['line_number']}: {each['issue_text']}" for each in rest] == []


def test_bandit_finds_what_is_bad(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import random\n\n\ndef token() -> int:\n    return random.getrandbits(128)\n")
    (finding,) = bandit(tmp_path)
    assert finding["test_id"] == "B311"
    assert not is_explained(finding)


def test_no_file_has_a_secret() -> None:
    found = find_secrets(ROOT, tracked_files(ROOT))
    assert found
    assert unexplained(found, read_baseline()) == []


def test_every_string_that_looks_like_a_secret_is_said_not_to_be_one() -> None:
    assert all(len(reason) > 5 for reason in read_baseline().values())


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("key = 'sk-proj-" + "a1B2c3D4e5" * 2 + "T3BlbkFJ" + "f6G7h8I9j0" * 2 + "'", "OpenAI Token"),
        ("-----BEGIN RSA PRIVATE" + " KEY-----", "Private Key"),
        ("url = 'rediss://default:hunter2" + "hunter2@cache.example:6380'", "Basic Auth Credentials"),
    ],
)
def test_a_secret_is_seen(tmp_path: Path, line: str, kind: str) -> None:
    (tmp_path / "settings.py").write_text(f"{line}\n")
    found = find_secrets(tmp_path, ["settings.py"])
    assert kind in {each.kind for each in unexplained(found, read_baseline())}


def test_what_was_accepted_in_one_file_is_not_accepted_in_another() -> None:
    key = next(iter(read_baseline()))
    assert unexplained([Found(*key, 1)], read_baseline()) == []
    elsewhere = Found("relay/app.py", key[1], key[2], 1)
    assert unexplained([elsewhere], read_baseline()) == [elsewhere]


def test_the_bill_of_materials_has_every_locked_package_with_its_hashes(tmp_path: Path) -> None:
    made = tmp_path / "sbom.json"
    subprocess.run(["make", "-s", "sbom", f"SBOM={made}"], cwd=ROOT, check=True)
    bill = json.loads(made.read_text(encoding="utf-8"))
    locked = dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    assert bill["bomFormat"] == "CycloneDX"
    assert {each["name"]: each["version"] for each in bill["components"]} == locked
    for each in bill["components"]:
        assert any(reference.get("hashes") for reference in each["externalReferences"]), each["name"]


KNOWN = ["urllib3 1.26.4: PYSEC-2021-108"]


@pytest.mark.parametrize(
    ("known", "found", "status", "begins"),
    [
        (KNOWN, [[], []], 0, "audited"),
        (KNOWN, [["aiohttp 1.0: X-1"], []], 1, "aiohttp 1.0"),
        (None, [], 0, "NOT AUDITED"),
        ([], [[], []], 0, "NOT AUDITED"),  # it knows nothing, not even this
        (KNOWN, [[], None], 0, "NOT AUDITED"),
    ],
)
def test_nobody_to_ask_is_no_pass(
    known: list[str] | None, found: list[list[str] | None], status: int, begins: str
) -> None:
    code, lines = verdict(known, found)
    assert code == status
    assert lines[0].startswith(begins)


def test_pip_audit_s_answer_is_read() -> None:
    answer = {"dependencies": [{"name": "urllib3", "version": "1.26.4", "vulns": [{"id": "PYSEC-2021-108"}]}]}
    assert weaknesses(json.dumps(answer)) == KNOWN
    assert weaknesses(json.dumps({"dependencies": [{"name": "a", "version": "1", "vulns": []}]})) == []
    assert weaknesses("") is None
    assert weaknesses(json.dumps({"dependencies": [{"name": "a", "skip_reason": "not found"}]})) is None
