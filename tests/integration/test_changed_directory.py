"""A relative run directory stays where it was, whoever changes the working directory meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import create_trainer, hookimpl, open_trainer


class Wanders:
    """Change the working directory in the middle of a fit."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step == 2:
            os.chdir("elsewhere")


class Hears:
    """Keep what is told."""

    scope = "run"

    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def on_message(self, text: str) -> None:
        self.told.append(text)


def test_a_hook_that_changes_it_moves_no_file(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = {"environment": {"output_dir": "runs"}, "training": {"max_steps": 6, "num_epochs": 2}}
    config = tiny_config(**settings, plugins={"progress": False, "checkpoint": {"save_steps": 3}})
    trainer = create_trainer(config=config, plugins=[Wanders()])
    result = trainer.train()
    assert Path.cwd() == tmp_path / "elsewhere"
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert result.model_path is not None and result.model_path.is_relative_to(tmp_path / "runs")
    assert (result.model_path / "stepbus.json").is_file()
    assert list((tmp_path / "runs").rglob("step-00000006")) != []
    assert open_trainer(tmp_path / "runs").predict({"text": ["good"]}).shape == (1, 2)


def test_a_trainer_keeps_the_place_that_it_was_made_in(
    tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    hears, again = Hears(), Hears()
    config = tiny_config(environment={"output_dir": "runs"}, training={"max_steps": 2})
    trainer = create_trainer(config=config, plugins=[hears])
    monkeypatch.chdir(tmp_path / "elsewhere")
    trainer.train()
    assert list((tmp_path / "elsewhere").iterdir()) == []
    monkeypatch.chdir(tmp_path)
    create_trainer(config=config, plugins=[again]).train(resume=True)
    assert any(text.endswith(": runs/fits/fit") for text in again.told), again.told
    # Named by a path from elsewhere, it is the same run.
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert trainer.train(resume="../runs").steps == 2
