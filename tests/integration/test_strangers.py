"""The original's protocols, each held by an object of a stranger's, without a base class, in a real training."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers
import numpy as np
import pytest
from attrs import define

import stepbus
from stepbus import (
    BadInput,
    Component,
    OptimizerSettings,
    SchedulerSettings,
    create_trainer,
    hookimpl,
    protocols,
    setting,
)

INPUTS = np.random.default_rng(3).normal(size=(16, 3)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0] * 4)
SGD = {"type": "sgd", "learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.0}
PLAIN = {"scheduler": {"type": "constant"}, "plugins": {"progress": False, "gradient_clipping": False}}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Net(nn.Module):
    """A model of MLX's, which knows nothing of stepbus; its weights are the same each time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.layer.weight, self.layer.bias = mx.array([[0.1, -0.2, 0.3], [0.0, 0.2, -0.1]]), mx.zeros(2)

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


class Loader:
    """Batches by iteration, and their number."""

    def __iter__(self) -> Any:
        for start in range(0, 16, 4):
            yield {"x": INPUTS[start : start + 4], "labels": LABELS[start : start + 4]}

    def __len__(self) -> int:
        return 4


class Descent:
    """Gradient descent at a tenth of the rate; an object with `init` and `update`."""

    def init(self, parameter: Any) -> dict[str, Any]:
        return {"updates": mx.array(0.0)}

    def update(self, parameter: Any, gradient: Any, state: dict[str, Any], scalars: dict[str, Any]) -> Any:
        return parameter - 0.1 * scalars["learning_rate"] * gradient, {"updates": state["updates"] + 1}


class Halving:
    """Half the rate after the second update; an object with `rate`."""

    def rate(self, step: int, total_steps: int, base: float) -> float:
        return base if step < 2 else base / 2


def halving(step: int, total_steps: int, base: float) -> float:
    return Halving().rate(step, total_steps, base)


@define(frozen=True, kw_only=True)
class DescentSettings(OptimizerSettings):
    """Gradient descent at a tenth of the rate."""

    learning_rate: float = setting(5.0, "rate")


def offering(kind: str, settings: type, made: Any) -> type:
    part = Component(kind, "strange", settings, lambda _: made)
    return type("Offers", (), {"__doc__": "Offer a part of a stranger's.", "components": [part]})


def trained(*plugins: Any, callbacks: Any = (), epochs: int = 1, loader: Any = None, **sections: Any) -> Any:
    tree = {**PLAIN, "optimizer": SGD, **sections}
    trainer = create_trainer(
        Net(), tree, loss=nn.losses.cross_entropy, plugins=plugins, callbacks=callbacks, num_epochs=epochs
    )
    trainer.train(loader or Loader())
    return trainer


def weights(trainer: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in trainer.model["layer"].items()}


def test_lines_001_and_018_they_can_be_asked_at_run_time() -> None:
    names = ("Model", "DataLoader", "Optimizer", "LRScheduler", "Trainer", "TrainingHook")
    for name in names:
        protocol = getattr(protocols, name)
        assert not isinstance(object(), protocol) and inspect.getdoc(protocol)
    assert stepbus.Optimizer is not protocols.Optimizer and stepbus.Trainer is not protocols.Trainer


def test_lines_019_and_020_a_model_and_a_loader() -> None:
    assert isinstance(Net(), protocols.Model) and isinstance(Loader(), protocols.DataLoader)
    one, other = trained(epochs=2), trained(epochs=2, loader=list(Loader()))
    assert one.result.steps == 8
    for name, array in weights(one).items():
        np.testing.assert_array_equal(array, weights(other)[name])
        assert not np.array_equal(array, np.array(Net()["layer"][name]))


