"""Relative paths that stay where they were, and the words for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepbus.base import spelling
from stepbus.base.errors import CheckpointError
from stepbus.base.spelling import as_written, from_here


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(spelling, "_WRITTEN", {})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_absolute_and_said_as_it_was_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = from_here(Path("runs/x"))
    assert found == here / "runs/x"
    text = f"in {found} and '{found}-2/model', not in /other{found} or {here}/rest"
    assert as_written(text) == f"in runs/x and 'runs/x-2/model', not in /other{found} or {here}/rest"
    assert str(CheckpointError(f"{found}: it is gone")) == "runs/x: it is gone"
    monkeypatch.chdir(here / "elsewhere")
    assert as_written(text) == text, "from here the short words would lead elsewhere"


def test_an_absolute_one_and_the_folder_itself_stay_as_they_are(here: Path) -> None:
    assert from_here(here / "runs") == here / "runs"
    assert from_here(Path()) == here
    assert as_written(f"{here}/runs and {here}") == f"{here}/runs and {here}"


def test_it_starts_where_it_was_given(here: Path) -> None:
    assert from_here(Path("runs"), here / "elsewhere") == here / "elsewhere/runs"
    assert as_written(f"{here}/elsewhere/runs") == f"{here}/elsewhere/runs"
