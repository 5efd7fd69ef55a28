"""The hooks at model, loss, gradient and weights in real fits: what each changes, and what a resume keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from stepbus import BadInput, PluginFailure, create_trainer, hookimpl, import_module
from stepbus.storage.checkpoints import step_of

OwnStep: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "own_step.py")).OwnStep
Config = Callable[..., dict[str, Any]]
PLAIN = {"model": {"dropout": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}}


class Steps:
    """Keep every update, and the weights in the end."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.weights: list[dict[str, np.ndarray[Any, Any]]] = []
        self.logged: list[dict[str, float]] = []

    @hookimpl
    def on_step_end(self, trainer: Any, step: Any) -> None:
        self.steps.append(step)
        self.weights.append({name: np.array(array) for name, array in tree_flatten(trainer.model.parameters())})

    @hookimpl
    def on_log(self, record: Any) -> None:
        self.logged.append(dict(record))

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]


def fitted(tree: dict[str, Any], *plugins: Any, **more: Any) -> Steps:
    steps = Steps()
    create_trainer(config=tree, plugins=[*plugins, steps]).train(**more)
    return steps


def parts(tiny_config: Config, **sections: Any) -> dict[str, Any]:
    tree = tiny_config(**sections)
    tree["model"] |= PLAIN["model"]
    return tree


# -- loss -------------------------------------------------------------------------------------------------------------


class Doubled:
    """Twice the loss, with its half and a number of each row by name."""

    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        def doubled(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            return 2 * rows, {**named, "once": rows, "three": mx.array(3.0)}

        return doubled


def test_a_wrapped_loss_is_what_is_trained_and_its_parts_are_logged_by_weight(tiny_config: Config) -> None:
    tree = parts(tiny_config, plugins={"progress": False, "gradient_clipping": False})
    plain, found = fitted(tree), fitted(tree, Doubled())
    assert found.losses[0] == pytest.approx(2 * plain.losses[0], rel=1e-6)
    for step in found.steps:
        assert step.scalars["once"] == pytest.approx(step.loss / 2, rel=1e-6)
        assert step.scalars["three"] == pytest.approx(3.0, rel=1e-6)
    assert {"once", "three"} <= found.logged[0].keys()


def test_named_numbers_of_an_accumulation_window_are_those_of_one_big_batch(tiny_config: Config) -> None:
    small = parts(tiny_config, training={"gradient_accumulation_steps": 4, "max_steps": 3})
    large = parts(tiny_config, data={"batch_size": 16}, training={"max_steps": 3})
    accumulated, whole = fitted(small, Doubled()), fitted(large, Doubled())
    # The same rows in the first update, but for the buckets that they lie in.
    assert accumulated.steps[0].sequences == whole.steps[0].sequences == 16
    for step in accumulated.steps:
        assert step.scalars["once"] == pytest.approx(step.loss / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda forward, batch: mx.array(1.0), "expected (row losses [B], {name: scalar array}) from its loss"),
        (lambda forward, batch: (mx.array(1.0), {}), "row losses [4] here, got an array []"),
        (lambda forward, batch: (batch["weights"], {"loss": mx.array(1.0)}), "got 'loss', which the log has anyway"),
        (lambda forward, batch: (batch["weights"], {"a": mx.zeros((3,))}), "the scalar 'a' as an array of one number"),
        (lambda forward, batch: 1 / 0, "its loss raised ZeroDivisionError"),
    ],
)
def test_a_loss_that_is_none_is_named_with_its_plugin(given: Any, words: str, tiny_config: Config) -> None:
    class Odd:
        @hookimpl
        def wrap_loss(self, loss: Any) -> Any:
            return given

    with pytest.raises(Exception) as caught:
        fitted(tiny_config(), Odd())
    assert words in str(caught.value) and "Odd" in str(caught.value), str(caught.value)


# -- gradient ---------------------------------------------------------------------------------------------------------


