"""Look for secrets in every file that git knows: ``python -m scripts.scan_secrets``.

What is found and is none stands in ``.secrets.baseline``, hashed, with its file, its kind and why it is none; anything
else fails. When a test needs another string that looks like a secret, look at what is found, then say why it is none:
``python -m scripts.scan_secrets --accept "made up for a test"``.
"""

import json
import subprocess
import sys
from collections.abc import Container
from pathlib import Path
from typing import Final, NamedTuple

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

ROOT: Final = Path(__file__).parent.parent
BASELINE: Final = ROOT / ".secrets.baseline"
DETECTORS: Final = (
    "ArtifactoryDetector",
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "GitHubTokenDetector",
    "JwtTokenDetector",
    "KeywordDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "SendGridDetector",
    "SlackDetector",
    "StripeDetector",
)
ENTROPY: Final = {"Base64HighEntropyString": 4.5, "HexHighEntropyString": 3.0}
LOCKED: Final = {".secrets.baseline", "package-lock.json", "requirements.lock", "requirements-dev.lock"}
"""Nothing but versions and hashes; tests hold that."""


class Found(NamedTuple):
    """Something that looks like a secret; ``line`` is where, and not part of what it is."""

    file: str
    kind: str
    hashed: str
    line: int

    @property
    def key(self) -> tuple[str, str, str]:
        """As the baseline names it."""
        return self.file, self.kind, self.hashed


def find_secrets(root: Path, files: list[str]) -> list[Found]:
    """What looks like a secret in these files, which are named from ``root``."""
    plugins = [{"name": name} for name in DETECTORS]
    plugins += [{"name": name, "limit": limit} for name, limit in ENTROPY.items()]  # type: ignore[dict-item]
    collection = SecretsCollection(root=str(root))
    with transient_settings({"plugins_used": plugins}):
        for file in files:
            collection.scan_file(file)
    return [Found(file, secret.type, secret.secret_hash, secret.line_number) for file, secret in collection]


def tracked_files(root: Path) -> list[str]:
    """Every file that git knows or would take, without the locks."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],  # noqa: S607 - PATH's
        cwd=root,
        capture_output=True,
        check=True,
    )
    names = (name.decode() for name in listing.stdout.split(b"\0") if name)
    return sorted(name for name in names if name not in LOCKED and (root / name).is_file())


def read_baseline() -> dict[tuple[str, str, str], str]:
    """What was looked at before, and why it is no secret."""
    entries = json.loads(BASELINE.read_text(encoding="utf-8"))
    return {(file, kind, hashed): reason for file, kind, hashed, reason in entries}


def unexplained(found: list[Found], accepted: Container[tuple[str, str, str]]) -> list[Found]:
    """What the baseline does not have. Pure."""
    return [each for each in found if each.key not in accepted]


def main() -> None:
    """Print what is not in the baseline, and fail if there is any; or take it into the baseline."""
    found = find_secrets(ROOT, tracked_files(ROOT))
    accepted = read_baseline()
    match sys.argv[1:]:
        case ["--accept", reason]:
            reasons = {each.key: accepted.get(each.key, reason) for each in found}
            lines = (json.dumps([*key, reason]) for key, reason in sorted(reasons.items()))
            BASELINE.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        case _:
            rest = unexplained(found, accepted)
            for each in rest:
                print(f"{each.file}:{each.line}: {each.kind}")
            sys.exit(1 if rest else 0)


if __name__ == "__main__":
    main()
