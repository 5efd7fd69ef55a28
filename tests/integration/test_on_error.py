"""`on_error`: said by a class or in YAML, for plugins that only watch or only find problems; who is off stays off."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from stepbus import PluginError, PluginFailure, Problem, create_trainer, hookimpl
from stepbus.testing import play

CALLS: list[str] = []


class Tracker:
    """Track a run on a server that is down, and check its own settings."""

    on_error = "disable"
    scope = "run"

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        return [] if plan.fits else [Problem("plugins.tracker", "no fits")]

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        CALLS.append(f"step {state.step}")
        raise ConnectionError("down")

    @hookimpl
    def on_close(self, status: str) -> None:
        CALLS.append(f"closed {status}")


class Raising:
    """Fail where the plan is looked at."""

    on_error = "disable"

    @hookimpl
    def validate_plan(self) -> None:
        raise KeyError("of the sample")

    @hookimpl
    def on_step_end(self) -> None:
        CALLS.append("never")


class Changes:
    """Change gradients, and say that nothing depends on it."""

    on_error = "disable"

    @hookimpl
    def transform_gradients(self) -> None: ...


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


@pytest.mark.parametrize("instance", [False, True])
def test_a_class_says_it_and_a_run_goes_on(instance: bool, tiny_config: Callable[..., dict[str, Any]]) -> None:
    plugin = Tracker() if instance else Tracker
    assert create_trainer(config=tiny_config(training={"max_steps": 2}), plugins=[plugin]).train().status == "ok"
    assert CALLS == ["step 1", "closed ok"]


def test_a_configuration_goes_first() -> None:
    with pytest.raises(PluginFailure, match=r"^tracker, .*: on_step_end raised ConnectionError at step 1: down"):
        play((Tracker, {"on_error": "raise"}))
    assert CALLS == ["step 1", "closed failed"]


def test_off_since_the_plan_it_is_off_in_every_fit() -> None:
    played = play(Raising)
    assert played.status == "ok"
    assert CALLS == []
    (said,) = [text for text in played.messages if "raising" in text]
    assert "validate_plan raised KeyError" in said
    assert list(played.disabled) == ["raising"]


def test_problems_that_it_finds_still_end_the_run(tiny_config: Callable[..., dict[str, Any]]) -> None:
    class Finds(Tracker):
        @hookimpl
        def validate_plan(self, plan: Any) -> list[Problem]:
            return [Problem("plugins.finds", "expected a server, got none")]

    with pytest.raises(Exception, match=r"plugins.finds: expected a server, got none"):
        create_trainer(config=tiny_config(), plugins=[Finds]).train()
    assert CALLS == ["closed failed"]


def test_who_changes_something_cannot_say_it(tiny_config: Callable[..., dict[str, Any]]) -> None:
    module = ModuleType("changes")
    module.on_error = "disable"  # type: ignore[attr-defined]
    module.transform_gradients = hookimpl(lambda: None)  # type: ignore[attr-defined]
    for plugin in (Changes, Changes(), module):
        with pytest.raises(PluginError, match=r"on_error: disable fits plugins that only watch.*transform_gradients"):
            create_trainer(config=tiny_config(), plugins=[plugin]).train()


@pytest.mark.parametrize("value", ["ignore", None, lambda self: None])
def test_another_word_is_refused(value: Any, tiny_config: Callable[..., dict[str, Any]]) -> None:
    other = type("Other", (Tracker,), {"on_error": value})
    with pytest.raises(PluginError, match=r'expected on_error = "raise" or "disable"'):
        create_trainer(config=tiny_config(), plugins=[other]).train()