class Through:
    """The gradient as it is, taken through the hook; or a multiple of it."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    @hookimpl
    def wrap_gradient(self, value_and_grad: Any) -> Any:
        def taken(parameters: Any, batch: Any) -> Any:
            total, weight, scalars, gradients = value_and_grad(parameters, batch)
            scaled = {name: array * self.factor for name, array in gradients.items()}
            return total, weight, {**scalars, "total_again": total}, scaled

        return taken


@pytest.mark.parametrize("window", [1, 3])
def test_a_gradient_taken_through_the_hook_is_the_engines_own(window: int, tiny_config: Config) -> None:
    tree = parts(tiny_config, training={"gradient_accumulation_steps": window})
    plain, found = fitted(tree), fitted(tree, Through())
    assert np.allclose(plain.losses, found.losses, rtol=1e-5)
    for step in found.steps:
        assert step.scalars["total_again"] == pytest.approx(step.loss, rel=1e-6)
    first, last = plain.weights[0], plain.weights[-1]
    assert any(not np.array_equal(first[name], last[name]) for name in first)
    for name, array in last.items():
        assert np.allclose(array, found.weights[-1][name], atol=2e-4), name


def test_weights_that_a_wrapper_asks_the_gradient_at_do_not_stay(tiny_config: Config) -> None:
    class Elsewhere:
        @hookimpl
        def wrap_gradient(self, value_and_grad: Any) -> Any:
            def taken(parameters: Any, batch: Any) -> Any:
                value_and_grad({name: array + 1.0 for name, array in parameters.items()}, batch)
                total, weight, scalars, gradients = value_and_grad(parameters, batch)
                away = value_and_grad({name: array - 1.0 for name, array in parameters.items()}, batch)
                return total, weight, {**scalars, "away": away[0]}, gradients

            return taken

    tree = parts(tiny_config)
    plain, found = fitted(tree, Through()), fitted(tree, Elsewhere())
    assert plain.losses == found.losses
    assert all(step.scalars["away"] != pytest.approx(step.loss, rel=1e-3) for step in found.steps)
    for name, array in plain.weights[-1].items():
        assert np.array_equal(array, found.weights[-1][name]), name


def test_a_gradient_at_a_parameter_that_there_is_none_of_is_refused(tiny_config: Config) -> None:
    class Odd:
        @hookimpl
        def wrap_gradient(self, value_and_grad: Any) -> Any:
            return lambda parameters, batch: value_and_grad({**parameters, "heda.weight": mx.zeros(1)}, batch)

    with pytest.raises(BadInput, match=r"expected a parameter's name, got 'heda.weight' \(did you mean 'head.weight'"):
        fitted(tiny_config(), Odd())


class Named:
    """Adds a number called as that of gradient clipping is, to the loss or to the gradient."""

    def __init__(self, name: str = "gradient_norm") -> None:
        self.name = name


class NamedLoss(Named):
    @hookimpl
    def wrap_loss(self, loss: Any) -> Any:
        def named(forward: Any, batch: Any) -> Any:
            rows, scalars = loss(forward, batch)
            return rows, {**scalars, self.name: mx.array(7)}

        return named


class NamedGradient(Named):
    @hookimpl
    def wrap_gradient(self, value_and_grad: Any) -> Any:
        def named(parameters: Any, batch: Any) -> Any:
            total, weight, scalars, gradients = value_and_grad(parameters, batch)
            return total, weight, {**scalars, self.name: weight * 7}, gradients

        return named


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize("kind", [NamedLoss, NamedGradient])
def test_a_number_that_the_loss_and_the_gradients_both_give_is_refused(
    kind: Any, window: int, tiny_config: Config
) -> None:
    """The number of the loss vanished: the log had that of the gradients alone."""
    tree = tiny_config(training={"max_steps": 2, "gradient_accumulation_steps": window})
    hook = "wrap_loss" if kind is NamedLoss else "wrap_gradient"
    who = rf"{kind.__name__} \(passed in Python\): {hook}"
    with pytest.raises(PluginFailure, match=rf"^gradient_clipping.*got 'gradient_norm', which {who} has"):
        fitted(tree, kind())
    found = fitted(tree, kind("sevens"))
    assert all(step.scalars["sevens"] == 7.0 and "gradient_norm" in step.scalars for step in found.steps)


# -- what follows an update -------------------------------------------------------------------------------------------


class Mean:
    """The running mean of the weights, in arrays of its own."""

    @hookimpl
    def after_update(self, trainer: Any) -> Any:
        names = trainer.optimizer.state["parameters"]
        flat = {name: array for name, array in tree_flatten(trainer.model.parameters()) if name in names}
        first = {"mean": {name: mx.zeros_like(array) for name, array in flat.items()}, "count": mx.array(0.0)}

        def follow(parameters: Any, arrays: Any) -> Any:
            count = arrays["count"] + 1
            means = {name: mean + (parameters[name] - mean) / count for name, mean in arrays["mean"].items()}
            return {"mean": means, "count": count}

        return first, follow


def means_of(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    (folder,) = path.glob("fits/*/checkpoints/step-*22")
    arrays = mx.load(str(folder / "optimizer.safetensors"))
    return {name: np.array(array) for name, array in arrays.items() if name.startswith("plugins.mean.")}


def test_arrays_that_follow_the_weights_are_kept_and_resumed(tiny_config: Config, tmp_path: Path) -> None:
    tree = tiny_config()
    found = fitted(tree, Mean())
    kept = means_of(tmp_path / "run")
    assert kept["plugins.mean.count"] == 22
    for name in found.weights[-1]:
        mean = np.mean([weights[name] for weights in found.weights], axis=0)
        assert np.allclose(kept[f"plugins.mean.mean.{name}"], mean, atol=1e-6), name
    again = tiny_config(environment={"output_dir": str(tmp_path / "again")})
    create_trainer(config={**again, "training": {**again["training"], "num_epochs": 2}}, plugins=[Mean(), Cut(13)])
    cut = create_trainer(config=again, plugins=[Mean(), Cut(13)])
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    create_trainer(config=again, plugins=[Mean(), Cut(99)]).train(resume=True)
    resumed = means_of(tmp_path / "again")
    assert kept.keys() == resumed.keys()
    assert all(np.array_equal(kept[name], resumed[name]) for name in kept)


class Cut:
    """Ask for a checkpoint and end the process's run after an update."""

    def __init__(self, step: int) -> None:
        self.step = step

    asks = ("checkpoint",)

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.step:
            trainer.control.request_checkpoint("cut")

    @hookimpl
    def on_checkpoint(self, checkpoint: Path) -> None:
        if step_of(checkpoint.name) == self.step:
            raise KeyboardInterrupt


