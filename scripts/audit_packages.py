"""Ask for known weaknesses of the locked packages, or say that nobody could be asked (``make audit``).

pip-audit that cannot reach its database may find nothing and say so, which is no pass. So it is asked first about a
package whose weakness is public; where it does not know that one, the answer is "not audited".
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
LOCKS: Final = ("requirements.lock", "requirements-dev.lock")
KNOWN: Final = "urllib3==1.26.4"
"""It has weaknesses that the database has had since 2021."""
SECONDS: Final = 300


def weaknesses(answer: str) -> list[str] | None:
    """What pip-audit found, as ``package version: id``; None where its answer is none. Pure."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(answer)["dependencies"]
        return [
            f"{each['name']} {each['version']}: {weakness['id']}" for each in dependencies for weakness in each["vulns"]
        ]
    except (ValueError, KeyError, TypeError):
        return None


def ask(requirements: Path) -> list[str] | None:
    """What is known of the packages in a file; None where nobody answers."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
    try:
        answer = subprocess.run(
            [*command, "--format", "json", "-r", str(requirements)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return weaknesses(answer.stdout)


def verdict(known: list[str] | None, found: Sequence[list[str] | None]) -> tuple[int, list[str]]:
    """The exit status and what to say. Pure."""
    if not known or None in found:
        return 0, ["NOT AUDITED: no database of weaknesses could be asked"]
    all_found = sorted({weakness for each in found for weakness in each or ()})
    if all_found:
        return 1, all_found
    return 0, ["audited: no known weaknesses in the locked packages"]


def main() -> None:
    """Print the verdict; the status is 1 only where weaknesses were found."""
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "known.txt"
        probe.write_text(f"{KNOWN}\n", encoding="utf-8")
        known = ask(probe)
    status, lines = verdict(known, [ask(ROOT / lock) for lock in LOCKS] if known else [])
    print("\n".join(lines))
    sys.exit(status)


if __name__ == "__main__":
    main()
