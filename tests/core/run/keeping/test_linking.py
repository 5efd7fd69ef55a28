"""RUN/model leads to the model of a run's only fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus.run.keeping.linking import is_of_before, link_model


def a_model(run: Path, fit: str = "fit") -> Path:
    model = run / "fits" / fit / "model"
    model.mkdir(parents=True)
    for name in ("stepbus.json", "config.json"):
        (model / name).write_text("{}")
    return model


def test_the_folder_of_a_run_leads_to_the_model_of_its_only_fit(tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = a_model(run)
    for _ in range(2):
        assert link_model(run, model) == ""
        assert (run / "model").readlink() == Path("fits/fit/model")
    run.rename(tmp_path / "moved")  # relative, so that it moves along
    assert (tmp_path / "moved" / "model" / "config.json").is_file()
    other = a_model(tmp_path / "moved", "only")  # the fit of another plan
    assert link_model(tmp_path / "moved", other) == ""
    assert (tmp_path / "moved" / "model").readlink() == Path("fits/only/model")


MINE: dict[str, Callable[[Path], object]] = {
    "a file": lambda path: path.write_text("mine"),
    "a folder": lambda path: (path / "mine").mkdir(parents=True),
    "an empty folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("/"),
    "a link to nothing": lambda path: path.symlink_to("nowhere/fits/fit/model"),
}


@pytest.mark.parametrize("kind", MINE)
def test_what_stands_where_that_link_would_stays_and_it_is_said(kind: str, tmp_path: Path) -> None:
    model = a_model(tmp_path)
    MINE[kind](tmp_path / "model")
    before = (tmp_path / "model").lstat()
    assert link_model(tmp_path, model) == (
        f"the model lies in {model}; {tmp_path}/model was there before, so it stays and does not lead to it"
    )
    assert os.path.samestat((tmp_path / "model").lstat(), before)


def test_a_file_system_without_links_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert link_model(tmp_path, a_model(tmp_path)) == ""
    assert not os.path.lexists(tmp_path / "model")


def test_a_run_of_before_has_its_fit_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert not is_of_before(tmp_path, ["fit"])
    (tmp_path / "checkpoints").mkdir()
    assert is_of_before(tmp_path, ["fit"])
    assert not is_of_before(tmp_path, ["fold-1", "fold-2"])
    a_model(tmp_path)
    assert not is_of_before(tmp_path, ["fit"])