# -- an update that is not finite -------------------------------------------------------------------------------------


class Overflow:
    """A loss that is infinite in one update, told by its learning rate, of which each update has its own."""

    def __init__(self, at: int) -> None:
        self.at = at

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        state, total = trainer.optimizer.state, trainer.state.total_steps
        rate = trainer.optimizer.learning_rate * (1 - (self.at - 1) / total)

        def odd(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            here = mx.abs(state["learning_rate"] - rate) < 1e-3 * rate
            return rows * mx.where(here, mx.array(float("inf")), mx.array(1.0)), named

        return odd


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("window", [1, 2])
def test_an_update_that_is_not_finite_changes_nothing(window: int, precision: str, tiny_config: Config) -> None:
    tree = parts(
        tiny_config,
        training={"gradient_accumulation_steps": window, "precision": precision, "num_epochs": 4, "max_steps": 12},
        scheduler={"type": "linear"},
        plugins={"progress": False, "nan_guard": False},
    )

    class State:
        def __init__(self) -> None:
            self.states: list[dict[str, Any]] = []

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            self.states.append({name: np.array(a) for name, a in trainer.optimizer.arrays().items()})

    seen = State()
    found = fitted(tree, Overflow(5), Mean(), seen)
    assert [step.skipped for step in found.steps] == [number == 5 for number in range(1, 13)]
    before, after, later = found.weights[3], found.weights[4], found.weights[5]
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert any(not np.array_equal(after[name], later[name]) for name in before)
    moved = ("learning_rate", "loss_scale", "good_steps")
    for name, array in seen.states[3].items():
        assert name in moved or np.array_equal(array, seen.states[4][name]), name
    assert int(seen.states[-1]["step"]) == 11
    scales = [step.loss_scale for step in found.steps]
    assert scales == [None if precision == "float32" else 65536.0] * 12  # which no loss that is infinite changes
    assert all(np.isfinite(record["loss"]) for record in found.logged)
    assert [record.get("skipped_steps", 0) for record in found.logged] == [0, 1, 0, 0]


class OverflowBehind:
    """A gradient that is infinite in every update, while the loss is finite."""

    @hookimpl
    def wrap_gradient(self, value_and_grad: Any) -> Any:
        def odd(parameters: Any, batch: Any) -> Any:
            total, weight, scalars, gradients = value_and_grad(parameters, batch)
            return total, weight, scalars, {name: array * float("inf") for name, array in gradients.items()}

        return odd


class Root:
    """NaN in place of all gradients in the third update, the loss and the gradients being finite."""

    @hookimpl
    def transform_gradients(self, trainer: Any) -> Any:
        state = trainer.optimizer.state

        def odd(gradients: Any) -> Any:
            return tree_map(lambda array: array * mx.where(state["step"] == 2, mx.array(float("nan")), 1.0), gradients)

        return odd


@pytest.mark.parametrize(("window", "more"), [(1, ()), (2, ()), (1, (OwnStep(),))])
def test_an_update_whose_gradients_a_plugin_makes_nan_changes_nothing(
    window: int, more: Any, tiny_config: Config
) -> None:
    training = {"gradient_accumulation_steps": window, "num_epochs": 4, "max_steps": 4}
    tree = parts(tiny_config, training=training, plugins={"progress": False, "nan_guard": False})
    found = fitted(tree, Root(), *more)
    # The count of the optimizer stands still, so that each update from there on is the third.
    assert [step.skipped for step in found.steps] == [False, False, True, True]
    for name, array in found.weights[1].items():
        assert np.isfinite(array).all() and np.array_equal(array, found.weights[3][name]), name


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (OverflowBehind(), "no finite number, while its loss is one; the log"),
        (Overflow(1), "because its loss was no finite number; the log"),
    ],
)
def test_what_overflowed_is_said_and_a_finite_loss_is_logged(plugin: Any, words: str, tiny_config: Config) -> None:
    """The log said `loss nan` though each loss was a number."""

    class Messages:
        said: list[str] = []  # noqa: RUF012

        @hookimpl
        def on_message(self, text: str) -> None:
            self.said.append(text)

    tree = parts(
        tiny_config,
        training={"max_steps": 3, "log_steps": 1},
        scheduler={"type": "linear"},
        plugins={"progress": False, "nan_guard": False, "gradient_clipping": False},
    )
    heard = Messages()
    found = fitted(tree, plugin, heard)
    assert any(words in text for text in heard.said), heard.said
    assert found.steps[0].skipped
    losses = [record["loss"] for record in found.logged if "loss" in record]
    assert np.isfinite(losses).tolist() == [isinstance(plugin, OverflowBehind), True, True]
    assert losses[1:] == found.losses[1:]


