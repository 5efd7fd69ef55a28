"""What functions of a step hold of the model: arrays keep the values that they had when the hook was asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map_with_path

from stepbus import PluginError, create_trainer, hookimpl

Config = Callable[..., dict[str, Any]]
Arrays = Mapping[str, Any]
STILL = {"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}


class Weights:
    """Keep the weights before the first update and after each."""

    affects_result = False

    def __init__(self) -> None:
        self.first: dict[str, Any] = {}
        self.found: list[dict[str, Any]] = []
        self.losses: list[float] = []
        self.scalars: list[dict[str, float]] = []

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.first = in_numpy(trainer.model)

    @hookimpl
    def on_step_end(self, trainer: Any, step: Any) -> None:
        self.found.append(in_numpy(trainer.model))
        self.losses.append(step.loss)
        self.scalars.append(dict(step.scalars))


def in_numpy(model: Any) -> dict[str, Any]:
    return {name: np.array(array) for name, array in tree_flatten(model.parameters())}


def fitted(tree: dict[str, Any], *plugins: Any, **more: Any) -> Weights:
    weights = Weights()
    create_trainer(config=tree, plugins=[*plugins, weights]).train(**more)
    return weights


class Held:
    """Takes arrays of the model in a hook, as they are, through NumPy, or computed from them and not yet evaluated."""

    takes: ClassVar[dict[str, Callable[[mx.array], mx.array]]] = {
        "itself": lambda array: array,
        "numpy": lambda array: mx.array(np.array(array)),
        "lazy": lambda array: array * 1.0,
        "again": mx.array,
    }

    def __init__(self, how: str) -> None:
        self.take = self.takes[how]

    def first(self, trainer: Any) -> Any:
        return {name: self.take(array) for name, array in tree_flatten(trainer.model.parameters())}


class StartingPoint(Held):
    """The squared distance from the weights of the start, in the loss."""

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        first, model = self.first(trainer), trainer.model

        def pulled(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            now = dict(tree_flatten(model.parameters()))
            distance = mx.stack([((now[name] - first[name]) ** 2).sum() for name in first]).sum()
            return rows + distance, {**named, "distance": distance}

        return pulled


class InGradient(Held):
    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
        first = self.first(trainer)

        def pulled(parameters: Arrays, batch: Any) -> Any:
            total, weight, named, gradients = value_and_grad(parameters, batch)
            return total, weight, named, {name: gradients[name] + parameters[name] - first[name] for name in gradients}

        return pulled


class InTransform(Held):
    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        first = self.first(trainer)
        return lambda gradients: tree_map_with_path(lambda name, array: array + first[name], gradients)


class InAfterUpdate(Held):
    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        first = self.first(trainer)

        def function(parameters: Arrays, arrays: Any) -> Any:
            return {name: parameters[name] - first[name] for name in arrays}

        return {"head.weight": mx.zeros_like(first["head.weight"])}, function


class InOwnStep(Held):
    @hookimpl
    def training_step(self, trainer: Any) -> Any:
        first = self.first(trainer)

        def step(model: Any, optimizer: Any, batch: Any) -> Any:
            loss, gradients = optimizer.loss_and_gradients(batch)
            pulled = tree_map_with_path(lambda name, array: array + first[name], gradients)
            optimizer.update(model, pulled)
            return loss

        return step


SHORT = {"num_epochs": 1, "max_steps": 3}


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        *((kind, "itself") for kind in (StartingPoint, InGradient, InTransform, InAfterUpdate, InOwnStep)),
        (StartingPoint, "again"),
        (InTransform, "lazy"),
    ],
)
def test_a_function_may_hold_arrays_of_the_model(kind: type[Held], how: str, tiny_config: Config) -> None:
    tree = tiny_config(training=SHORT)
    found, copied = fitted(tree, kind(how)), fitted(tree, kind("numpy"))
    assert found.losses == copied.losses and len(found.losses) == 3
    for mine, other in zip(found.found, copied.found, strict=True):
        assert all(np.array_equal(mine[name], other[name]) for name in other)


def test_what_is_held_keeps_its_value(tiny_config: Config) -> None:
    tree = tiny_config(training=SHORT)
    tree["model"] |= STILL
    found = fitted(tree, StartingPoint("itself"))
    assert found.scalars[0]["distance"] == 0
    for before, scalars in zip(found.found, found.scalars[1:], strict=False):
        wanted = sum(float(((before[name] - found.first[name]) ** 2).sum(dtype=np.float64)) for name in found.first)
        assert scalars["distance"] == pytest.approx(wanted, rel=1e-4)
        assert wanted > 0


class Phased(StartingPoint):
    @hookimpl
    def phases(self) -> list[int]:
        return [2]


def test_each_phase_holds_the_weights_that_it_begins_with(tiny_config: Config) -> None:
    found = fitted(tiny_config(training={"num_epochs": 1, "max_steps": 4}), Phased("itself"))
    distances = [scalars["distance"] for scalars in found.scalars]
    assert [distance > 0 for distance in distances] == [False, True, False, True]


class Frozen(StartingPoint):
    @hookimpl
    def trained_parameters(self, names: Any) -> Any:
        return [name for name in names if name.startswith("head.")]


@pytest.mark.parametrize(
    ("kind", "sections"),
    [
        (StartingPoint, {"training": {**SHORT, "gradient_accumulation_steps": 2}}),
        (StartingPoint, {"training": {**SHORT, "precision": "float16"}}),
        (Frozen, {"training": {**SHORT, "precision": "bfloat16"}}),
        (Frozen, {"training": {**SHORT, "eval_strategy": "steps", "eval_steps": 1}}),
    ],
    ids=["accumulated", "float16", "frozen_in_bfloat16", "frozen_and_evaluated"],
)
def test_however_the_step_is_made(kind: type[Held], sections: dict[str, Any], tiny_config: Config) -> None:
    tree = tiny_config(**sections)
    found, copied = fitted(tree, kind("itself")), fitted(tree, kind("numpy"))
    assert found.losses == copied.losses
    assert found.scalars == copied.scalars


class Kept:
    """The starting weights where a resume finds them: beside the weights, in the arrays of `after_update`."""

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        return dict(trainer.optimizer.trained(trainer.model)), lambda parameters, arrays: arrays

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        optimizer, mine = trainer.optimizer, "kept"

        def pulled(gradients: Any) -> Any:
            first = optimizer.state["plugins"][mine]
            return tree_map_with_path(lambda name, array: array + first[name], gradients)

        return pulled


def test_kept_beside_the_weights_they_are_those_of_the_start_after_a_resume_too(
    tiny_config: Config, tmp_path: Path
) -> None:
    def tree(out: str) -> dict[str, Any]:
        return tiny_config(
            training={"num_epochs": 1, "max_steps": 4, "save_strategy": "steps"},
            plugins={"progress": False, "checkpoint": {"save_steps": 2}},
            environment={"output_dir": str(tmp_path / out)},
        )

    whole = fitted(tree("whole"), Kept())
    stopped = create_trainer(config=tree("cut"), plugins=[Kept(), Cut()])
    with pytest.raises(Exception, match="cut"):
        stopped.train()
    resumed = fitted(tree("cut"), Kept(), resume=True)
    last, other = whole.found[-1], resumed.found[-1]
    assert all(np.array_equal(last[name], other[name]) for name in last)


class Cut:
    affects_result = False

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step == 3:
            raise RuntimeError("cut")


class Remembers:
    """Keeps an array of one trace for the next, where it means nothing."""

    def __init__(self) -> None:
        self.mean: Any = 0.0

    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        def kept(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            self.mean = self.mean * 0.9 + rows.mean()
            return rows + self.mean, named

        return kept


def test_what_is_kept_from_one_trace_to_the_next_is_refused(tiny_config: Config) -> None:
    tree = tiny_config(training={"num_epochs": 2}, plugins={"progress": False, "gradient_clipping": False})
    with pytest.raises(PluginError) as caught:
        fitted(tree, Remembers())
    assert str(caught.value) == (
        "Remembers (passed in Python): wrap_loss: expected functions of a step that keep no array from one call to the "
        "next, got one that was computed in another call; keep it in the arrays of after_update"
    )
