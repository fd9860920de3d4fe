"""``python -m scripts.compile_relay``: compile the relay's hot path with Cython and a C compiler.

Does nothing where it was done for these sources. Where it cannot, it ends with status 1 and says why; the relay runs
without. With ``--lacking`` it only names the Debian packages that it would need and that are not there.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from relay.compiled import DIRECTIVES, MODULES, ROOT, folder


def main() -> None:
    """Compile what is not compiled yet, and remove what was compiled from other sources."""
    target = folder()
    if target.is_dir():
        return
    if sys.argv[1:] == ["--lacking"]:
        print(*lacking())
        return
    print(f"Compiling the relay's hot path: {', '.join(MODULES)}")
    said = io.StringIO()
    try:
        with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(said):
            built = compile_into(Path(temporary))
            shutil.rmtree(ROOT, ignore_errors=True)
            made = ROOT / "making"
            shutil.copytree(built, made)
            made.rename(target)
    except Exception as error:  # noqa: BLE001 - whatever a compiler does not like
        sys.exit(f"{said.getvalue()}Not compiled, so the relay runs as plain Python: {error}")


def lacking() -> list[str]:
    """Debian's packages of what is missing: a C compiler, and the headers of Python where it is Debian's."""
    packages = []
    if shutil.which(os.environ.get("CC") or shlex.split(sysconfig.get_config_var("CC") or "cc")[0]) is None:
        packages += ["gcc", "libc6-dev"]
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        packages.append(f"libpython{sysconfig.get_python_version()}-dev")
    return packages


def compile_into(temporary: Path) -> Path:
    """Make extension modules of all of them; returns the folder where they lie."""
    from setuptools import Distribution  # type: ignore[import-untyped]
    from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]

    distribution = Distribution({"ext_modules": _in_c(temporary / "c")})
    command: Any = build_ext(distribution)
    command.build_lib, command.build_temp, command.parallel = str(temporary / "lib"), str(temporary / "o"), True
    command.ensure_finalized()
    command.run()
    return temporary / "lib" / "relay"


def _in_c(folder: Path) -> list[Any]:
    from Cython import Build
    from setuptools import Extension

    cythonize: Any = Build.cythonize  # has no types
    modules = [Extension(f"relay.{name}", [f"relay/{name}.py"], extra_compile_args=["-O2", "-g0"]) for name in MODULES]
    return list(
        cythonize(modules, build_dir=str(folder), compiler_directives=DIRECTIVES, include_path=sys.path, quiet=True)
    )


if __name__ == "__main__":
    main()