# -- phases -----------------------------------------------------------------------------------------------------------


class Late:
    """The head alone at first; all from update 7 on, with a gradient of half the size."""

    @hookimpl
    def phases(self) -> list[int]:
        return [7]

    @hookimpl
    def trained_parameters(self, names: Any, step: int) -> Any:
        return names if step >= 7 else [name for name in names if name.startswith("head.")]

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Any) -> Any:
        return Through(0.5).wrap_gradient(value_and_grad) if trainer.state.step >= 7 else None


def test_a_phase_begins_where_it_is_asked_for(tiny_config: Config) -> None:
    tree = parts(tiny_config, plugins={"progress": False, "gradient_clipping": False}, optimizer={"type": "adam"})
    start = fitted({**tree, "training": {**tree["training"], "max_steps": 1}}, Late()).weights[0]
    found = fitted(tree, Late())
    for name in start:
        if not name.startswith("head."):
            assert np.array_equal(start[name], found.weights[6][name]), name
            assert not np.array_equal(start[name], found.weights[7][name]) or not name.endswith("weight"), name
    assert ["total_again" in step.scalars for step in found.steps] == [number > 7 for number in range(1, 23)]
    # Adam's first update of a parameter is its rate, whenever it is: it counts its own updates.
    rate = found.steps[7].learning_rate
    name = "encoder.encoder.layer.0.intermediate.dense.weight"
    assert np.abs(found.weights[7][name] - start[name]).max() == pytest.approx(rate, rel=1e-2)