def test_line_021_an_optimizer() -> None:
    assert isinstance(Descent(), protocols.Optimizer) and not isinstance(Descent(), stepbus.Optimizer)
    plugin = offering("optimizer", DescentSettings, Descent())
    strange = trained(plugin, optimizer={"type": "strange", "learning_rate": 5.0})
    ours = trained()
    for name, array in weights(ours).items():  # a tenth of 5 is the rate of ours
        np.testing.assert_allclose(weights(strange)[name], array, atol=1e-6)
    state = strange._session.optimizer.state["parameters"]
    assert float(state["layer"]["weight"]["updates"] if "layer" in state else state["layer.weight"]["updates"]) == 4


def test_line_021_its_run_resumes_to_the_same_bits() -> None:
    plugin = offering("optimizer", DescentSettings, Descent())
    section = {"type": "strange", "learning_rate": 5.0}
    whole = trained(plugin, optimizer=section, epochs=4)
    part = trained(plugin, optimizer=section, epochs=2)
    part.update_config(num_epochs=4)
    again = part.train(Loader(), resume=part.result.directory, allow_changed=True)
    assert again.steps == 16
    for name, array in weights(whole).items():
        np.testing.assert_array_equal(weights(part)[name], array)


@pytest.mark.parametrize("made", [Halving(), halving], ids=["object", "function"])
def test_line_022_a_schedule(made: Any) -> None:
    rates: list[float] = []

    class Watches:
        @hookimpl
        def on_step_end(self, step: Any) -> None:
            rates.append(step.learning_rate)

    assert isinstance(Halving(), protocols.LRScheduler) and not isinstance(Halving(), stepbus.Scheduler)
    trained(offering("scheduler", SchedulerSettings, made), Watches(), scheduler={"type": "strange"})
    assert rates == [0.5, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("kind", "settings", "made", "words"),
    [
        (
            "optimizer",
            OptimizerSettings,
            mlx.optimizers.AdamW(1e-3),
            "expected its build to return a stepbus.Optimizer",
        ),
        ("optimizer", OptimizerSettings, Descent, "got the class Descent"),
        ("optimizer", OptimizerSettings, object(), "expected its build to return a stepbus.Optimizer"),
        ("scheduler", SchedulerSettings, Halving, "got the class Halving"),
        ("scheduler", SchedulerSettings, 0.1, "expected its build to return a stepbus.Scheduler"),
    ],
)
def test_what_is_neither_is_refused(kind: str, settings: type, made: Any, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        trained(offering(kind, settings, made), **{kind: {"type": "strange"}})


def test_line_023_a_trainer() -> None:
    assert isinstance(trained(), protocols.Trainer)
    for name in ("train", "evaluate", "predict", "save_checkpoint", "load_checkpoint"):
        promised = list(inspect.signature(getattr(protocols.Trainer, name)).parameters)
        assert list(inspect.signature(getattr(stepbus.Trainer, name)).parameters)[: len(promised)] == promised


class Hook:
    """What the original's callbacks look like, without their base class."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def on_epoch_end(self, trainer: Any, state: Any) -> None:
        self.heard.append(("epoch", state.epoch))

    def on_step_end(self, state: Any) -> None:
        self.heard.append(("step", state.step))

    def helper(self) -> None:
        """No hook."""


def test_line_024_a_hook_object() -> None:
    hook = Hook()
    assert isinstance(hook, protocols.TrainingHook) and not isinstance(hook, stepbus.Callback)
    trained(callbacks=[hook])
    assert hook.heard == [("step", 1), ("step", 2), ("step", 3), ("step", 4), ("epoch", 0)]


def test_line_024_slips_in_a_hook_object_are_told() -> None:
    class Slips:
        def on_epoch_end(self, stat: Any) -> None: ...

    class Misnamed:
        def on_epoch_end(self) -> None: ...

        def on_stpe_end(self) -> None: ...

    class Nothing:
        def helper(self) -> None: ...

    for made, words in (
        (Slips(), "on_epoch_end gives no argument 'stat'"),
        (Misnamed(), "there is no hook 'on_stpe_end'"),
        (Nothing(), "it has neither hooks nor components|has no hooks"),
    ):
        with pytest.raises(BadInput, match=words):
            trained(callbacks=[made])
