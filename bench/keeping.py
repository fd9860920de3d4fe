"""Where results go: JSON, plots drawn from it, and the tables of docs/performance.md.

A run leaves its own in ``.bench``; what the documents quote is kept in ``bench/results``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from bench.environments import FOLDER, Environment, NotInstalled
from bench.pictures import Figure, picture_of, picture_of_soak
from bench.reading import Reading
from bench.report import results_in_words, soak_in_words
from bench.results import Results, Soak
from scripts.printed_page import with_table

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs/performance.md"
PUBLISHED: Final = ROOT / "bench/results"
_NAMES: Final = {Results: "bench", Soak: "soak"}


def keep(results: Results | Soak, file: Path | None, say: Callable[[str], None], *, publish: bool) -> None:
    """Write JSON and plot, to ``file`` or into ``.bench``; with ``publish``, into the documents, tables too."""
    name = _NAMES[type(results)]
    file = PUBLISHED / f"{name}.json" if publish else file or FOLDER / f"{name}.json"
    picture = ROOT / f"docs/pictures/{name}.svg" if publish else file.with_suffix(".svg")
    file.parent.mkdir(exist_ok=True)
    say(f"Writing {file} and {picture}")
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    if publish:
        PAGE.write_text(page_with_tables(PAGE.read_text("utf-8")), "utf-8")
    figure = picture_of(Reading(results)) if isinstance(results, Results) else picture_of_soak(results)
    if not figure["panels"]:
        return
    try:
        draw(figure, picture)
    except NotInstalled as problem:
        say(f"There is no plot: {problem}")


def draw(figure: Figure, picture: Path) -> None:
    """Draw a figure. Raises NotInstalled."""
    python = Environment("plot").command("python")
    command = [str(python), str(Path(__file__).with_name("draw.py")), str(picture)]
    subprocess.run(command, input=json.dumps(figure), text=True, check=True)


def published() -> dict[str, str]:
    """What the published results say, by the name of their file."""
    results = msgspec.json.decode((PUBLISHED / "bench.json").read_bytes(), type=Results)
    soak = msgspec.json.decode((PUBLISHED / "soak.json").read_bytes(), type=Soak)
    return {"bench.json": results_in_words(Reading(results)), "soak.json": soak_in_words(soak)}


def page_with_tables(page: str) -> str:
    """The page with what the published results say between its markers."""
    for name, text in published().items():
        page = with_table(page, f"bench/results/{name}", text)
    return page
