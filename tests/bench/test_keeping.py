from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import keeping
from bench.environments import NotInstalled
from bench.results import Results
from tests.bench.building import done, results, run
from tests.bench.test_report import GOOD


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that were drawn."""
    pictures: list[Path] = []
    monkeypatch.setattr(keeping, "draw", lambda _figure, picture: pictures.append(picture))
    return pictures


def test_a_run_is_kept_where_it_is_wanted_with_its_picture_beside_it(tmp_path: Path, drawn: list[Path]) -> None:
    file = tmp_path / "kept/run.json"
    keeping.keep(GOOD, file, lambda _: None, publish=False)
    assert msgspec.json.decode(file.read_bytes(), type=Results) == GOOD
    assert drawn == [tmp_path / "kept/run.svg"]


def test_what_has_nothing_to_draw_is_kept_all_the_same(tmp_path: Path, drawn: list[Path]) -> None:
    keeping.keep(results(run("mint", "services", done(200))), tmp_path / "run.json", lambda _: None, publish=False)
    assert (tmp_path / "run.json").is_file()
    assert drawn == []


def test_without_what_draws_the_rest_is_kept_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(_figure: Any, _picture: Path) -> None:
        raise NotInstalled("no network")

    said: list[str] = []
    monkeypatch.setattr(keeping, "draw", draw)
    keeping.keep(GOOD, tmp_path / "run.json", said.append, publish=False)
    assert (tmp_path / "run.json").is_file()
    assert said[-1] == "There is no plot: no network"
