"""`environment.debug`: steps run uncompiled, every array is looked at, and what is computed is what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import CheckpointError, StepbusError, create_trainer, hookimpl
from stepbus.plan.planning import describe_plan
from stepbus.testing import Recorder

Config = Callable[..., dict[str, Any]]
DEBUG = {"debug": True}


class KeptLosses:
    """Keep the loss of each update."""

    def __init__(self) -> None:
        self.found: list[float] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.found.append(step.loss)


def losses_of(tree: dict[str, Any], **environment: Any) -> list[float]:
    kept = KeptLosses()
    folder = tree["environment"]["output_dir"] + f"-{len(environment)}"
    tree = {**tree, "environment": {"output_dir": folder, **environment}}
    create_trainer(config=tree, plugins=[kept]).train()
    return kept.found


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"training": {"gradient_accumulation_steps": 3}},
        {"training": {"precision": "float16"}},
        {"training": {"precision": "bfloat16"}},
        {"plugins": {"lora": {"rank": 2}, "rdrop": {}, "ema": {}, "gradient_checkpointing": {}}},
        {"plugins": {"adversarial_training": {}, "freeze": {"layers": 1}, "cross_validation": {"folds": 2}}},
    ],
    ids=["plain", "accumulated", "float16", "bfloat16", "lora-rdrop-ema", "adversarial-folds"],
)
def test_the_losses_are_those_of_compiled_steps(sections: dict[str, Any], tiny_config: Config) -> None:
    """The same dropout, so to 1e-5: fused kernels may round otherwise (on the CPU that was tried they do not)."""
    short = {"training": {"num_epochs": 1, **sections.get("training", {})}}
    plugins = {"plugins": {"progress": False, **sections.get("plugins", {})}}
    data = {"data": {"validation": None}} if "cross_validation" in plugins["plugins"] else {}
    tree = tiny_config(**short, **plugins, **data)
    compiled, debugged = losses_of(tree), losses_of(tree, debug=True)
    assert len(compiled) >= 3
    np.testing.assert_allclose(debugged, compiled, rtol=1e-5 if "precision" not in short["training"] else 1e-3)


class Prints:
    """Print the losses of each batch, and go wrong in Python where a loss is large."""

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        def printing(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            print("rows of", rows.max().item())
            return rows, named

        return printing


def test_print_works_in_what_is_traced_otherwise(tiny_config: Config, capsys: Any) -> None:
    tree = tiny_config(training={"max_steps": 3})
    with pytest.raises(StepbusError, match=r"reads the value of an array .*; or run it uncompiled, .*: environment"):
        create_trainer(config=tree, plugins=[Prints()]).train()
    create_trainer(config={**tree, "environment": {**tree["environment"], **DEBUG}}, plugins=[Prints()]).train()
    assert capsys.readouterr().out.count("rows of 0.") == 3


class Broken:
    """Divide the gradients of an update by zero."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.weights: dict[str, Any] = {}
        self.model: Any = None

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        named: Any = tree_flatten(trainer.model.parameters())
        self.weights, self.model = {name: np.array(array) for name, array in named}, trainer.model

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        state, at = trainer.optimizer.state, self.at

        def broken(gradients: Any) -> Any:
            gradients["head"]["bias"] = mx.where(
                state["step"] == at - 1, gradients["head"]["bias"] / 0.0, gradients["head"]["bias"]
            )
            return gradients

        return broken


def test_the_first_fault_stops_before_the_optimizer_and_leaves_the_weights(tiny_config: Config) -> None:
    broken = Broken(4)
    with pytest.raises(StepbusError) as caught:
        create_trainer(config=tiny_config(environment=DEBUG), plugins=[broken]).train()
    words = str(caught.value)
    assert words.startswith("step 4: the first numbers that are not finite are in the gradient of head.bias (above the")
    assert "as Broken (passed in Python): transform_gradients gives it, while it was finite before" in words
    assert words.endswith("look at what changes the gradients")
    now: Any = tree_flatten(broken.model.parameters())
    for name, array in now:
        np.testing.assert_array_equal(np.array(array), broken.weights[name], err_msg=name)


def test_an_update_that_an_optimizer_breaks_is_caught_at_once(tiny_config: Config) -> None:
    tree = tiny_config(optimizer={"type": "sgd", "learning_rate": 3e38, "weight_decay": 1e38}, environment=DEBUG)
    with pytest.raises(StepbusError, match=r"step 1: .* the new value of .* that the optimizer gives, while its grad"):
        create_trainer(config=tree).train()


def test_plan_and_run_say_it(tiny_config: Config) -> None:
    tree = tiny_config(training={"max_steps": 1}, environment=DEBUG)
    words = "environment.debug: steps run uncompiled, 1.5 to 5 times slower"
    assert any(words in note for note in describe_plan(tree)["notes"])
    heard = Recorder()
    create_trainer(config=tree, plugins=[heard]).train()
    assert any(words in message for message in heard.messages)


def test_a_run_goes_on_with_it_and_says_the_other_condition(tiny_config: Config, tmp_path: Path) -> None:
    class Cut:
        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == 15:  # after the first epoch's checkpoint
                trainer.run.signal = 15

    tree = tiny_config()
    with pytest.raises(StepbusError):
        create_trainer(config=tree, plugins=[Cut]).train()
    said: list[str] = []

    class Heard:
        affects_result, scope = False, "run"

        @hookimpl
        def on_message(self, text: str) -> None:
            said.append(text)

    debugged = {**tree, "environment": {**tree["environment"], **DEBUG}}
    exact = {**debugged, "training": {**tree["training"], "exact": True}}
    with pytest.raises(CheckpointError, match=r"with mx\.compile off, began with mx\.compile on"):
        create_trainer(config=exact, plugins=[Cut]).train(resume=True)
    create_trainer(config=debugged, plugins=[Cut, Heard]).train(resume=True)
    assert any("resumed with mx.compile off, began with mx.compile on" in text for text in said)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["facts"]["conditions"]
    assert facts["compile"] == "on"
