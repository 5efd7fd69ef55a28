"""Plugins that misbehave in a real run: one sentence names the plugin, and nobody else is given something wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import StepbusError, create_trainer, hookimpl, import_module

deeds: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "misdeeds.py"))
LABEL = "Misbehaves (passed in Python)"


class Listens:
    """Count the updates that were made."""

    scope = "run"

    def __init__(self) -> None:
        self.steps = 0

    @hookimpl(tryfirst=True)
    def on_step_end(self, state: Any) -> None:
        self.steps = state.step


@pytest.fixture
def small(tiny_config: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The smallest configuration: two updates, each logged and evaluated."""
    training = {"num_epochs": 1, "max_steps": 2, "log_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    return tiny_config(training=training, plugins={"progress": False, "history": False})


def says(sentence: str, words: tuple[str, ...]) -> None:
    """Hold a sentence against words that stand in it in this order."""
    assert "\n" not in sentence
    rest = sentence
    for each in words:
        assert each in rest, (each, sentence)
        rest = rest.partition(each)[2]


@pytest.mark.parametrize("name", deeds.DEEDS)
def test_a_misdeed_is_one_sentence_with_its_plugin(name: str, small: dict[str, Any], tally: Any) -> None:
    deed, listens = deeds.DEEDS[name], Listens()
    with tally("6 misdeeds of plugins", name) as seen:
        with pytest.raises(StepbusError) as caught:
            create_trainer(config=small, plugins=[deed.plugin(), listens]).train()
        sentence = str(caught.value)
        assert LABEL in sentence
        assert deed.hook in sentence
        says(sentence, deed.says)
        assert not deed.before or listens.steps == 0
        seen.refused(sentence)


@pytest.mark.parametrize("name", deeds.MEMORIES)
def test_a_memory_that_cannot_be_kept(name: str, small: dict[str, Any], tally: Any) -> None:
    state, words = deeds.MEMORIES[name]
    with tally("6 misdeeds of plugins", f"remembers {name}") as seen:
        with pytest.raises(StepbusError) as caught:
            create_trainer(config=small, plugins=[deeds.Memory(state).plugin()]).train()
        sentence = str(caught.value)
        assert LABEL in sentence
        says(sentence, words)
        seen.refused(sentence)


def test_two_fits_of_one_name_are_refused_with_their_plugin(small: dict[str, Any]) -> None:
    plugin = deeds.Deed("expand_fits", deeds.same_name, ()).plugin()
    with pytest.raises(
        StepbusError, match=r"two fits of the plan have the same name: .*Misbehaves \(passed in Python\)"
    ):
        create_trainer(config=small, plugins=[plugin]).train()


def test_who_closes_the_log_harms_nobody(small: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    plugin = deeds.Deed("on_step_end", deeds.closes_logging, ()).plugin()
    assert create_trainer(config=small, plugins=[plugin]).train().status == "ok"
    assert "Logging error" not in capfd.readouterr().err
