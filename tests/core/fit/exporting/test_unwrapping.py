"""From the model that plugins changed back to the model as it was: tensors, identity, memory, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import (
    BadInput,
    Callback,
    ModelError,
    PluginFailure,
    create_model,
    create_trainer,
    hookimpl,
    import_module,
    open_trainer,
)

Make = Callable[..., dict[str, Any]]
shifted = import_module(str(Path(__file__).parents[3] / "fixtures" / "shifted.py"))
SHIFT, BIAS, HEAD = shifted.SHIFT, "classifier.bias", "classifier.weight"


class Watches(Callback):
    """Keeps the tensors of the model that is trained, and what was evaluated why."""

    def __init__(self) -> None:
        self.first: dict[str, np.ndarray] = {}
        self.last: dict[str, np.ndarray] = {}
        self.reasons: list[str] = []
        self.at_end: Any = None

    def on_fit_start(self, trainer: Any) -> None:
        self.first = arrays_of(trainer.model)

    def on_step_end(self, trainer: Any) -> None:
        self.last = arrays_of(trainer.model)

    def on_evaluate_start(self, reason: str) -> None:
        self.reasons.append(reason)

    def on_fit_end(self, trainer: Any) -> None:
        self.at_end = trainer.model


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in model.tensors().items()}


def model_of(tree: dict[str, Any]) -> Any:
    sizes = {name: each for name, each in tree["model"].items() if name != "type"}
    return create_model("bert_with_head", head_type="binary_classification", **sizes)


def assert_same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


@pytest.mark.parametrize("kind", [shifted.Shifted, shifted.InPlace])
def test_the_exported_model_is_scored_predicted_with_and_kept(kind: type, tiny_config: Make) -> None:
    watches, tree = Watches(), tiny_config()
    trainer = create_trainer(config=tree, plugins=[kind, watches])
    result = trainer.train()
    assert SHIFT in watches.last and not np.array_equal(watches.first[SHIFT], watches.last[SHIFT])
    now = arrays_of(trainer.model)
    assert now.keys() == watches.last.keys() - {SHIFT}
    bias = watches.last[BIAS] + watches.last[HEAD].astype(np.float64) @ watches.last[SHIFT]
    np.testing.assert_allclose(now[BIAS], bias, atol=1e-6)
    assert_same({name: now[name] for name in now if name != BIAS}, {n: watches.last[n] for n in now if n != BIAS})
    assert watches.at_end is trainer.model
    # What was scored last is what was exported: by the trainer, and by whoever opens it.
    assert watches.reasons == ["epoch", "epoch", "final"]
    assert result.model_path is not None
    opened, rows = open_trainer(result.model_path), tree["data"]["validation"]
    assert_same(arrays_of(opened.model), now)
    scores = opened.evaluate(rows)
    assert {name: result.metrics[name] for name in scores} == scores == trainer.evaluate(rows)
    np.testing.assert_array_equal(opened.predict(rows), trainer.predict(rows))
    np.testing.assert_array_equal(result.predictions["validation"].values, opened.predict(rows))


def test_nothing_is_scored_again_where_nothing_changed(tiny_config: Make) -> None:
    plain = create_trainer(config=tiny_config())
    plain.train()
    for plugins in ([shifted.Touches], [shifted.FreezesEncoder], []):
        watches = Watches()
        trainer = create_trainer(config=tiny_config(), plugins=[*plugins, watches])
        trainer.train()
        assert watches.reasons == ["epoch", "epoch"]
        assert not hasattr(trainer.model, "touched")
        if plugins != [shifted.FreezesEncoder]:
            assert_same(arrays_of(trainer.model), arrays_of(plain.model))


def test_a_note_on_the_model_goes_with_its_weights(tiny_config: Make) -> None:
    class Notes:
        def __init__(self) -> None:
            self.met: list[bool] = []

        @hookimpl
        def transform_model(self, model: Any) -> None:
            self.met.append(getattr(model, "_noted", False))
            object.__setattr__(model, "_noted", True)

    notes = Notes()
    trainer = create_trainer(config=tiny_config(training={"max_steps": 1}), plugins=[notes])
    trainer.train()
    trainer.train()
    assert notes.met == [False, True]


def test_what_only_the_export_changes(tiny_config: Make) -> None:
    watches = Watches()
    trainer = create_trainer(config=tiny_config(), plugins=[shifted.Halves, watches])
    for _ in range(2):
        trainer.train()
        assert watches.reasons[-1] == "final"
        np.testing.assert_array_equal(arrays_of(trainer.model)[HEAD], watches.last[HEAD] / 2)


def test_the_callers_model_stays_itself(tiny_config: Make) -> None:
    tree = tiny_config(training={"max_steps": 3})
    model = model_of(tree)
    kinds = [type(module) for _, module in model.named_modules()]
    watches = Watches()
    trainer = create_trainer(model, config=tree, plugins=[shifted.Shifted, watches])
    for _ in range(2):  # wrapped anew each time, from the weights of before
        before = arrays_of(model)
        trainer.train()
        assert trainer.model is model
        assert [type(module) for _, module in model.named_modules()] == kinds
        np.testing.assert_array_equal(watches.first[SHIFT], np.full(16, 0.5))
        np.testing.assert_array_equal(watches.first[HEAD], before[HEAD])


def test_what_was_frozen_for_a_fit_is_free_again(tiny_config: Make) -> None:
    tree = tiny_config(training={"max_steps": 2})
    model = model_of(tree)
    model.encoder.embeddings.freeze()  # by hand: that stays
    trainer = create_trainer(model, config=tree, plugins=[shifted.FreezesEncoder])
    trainer.train()
    word = "bert.embeddings.word_embeddings.weight"
    dense = "bert.encoder.layer.0.output.dense.weight"
    other = create_trainer(trainer.model, config=tree)
    before = arrays_of(trainer.model)
    other.train()
    after = arrays_of(other.model)
    assert np.array_equal(before[word], after[word]) and not np.array_equal(before[dense], after[dense])


def test_what_was_frozen_is_free_again_where_no_step_can_be_built(tiny_config: Make) -> None:
    class Raises:
        @hookimpl
        def wrap_loss(self) -> None:
            raise ValueError("no")

    tree = tiny_config(training={"max_steps": 2})
    model = model_of(tree)
    trainer = create_trainer(model, config=tree, plugins=[shifted.FreezesEncoder, Raises])
    with pytest.raises(PluginFailure, match="no"):
        trainer.train()
    assert len(tree_flatten(model.trainable_parameters())) == len(arrays_of(model))


def test_the_first_model_holds_no_memory_meanwhile(tiny_config: Make) -> None:
    held: list[Any] = []

    class Looks(Callback):
        def on_fit_start(self, trainer: Any) -> None:
            held.append(trainer.origin.model)

    create_trainer(config=tiny_config(training={"max_steps": 1}), plugins=[shifted.Touches, Looks]).train()
    assert held[0].encoder is not None
    # A model of the caller's keeps its weights: nothing that happens to the fit can lose them.
    tree = tiny_config(training={"max_steps": 1})
    model = model_of(tree)
    create_trainer(model, config=tree, plugins=[shifted.Touches, Looks]).train()
    assert held[1] is model


class Wrong:
    """Gives to the export what has no place there.

    Args:
        give: Makes the tensors.
    """

    def __init__(self, give: Callable[[dict[str, Any]], Any]) -> None:
        self.give = give

    @hookimpl
    def transform_export(self, tensors: Mapping[str, Any]) -> Any:
        return self.give(dict(tensors))


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda tensors: {key: each for key, each in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        ([shifted.OnlyIn], r"OnlyIn \(passed in Python\): transform_model gave the model the tensor 'pooling.shift', "
         "for which the model as it was has no place; let transform_export take it out, such as by merging it"),
        ([shifted.OnlyIn, shifted.Touches], "OnlyIn .*: transform_model gave the model the tensor 'pooling.shift'"),
        ([Wrong(without(BIAS))], r"Wrong .*: transform_export: expected 'classifier.bias' as float32 \[2\], as the "
         "model has it, got none; leave it in"),
        ([Wrong(lambda all: all | {"classifier.bais": all[BIAS]})], r"Wrong .*: transform_export: expected tensors "
         r"that the model has, got 'classifier.bais' \(did you mean 'classifier.bias'\?\)"),
        ([Wrong(lambda all: all | {BIAS: all[BIAS][:1]})], r"expected .* as float32 \[2\], .*, got float32 \[1\]"),
        ([Wrong(lambda all: all | {BIAS: all[BIAS].astype(mx.float16)})], r"as float32 \[2\], .*, got float16 \[2\]"),
        ([Wrong(lambda all: all | {BIAS: "zeros"})], "got a str"),
        ([Wrong(lambda all: [])], "Wrong .*: transform_export: expected a mapping from names to arrays or None from"),
        ([Wrong(lambda all: 1 / 0)], "Wrong .*: transform_export raised ZeroDivisionError at step 0"),
    ],
)  # fmt: skip
def test_what_has_no_place_is_refused_before_the_first_update(
    plugins: list[Any], words: str, tiny_config: Make
) -> None:
    watches, tree = Watches(), tiny_config(training={"max_steps": 3})
    model = model_of(tree)
    before = arrays_of(model)
    trainer = create_trainer(model, config=tree, plugins=[*plugins, watches])
    with pytest.raises(PluginFailure, match=words):
        trainer.train()
    assert watches.last == {}
    # Nothing has become of the model, and it trains without the plugin.
    assert trainer.model is model
    assert_same(arrays_of(model), before)
    assert create_trainer(model, config=tree).train().status == "ok"


def test_a_model_that_cannot_be_copied_is_refused(tiny_config: Make) -> None:
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("no copies")

        def __call__(self, x: mx.array) -> mx.array:
            return self.linear(x)

    batch = {"x": np.ones((2, 2), np.float32), "labels": np.ones((2, 1), np.float32)}
    trainer = create_trainer(
        Held(),
        loss=nn.losses.mse_loss,
        plugins=[shifted.Touches],
        output_dir=tiny_config()["environment"]["output_dir"],
    )
    with pytest.raises(
        ModelError, match=r"cannot be copied \(TypeError: no copies\), and touches may change a copy only"
    ):
        trainer.train([batch])


def test_a_module_of_the_callers_is_unwrapped_too(tiny_config: Make) -> None:
    class Doubled(nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.inner, self.factor = linear, mx.array(2.0)

        def __call__(self, x: mx.array) -> mx.array:
            return self.inner(x) * self.factor

    class Double:
        """Multiply by a trained number."""

        @hookimpl
        def transform_model(self, model: Any) -> Any:
            model.linear = Doubled(model.linear)
            return model

        @hookimpl
        def transform_export(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
            factor, inner = tensors["linear.factor"], "linear.inner."
            found = {name: each for name, each in tensors.items() if not name.startswith("linear.")}
            return found | {
                f"linear.{name.removeprefix(inner)}": each * factor
                for name, each in tensors.items()
                if name.startswith(inner)
            }

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def __call__(self, x: mx.array) -> mx.array:
            return self.linear(x)

    draw = np.random.default_rng(0)
    batches = [
        {"x": draw.normal(size=(4, 2)).astype(np.float32), "labels": np.ones((4, 1), np.float32)} for _ in range(3)
    ]
    model = Model()
    trainer = create_trainer(
        model, loss=nn.losses.mse_loss, plugins=[Double], output_dir=tiny_config()["environment"]["output_dir"]
    )
    for _ in range(2):
        result = trainer.train(batches, batches)
        assert trainer.model is model and type(model.linear) is nn.Linear
        assert trainer.evaluate(batches)["eval_loss"] == result.metrics["eval_loss"]
    said = np.array(model(mx.array(batches[0]["x"])))
    np.testing.assert_array_equal(trainer.predict(batches)[:4].reshape(4, 1), said)


class FailsLate:
    """It cannot give the tensors any more once it has trained."""

    @hookimpl
    def transform_model(self, model: Any) -> Any:
        return shifted.put_in(model)

    @hookimpl
    def transform_export(self, trainer: Any, tensors: Mapping[str, Any]) -> Any:
        if trainer.state.step:
            raise ValueError("late")
        return shifted.taken_out(tensors)


@pytest.mark.parametrize("given", [False, True])
def test_where_the_export_cannot_be_made_nobody_gets_half_of_it(given: bool, tiny_config: Make) -> None:
    tree = tiny_config(training={"max_steps": 2}, plugins={"progress": False, "checkpoint": {"save_strategy": "no"}})
    model = model_of(tree) if given else None
    before = arrays_of(model) if given else {}
    trainer = create_trainer(model, config=tree, plugins=[FailsLate])
    with pytest.raises(PluginFailure, match=r"FailsLate .*: transform_export raised ValueError at step 2: late"):
        trainer.train()
    assert trainer.model is model
    if given:
        assert_same(arrays_of(model), before)
    else:
        with pytest.raises(BadInput, match="this trainer has not been trained"):
            trainer.predict(tree["data"]["validation"])


def test_a_fit_that_fails_leaves_its_model_as_it_was_made(tiny_config: Make) -> None:
    class Fails(Callback):
        def on_step_end(self, state: Any) -> None:
            if state.step == 2:
                raise ValueError("no")

    tree, watches = tiny_config(), Watches()
    model = model_of(tree)
    trainer = create_trainer(model, config=tree, plugins=[shifted.Shifted, watches, Fails])
    with pytest.raises(PluginFailure, match="no"):
        trainer.train()
    # The weights of the moment, in the model as it was.
    assert trainer.model is model and SHIFT not in arrays_of(model)
    np.testing.assert_array_equal(arrays_of(model)[HEAD], watches.last[HEAD])
    assert create_trainer(model, config=tree).train().status == "ok"
