from pathlib import Path

import pytest

from bench import environments
from bench.environments import Environment, NotInstalled


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "made")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path


def test_what_cannot_be_installed_is_said_and_tried_again(folder: Path) -> None:
    (folder / "thing.lock").write_text(f"no-such-thing==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(NotInstalled, match=r"^thing\.lock could not be installed: .*no-such-thing==1\.0"):
        Environment("thing").command("thing")
    (folder / "thing.lock").write_text("")
    python = Environment("thing").command("python")
    assert python.is_file()
    made_at = python.parent.stat().st_mtime_ns
    assert Environment("thing").command("python").parent.stat().st_mtime_ns == made_at  # as it is, not made again
