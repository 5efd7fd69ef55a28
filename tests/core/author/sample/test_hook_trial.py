"""What is wrong with what a plugin's hooks put into a step is known before any run: a tiny one is traced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import define

from stepbus import Problem, hookimpl, import_module, setting
from stepbus.author.checks import problems_of
from stepbus.author.sample.hook_trial import TRIED, hook_problem
from stepbus.config.discovery.plugins import installed, load_class
from stepbus.testing.scripted import loaded_class

misdeeds: Any = import_module(str(Path(__file__).parents[3] / "fixtures" / "misdeeds.py"))
DEEDS = {name: deed for name, deed in misdeeds.DEEDS.items() if deed.hook in TRIED}


@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS.keys())
def test_a_misdeed_is_found_before_a_run(deed: Any) -> None:
    said = hook_problem(loaded_class(deed.plugin()))
    assert said.startswith(deed.hook), said
    assert "\n" not in said
    for words in deed.says:
        # Rows of a batch and places in a tree are those of another model.
        assert words.replace("[4]", "[8]") in said, said


def test_every_hook_of_a_step_has_a_misdeed() -> None:
    assert {deed.hook for deed in DEEDS.values()} == TRIED


@pytest.mark.parametrize("name", [name for name, plugin in installed().items() if plugin.distribution == "stepbus"])
def test_nothing_is_wrong_with_ours(name: str) -> None:
    assert hook_problem(load_class(name)) == ""


class Late:
    """Wrap the loss wrongly, from the second epoch on."""

    @hookimpl
    def phases(self, trainer: Any) -> list[int]:
        return [trainer.state.steps_per_epoch]

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        return (lambda forward, batch: 3) if trainer.state.step else None


def test_every_phase_is_tried() -> None:
    words = "wrap_loss: expected (row losses [B], {name: scalar array}) from its loss, got 3"
    assert problems_of(loaded_class(Late)) == [words]


class Needs(Late):
    """The same, with a setting that must be given."""

    @define(frozen=True, kw_only=True)
    class Config:
        rate: float = setting(meaning="a rate")

    def __init__(self, config: Config) -> None:
        self.config = config


class TooLong(Late):
    """The same, for runs that are longer."""

    @hookimpl
    def validate_plan(self) -> list[Problem]:
        return [Problem("plugins.too_long.start", "expected a longer run")]


def test_what_cannot_be_tried_with_default_settings_is_left() -> None:
    assert problems_of(loaded_class(Needs)) == []
    assert problems_of(loaded_class(TooLong)) == []
