"""A step of somebody's own beside the engine's: equal bits, updates that are skipped, arrays that follow."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import PluginFailure, load_config
from stepbus.base.guards import Maker
from stepbus.compute import ModuleForward
from stepbus.compute.stepping import StepParts
from stepbus.compute.stepping.following import Follower
from stepbus.compute.stepping.steps import CompiledSteps
from stepbus.compute.stepping.updater import ParameterUpdater


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def __call__(self, x: Any) -> Any:
        return self.layer(x)


class Rows:
    """A batch of rows with weights, the last of them padding."""

    sequences = tokens = 3

    def __init__(self, seed: int, size: float = 1.0) -> None:
        draw = np.random.default_rng(seed)
        self.arrays: dict[str, Any] = {
            "x": (size * draw.normal(size=(4, 3))).astype(np.float32),
            "labels": np.array([0, 1, 1, 0]),
            "weights": np.array([1.0, 0.3, 2.7, 0.0], dtype=np.float32),
        }


def made(own: Any = None, transforms: Any = (), scaled: bool = False) -> CompiledSteps:
    mx.random.seed(3)
    net = Net()
    optimizer = load_config({"optimizer": {"type": "adamw"}}).optimizer
    updater = ParameterUpdater(optimizer.build(), 0.1, scaled=scaled)
    updater.init(net.trainable_parameters())
    follower = Follower("mean", Maker("mean"), {"sum": mx.zeros(2)}, lambda p, a: {"sum": a["sum"] + p["layer.bias"]})
    updater.follow_with([follower])
    forward = ModuleForward(net, nn.losses.cross_entropy)
    parts = StepParts(transforms=transforms, own=own)
    precision = "float16" if scaled else "float32"
    return CompiledSteps(net, updater, parts, rate=lambda step: 0.1, seed=1, precision=precision, forward=forward)


def state(steps: CompiledSteps) -> dict[str, Any]:
    found = {name: np.array(array) for name, array in steps.updater.arrays().items() if name != "learning_rate"}
    flat: Any = tree_flatten(steps.model.parameters())
    return found | {f"model.{name}": np.array(array) for name, array in flat}


def engines_own(model: Any, optimizer: Any, batch: Any) -> Any:
    loss, gradients = optimizer.loss_and_gradients(batch)
    optimizer.update(model, gradients)
    return loss


def halves(gradients: Any) -> Any:
    return {"layer": {name: array / 2 for name, array in gradients["layer"].items()}}, {"halved": mx.array(1.0)}


def done(steps: CompiledSteps, *batches: Any) -> list[Any]:
    return [steps.read(steps.launch([batch], number + 1)) for number, batch in enumerate(batches)]


@pytest.mark.parametrize("scaled", [False, True])
def test_the_engines_own_step_by_hand_has_its_bits(scaled: bool) -> None:
    one, other = made(None, [halves], scaled), made(engines_own, [halves], scaled)
    batches: list[Any] = [Rows(seed) for seed in range(4)]
    for before, after in zip(done(one, *batches), done(other, *batches), strict=True):
        assert (before.loss, before.weight, before.scalars) == (after.loss, after.weight, after.scalars)
        assert after.scalars == {"halved": 1.0}
        assert before.loss_scale == after.loss_scale
    for name, array in state(one).items():
        np.testing.assert_array_equal(state(other)[name], array)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_an_update_that_is_not_finite_changes_nothing(bad: float) -> None:
    steps = made(engines_own)
    done(steps, Rows(0))
    before = state(steps)
    (result,) = done(steps, Rows(1, bad))
    assert result.skipped
    for name, array in state(steps).items():
        np.testing.assert_array_equal(before[name], array)
    (result,) = done(steps, Rows(2))
    assert not result.skipped


def test_gradients_of_somebodys_own_are_skipped_too() -> None:
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        loss, gradients = optimizer.loss_and_gradients(batch)
        optimizer.update(model, {"layer": {name: array / 0 for name, array in gradients["layer"].items()}})
        return loss

    steps = made(step)
    before = state(steps)
    assert done(steps, Rows(0))[0].skipped
    for name, array in state(steps).items():
        np.testing.assert_array_equal(before[name], array)


def test_a_loss_of_somebodys_own_is_the_mean_that_is_told() -> None:
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        _, gradients = optimizer.loss_and_gradients(batch)
        optimizer.update(model, gradients)
        return mx.array(0.7), {"number": optimizer.step.astype(mx.float32), "rate": optimizer.learning_rate}

    results = done(made(step), Rows(0), Rows(1))
    assert [result.loss for result in results] == [pytest.approx(0.7)] * 2
    assert [result.scalars["number"] for result in results] == [0.0, 1.0]
    assert results[0].scalars["rate"] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [mx.int32, mx.bool_])
def test_gradients_that_are_no_floating_point_numbers_are_refused(kind: Any) -> None:
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        loss, gradients = optimizer.loss_and_gradients(batch)
        optimizer.update(model, {"layer": {name: each.astype(kind) for name, each in gradients["layer"].items()}})
        return loss

    with pytest.raises(PluginFailure, match=r"floating-point numbers as gradient of 'layer\.\w+', got (int32|bool) \["):
        done(made(own=step), Rows(1))


def test_a_batch_that_a_step_writes_into_is_its_own() -> None:
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        loss, gradients = optimizer.loss_and_gradients(dict(batch))
        batch["weights"] *= 0
        batch.clear()
        optimizer.update(model, gradients)
        return loss

    batches = [Rows(1), Rows(2)]
    plain, found = made(), made(own=step)
    assert [step.loss for step in done(plain, *batches)] == [step.loss for step in done(found, *batches)]
    assert all(np.array_equal(array, state(found)[name]) for name, array in state(plain).items())


def test_another_model_is_refused() -> None:
    steps = made(lambda model, optimizer, batch: optimizer.update(Net(), {}))
    with pytest.raises(PluginFailure, match=r"optimizer\.update: expected the model of the fit, got another Net"):
        done(steps, Rows(0))
