"""The modules that every message goes through can run compiled: ``python -m scripts.compile_relay`` makes C of them.

They stay ordinary Python, which is also what runs where nothing was compiled, or with ``PURE_PYTHON=1``; a ``.pxd``
beside each says what is a C structure or number then (Cython's "augmenting .pxd"). What was compiled lies in a folder
named by all that went into it, so that it is never used for anything else.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Final

MODULES: Final = (
    "conversation",
    "events",
    "meter",
    "pace",
    "picows_burst",
    "picows_channel",
    "picows_connection",
    "picows_masks",
    "wire",
)
DIRECTIVES: Final = {
    "language_level": 3,
    "annotation_typing": False,  # what is a C number is said in the .pxd only
    "emit_code_comments": False,
}
ROOT: Final = Path(__file__).parent / "__compiled__"


def folder() -> Path:
    """Where the modules lie if they were compiled from these sources, for this Python and this picows."""
    digest = hashlib.sha256(f"{EXTENSION_SUFFIXES[0]} {metadata.version('picows')} {json.dumps(DIRECTIVES)}".encode())
    for name in (f"{module}.{kind}" for module in MODULES for kind in ("py", "pxd")):
        text = (ROOT.parent / name).read_bytes()
        digest.update(f"{name} {len(text)} ".encode() + text)
    return ROOT / digest.hexdigest()[:16]


def is_in_use() -> bool:
    """Whether this process runs them compiled."""
    import relay

    return relay.__path__[0].startswith(str(ROOT))


def search_path() -> list[str]:
    """Where to look for this package's modules before their sources."""
    if os.environ.get("PURE_PYTHON", "") not in ("", "0"):
        return []
    compiled = folder()
    return [str(compiled)] if compiled.is_dir() else []