@pytest.mark.parametrize("step", [6, 7, 8])
def test_a_resume_on_either_side_of_a_phase_is_exact(step: int, tiny_config: Config, tmp_path: Path) -> None:
    whole = fitted(tiny_config(environment={"output_dir": str(tmp_path / "whole")}), Late())
    tree = tiny_config()
    with pytest.raises(KeyboardInterrupt):
        fitted(tree, Late(), Cut(step))
    rest = fitted(tree, Late(), Cut(99), resume=True)
    assert rest.losses == whole.losses[step:]
    for name, array in whole.weights[-1].items():
        assert np.array_equal(array, rest.weights[-1][name]), name


@pytest.mark.parametrize(
    ("names", "words"),
    [(["heda.weight"], "did you mean 'head.weight'"), ([], "got all frozen")],
)
def test_parameters_that_there_are_none_of_are_refused(names: Any, words: str, tiny_config: Config) -> None:
    class Wrong:
        @hookimpl
        def trained_parameters(self) -> Any:
            return names

    with pytest.raises(BadInput, match=words):
        fitted(tiny_config(), Wrong())


# -- order ------------------------------------------------------------------------------------------------------------


def test_the_order_inside_a_step_is_that_of_the_design(tiny_config: Config) -> None:
    heard: list[str] = []

    class All:
        @hookimpl
        def wrap_loss(self, loss: Any) -> Any:
            def told(forward: Any, batch: Any) -> Any:
                heard.append("loss")
                return loss(forward, batch)

            return told

        @hookimpl
        def wrap_gradient(self, value_and_grad: Any) -> Any:
            def told(parameters: Any, batch: Any) -> Any:
                found = value_and_grad(parameters, batch)
                heard.append("gradient")
                return found

            return told

        @hookimpl
        def transform_gradients(self) -> Any:
            def told(gradients: Any) -> Any:
                heard.append("transform")
                return gradients

            return told

        @hookimpl
        def after_update(self) -> Any:
            def told(parameters: Any, arrays: Any) -> Any:
                heard.append("after")
                return arrays

            return {"nothing": mx.array(0.0)}, told

    fitted(tiny_config(training={"max_steps": 1}), All())
    assert heard == ["loss", "gradient", "transform", "after"]
    heard.clear()
    fitted(tiny_config(training={"max_steps": 1, "gradient_accumulation_steps": 2}), All())
    assert [*dict.fromkeys(heard)] == ["loss", "gradient", "transform", "after"]
    assert heard[-2:] == ["transform", "after"]


# -- a whole step -----------------------------------------------------------------------------------------------------


