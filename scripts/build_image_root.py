"""Carry out the Dockerfile without Docker: ``python -m scripts.build_image_root FOLDER`` (as root, on Debian).

Leaves the last stage's file system in FOLDER and prints the image's settings. The base image is stood in for by
debootstrap's smallest Debian; RUN goes through ``chroot`` in namespaces of its own, COPY obeys ``.dockerignore``. What
is not shown by it: layers, the registry, and whatever is in the real base image alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent
MIRROR: Final = "http://deb.debian.org/debian"
_AUTHORITIES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BASE: Final = re.compile(r"debian:([a-z]+)-slim")
# A root of one's own: what the kernel shows there, and nothing of it outlives the command. Its arguments: the root, how
# it is mounted (rw or ro), user:group, the folder to start in, and the command.
_ENTER: Final = """
set -eu; root=$1 mode=$2 user=$3 folder=$4; shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
for device in null zero urandom; do mount --bind "/dev/$device" "$root/dev/$device"; done
[ "$mode" = rw ] || mount -o remount,bind,ro "$root"
exec /usr/sbin/chroot --userspec="$user" "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$folder" "$@"
"""


class CannotBuild(Exception):
    """The Dockerfile says what this does not understand."""


@dataclass(slots=True)
class Image:
    """A stage: its file system and what is set for those who run it."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _PATH})
    folder: str = "/"
    user: str = "0:0"
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"

    def enter(self, command: list[str], *, mode: str = "ro", user: str | None = None) -> list[str]:
        """The command line that runs a command inside, as its first process, and exits as that does."""
        entering = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", _ENTER, "enter"]
        return [*entering, str(self.root), mode, user or self.user, self.folder, *command]


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, comments left out and lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def is_sent(path: str, ignored: list[str]) -> bool:
    """Whether a path of the project goes to the builder: the last line of ``.dockerignore`` that fits decides."""
    sent = True
    for line in ignored:
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if re.fullmatch(f"{pattern}(/.*)?", path):
            sent = line.startswith("!")
    return sent


def build(folder: Path, *, mirror: str = MIRROR) -> Image:
    """Carry out the Dockerfile; the last stage is left in ``folder``/image. Raises CannotBuild, CalledProcessError."""
    values: dict[str, str] = {}
    stages: dict[str, Image] = {}
    image = Image(folder)
    for name, argument in instructions((PROJECT / "Dockerfile").read_text(encoding="utf-8")):
        rest = re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], argument) if name == "FROM" else argument
        match name, rest.split():
            case "ARG", [_]:
                variable, _, value = rest.partition("=")
                values[variable] = value
            case "FROM", [base, *alias]:
                stage = alias[1] if alias else "image"
                image = stages[stage] = Image(folder / stage)
                _copy_base(base, folder, image.root, mirror)
            case "WORKDIR", [path]:
                image.folder = path
                _inside(image, image.folder).mkdir(parents=True, exist_ok=True)
            case "ENV", _:
                image.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            case "USER", [user]:
                image.user = user
            case "COPY", [source, *paths] if source.startswith("--from="):
                _copy(stages[source.removeprefix("--from=")].root, paths, image)
            case "COPY", paths:
                _copy(PROJECT, paths, image)
            case "RUN", _:
                _run(image, rest)
            case "HEALTHCHECK", _:
                image.health_check = json.loads(rest[rest.index("[") :])
            case "CMD", _:
                image.command = json.loads(rest)
            case "STOPSIGNAL", [stop_signal]:
                image.stop_signal = stop_signal
            case "EXPOSE", _:
                pass
            case _:
                raise CannotBuild(f"{name} {rest}")
    return image


def _copy_base(base: str, folder: Path, root: Path, mirror: str) -> None:
    match = _BASE.fullmatch(base)
    if match is None:
        raise CannotBuild(f"no stand-in for {base}")
    minimal = folder / match[0]
    if not minimal.exists():
        security = f"{mirror}-security"
        _execute(["debootstrap", "--variant=minbase", match[1], str(minimal), mirror])
        lines = (f"{mirror} {match[1]}", f"{mirror} {match[1]}-updates", f"{security} {match[1]}-security")
        sources = "".join(f"deb {line} main\n" for line in lines)
        (minimal / "etc/apt/sources.list").write_text(sources, encoding="utf-8")
    _execute(["cp", "-a", str(minimal), str(root)])


def _copy(source: Path, paths: list[str], image: Image) -> None:
    """COPY, of one folder's contents or of files; from the project only what ``.dockerignore`` lets through."""
    *origins, target = paths
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines() if source == PROJECT else []
    lines = [line for line in ignored if line and not line.startswith("#")]
    for origin in origins:
        at = source / origin.lstrip("/")
        to = _inside(image, target)
        if at.is_file():
            if target.endswith("/"):
                to.mkdir(parents=True, exist_ok=True)
            shutil.copy2(at, to / at.name if target.endswith("/") else to)
            continue

        def left_out(parent: str, names: list[str]) -> list[str]:
            return [name for name in names if not is_sent(str((Path(parent) / name).relative_to(source)), lines)]

        shutil.copytree(at, to, symlinks=True, dirs_exist_ok=True, ignore=left_out)


def _inside(image: Image, path: str) -> Path:
    return image.root / os.path.join(image.folder, path).lstrip("/")  # noqa: PTH118 - an absolute path wins, as in Docker


def _run(image: Image, command: str) -> None:
    """RUN, with this machine's names of hosts and its authorities, as a builder has them behind a company's proxy."""
    lent = {Path("/etc/resolv.conf"): "etc/resolv.conf", _AUTHORITIES: "run/authorities.pem"}
    for path, name in lent.items():
        if path.exists():
            shutil.copyfile(path, image.root / name)
    environment = {**image.environment, "DEBIAN_FRONTEND": "noninteractive", "PIP_CERT": "/run/authorities.pem"}
    _execute(image.enter(["/bin/sh", "-c", command], mode="rw", user="0:0"), environment)
    for name in lent.values():
        (image.root / name).unlink(missing_ok=True)


def _execute(command: list[str], environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, check=True, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr)


if __name__ == "__main__":
    built = build(Path(sys.argv[1]))
    sys.stdout.write(f"{built}\n")
