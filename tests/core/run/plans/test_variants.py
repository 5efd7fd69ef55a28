"""Overrides of fits: what they are made with, and what no fit can override."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, evolve

from stepbus import Axis, ConfigError, Fit, Problem, hookimpl, setting
from stepbus.testing import planned, play


class Says:
    """Log the number that it was made with."""

    @define(frozen=True, kw_only=True)
    class Config:
        number: int = setting(1, "a number")
        highest: int = setting(9, "the highest of all", check=lambda value: value < 10, expected="a number below 10")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        if self.config.number <= self.config.highest:
            return []
        return [Problem("plugins.says.number", f"expected at most {self.config.highest}, got {self.config.number}")]

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        trainer.message(f"{trainer.fit_name} says {self.config.number}")


class Whole:
    scope = "run"

    @define(frozen=True, kw_only=True)
    class Config:
        size: int = setting(1, "a number")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def on_run_start(self) -> None: ...


def second(**overrides: Any) -> type:
    """Return a plugin whose second fit overrides settings; `__` stands for the dot."""
    given = {name.replace("__", "."): value for name, value in overrides.items()}

    class Twice:
        scope = "run"
        grows = (Axis("round"),)

        @hookimpl
        def expand_fits(self, fits: list[Fit]) -> list[Fit]:
            one, two = (evolve(fits[0], name=f"fit-{n}", scope={"round": n}) for n in (1, 2))
            return [one, evolve(two, overrides=given)]

        @hookimpl
        def combine_results(self, results: list[Any]) -> Any:
            return results[-1]

    return Twice


def test_a_fit_has_its_own_settings_and_plugins() -> None:
    seen: list[tuple[str, int, float, str, int]] = []

    class Watches:
        scope = "run"

        @hookimpl
        def on_fit_end(self, trainer: Any, state: Any) -> None:
            config = trainer.config
            rate, monitor = trainer.optimizer.learning_rate, trainer.monitor
            seen.append((trainer.fit_name, state.step, rate, monitor, config.training.log_steps))

    twice = second(
        optimizer__learning_rate=0.5,
        training__num_epochs=1,
        training__log_steps=7,
        training__monitor="eval_f1",
        plugins__says__number=3,
    )
    played = play(twice, Says, Watches, metrics=[{"eval_loss": 0.5, "eval_f1": 0.5}])
    assert seen == [("fit-1", 10, 5e-5, "eval_loss", 10), ("fit-2", 5, 0.5, "eval_f1", 7)]
    assert [text for text in played.messages if "says" in text] == ["fit-1 says 1", "fit-2 says 3"]
    assert played.run.config.training.num_epochs == 2
    assert played.run.results[1].steps == 5


def test_fits_with_equal_overrides_are_made_with_the_same() -> None:
    played = play(second(), Says)
    one, two = (played.run.variants.of(fit) for fit in played.run.fits)
    assert one is two
    assert one.config is played.run.config


@pytest.mark.parametrize(
    ("overrides", "path", "words"),
    [
        (
            {"learning_rate": 1},
            "learning_rate",
            "expected SECTION.SETTING or plugins.NAME.SETTING, got 'learning_rate'",
        ),
        ({"optimizer__learning_rat": 1}, "optimizer.learning_rat", "did you mean 'learning_rate'?"),
        (
            {"optimizer__learning_rate": "x"},
            "optimizer.learning_rate",
            "fit 'fit-2' overrides it: expected number, got",
        ),
        ({"training__num_epochs": 0}, "training.num_epochs", "fit 'fit-2' overrides it: expected"),
        ({"environment__device": "cpu"}, "environment.device", "which no fit can: a run has one folder and one device"),
        ({"training__seed": 1}, "training.seed", "which no fit can: it is in the description of the fit: seed=…"),
        ({"training__exact": True}, "training.exact", "which no fit can: it is about the whole run"),
        ({"data__train": "a.csv"}, "data.train", "which no fit can: the rows of a fit are its sets"),
        ({"data__id": "row"}, "data.id", "which no fit can: the rows were read already"),
        ({"data__label": "other"}, "data.label", "the labels are the run's; an auxiliary fit may have its own"),
        ({"plugins__says": False}, "plugins.says", "which plugins are on is the run's; override single settings"),
        ({"plugins__says__use": "x:Y"}, "plugins.says.use", "which plugins are on is the run's"),
        ({"plugins__sais__number": 2}, "plugins.sais.number", "the plugin 'sais' is not on (did you mean 'says'?)"),
        ({"plugins__whole__size": 2}, "plugins.whole.size", "serves the whole run, and one fit has no settings of it"),
        ({"plugins__says__highest": 20}, "plugins.says.highest", "expected a number below 10, got 20"),
    ],
)
def test_what_no_fit_can_override(overrides: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(second(**overrides), Says, Whole)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert words in problem.message
    assert problem.message.endswith(f"(twice, {__name__})")


def test_plugins_and_core_look_at_each_configuration_before_anything_is_loaded() -> None:
    with pytest.raises(ConfigError) as caught:
        planned(second(plugins__says__number=10, training__monitor="eval_f2"), Says, metrics=[{"eval_loss": 0.5}])
    assert [(problem.path, problem.message.partition(";")[0]) for problem in caught.value.problems] == [
        ("plugins.says.number", "expected at most 9, got 10"),
        ("training.monitor", "expected a metric that this run computes, got 'eval_f2' (did you mean 'eval_loss'?)"),
    ]
    assert all("so fit 'fit-2' would have it, by its overrides" in each.message for each in caught.value.problems)