def test_a_step_of_ones_own_trains_as_the_engines(tiny_config: Config) -> None:
    class Own:
        @hookimpl
        def training_step(self) -> Any:
            import mlx.nn as nn

            def step(model: Any, optimizer: Any, batch: Any) -> Any:
                def loss(model: Any) -> Any:
                    rows = model.head.loss(model(batch), batch["labels"])
                    return (rows * batch["weights"]).sum() / batch["weights"].sum()

                value, gradients = nn.value_and_grad(model, loss)(model)
                optimizer.update(model, gradients)
                return value, {"mine": value * 2}

            return step

    tree = parts(tiny_config, plugins={"progress": False, "gradient_clipping": False})
    plain, found = fitted(tree), fitted(tree, Own())
    assert np.allclose(plain.losses, found.losses, rtol=1e-5)
    assert all(step.scalars["mine"] == pytest.approx(2 * step.loss, rel=1e-6) for step in found.steps)


# -- all that touches gradients, with an overflow ---------------------------------------------------------------------

ADVERSARIAL = "stepbus_plugins.adversarial_training:AdversarialTraining"


@pytest.mark.parametrize("step", [4, 5, 6])
def test_an_overflow_under_all_that_touches_gradients_changes_nothing(
    step: int, tiny_config: Config, tmp_path: Path
) -> None:
    def tree(name: str) -> dict[str, Any]:
        return tiny_config(
            training={"precision": "float16", "gradient_accumulation_steps": 2, "num_epochs": 4, "max_steps": 12},
            scheduler={"type": "linear"},
            environment={"output_dir": str(tmp_path / name)},
            plugins={
                "progress": False,
                "nan_guard": {"policy": "warn"},
                "rdrop": {},
                "adversarial_training": {"mode": "fgm"},
                "awp": {"use": ADVERSARIAL, "mode": "awp"},
                "gradient_clipping": {"max_norm": 0.5},
                "ema": {"decay": 0.8},
            },
        )

    class State:
        def __init__(self) -> None:
            self.states: list[dict[str, Any]] = []

        @hookimpl
        def on_step_end(self, trainer: Any) -> None:
            self.states.append({name: np.array(a) for name, a in trainer.optimizer.arrays().items()})

    seen = State()
    found = fitted(tree("whole"), Overflow(5), Mean(), seen)
    skipped = [index for index, each in enumerate(found.steps) if each.skipped]
    # One is put in; a scale that is still too large for this model adds its own at the beginning.
    assert 4 in skipped and len(skipped) < 4
    moved = ("learning_rate", "loss_scale", "good_steps")
    assert any(name.startswith("plugins.ema.") for name in seen.states[3])
    for index in range(1, 12):
        same = index in skipped
        before, after = found.weights[index - 1], found.weights[index]
        assert all(np.array_equal(before[name], after[name]) for name in before) == same
        for name, array in seen.states[index - 1].items():
            if same:
                assert name in moved or np.array_equal(array, seen.states[index][name]), name
        if index < 11:
            halved = same and index != 4  # where the loss itself is infinite
            assert found.steps[index + 1].loss_scale == found.steps[index].loss_scale / (2 if halved else 1)
    last = found.steps[-1].scalars
    assert {"rdrop_kl", "adversarial_loss", "adversarial_loss_awp", "gradient_norm"} <= last.keys()
    # Unscaled everywhere: a norm of the gradient, and losses, of the size that they have in float32.
    assert last["gradient_norm"] < 100 and last["adversarial_loss"] < 10
    with pytest.raises(KeyboardInterrupt):
        fitted(tree("cut"), Overflow(5), Mean(), Cut(step))
    rest = fitted(tree("cut"), Overflow(5), Mean(), Cut(99), resume=True)
    assert rest.losses == found.losses[step:]
    assert all(np.array_equal(array, rest.weights[-1][name]) for name, array in found.weights[-1].items())
