"""Gradient checkpointing: the same bits with less memory, dropout included, and layers that it cannot compute twice."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import BadInput, ModelError, create_trainer, hookimpl
from stepbus_plugins.bert import BertConfig, scratch_config
from stepbus_plugins.bert.encoder import Encoder
from stepbus_plugins.gradient_checkpointing import GradientCheckpointing
from stepbus_plugins.gradient_checkpointing.recomputing import recomputed

Make = Callable[..., dict[str, Any]]
CONFIG = {**scratch_config(BertConfig(size="tiny", vocab_size=50)), "num_hidden_layers": 3}


def again(model: Any) -> Any:
    """Let the layers of a model compute themselves again."""
    for layer in model.layers:
        layer.__class__ = recomputed(type(layer))
    return model


def gradients(model: Any, *inputs: Any, compiled: bool = True) -> dict[str, np.ndarray]:
    """Return loss, gradients and the random state after them, of a model in training mode."""
    mx.random.seed(6)
    direction = mx.random.normal(model(*inputs).shape, key=mx.random.key(3))

    def step(*inputs: Any) -> Any:
        return nn.value_and_grad(model, lambda m: (m(*inputs) * direction).sum())(model)

    if compiled:
        state = [model.state, mx.random.state]
        step = mx.compile(step, inputs=state, outputs=state)
    mx.random.seed(7)
    loss, found = step(*inputs)
    flat: Any = tree_flatten(found)
    named = {**dict(flat), "loss": loss, "random state": mx.random.state[0]}
    return {name: np.array(array) for name, array in named.items()}


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert np.array_equal(array, other[name]), name


def encoder(on_cpu: bool = True, **config: Any) -> Encoder:
    mx.random.seed(1)
    made = Encoder({**CONFIG, **config})
    made._on_cpu = on_cpu
    mx.eval(made.parameters())
    return made.train()


def batch(rows: int = 5) -> tuple[mx.array, mx.array]:
    draw = np.random.default_rng(0)
    mask = (np.arange(9) < draw.integers(2, 10, (rows, 1))).astype(np.float32)
    return mx.array(draw.integers(0, 50, (rows, 9)).astype(np.int32)), mx.array(mask)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(("on_cpu", "rows"), [(True, 5), (True, 1), (False, 5)])
def test_berts_gradients_are_the_same_bits_with_dropout(on_cpu: bool, rows: int, compiled: bool) -> None:
    plain = gradients(encoder(on_cpu), *batch(rows), compiled=compiled)
    assert_same_bits(plain, gradients(again(encoder(on_cpu)), *batch(rows), compiled=compiled))
    other = gradients(encoder(on_cpu, hidden_dropout_prob=0.0), *batch(rows), compiled=compiled)
    assert abs(other["loss"] - plain["loss"]) > 1e-3  # dropout was on


def test_frozen_layers_have_no_gradient_and_pass_it_on() -> None:
    def frozen(model: Encoder) -> Encoder:
        model.layers[1].freeze()
        model.layers[2].freeze(keys=["weight"])
        return model

    plain, now = (gradients(frozen(model), *batch()) for model in (encoder(), again(encoder())))
    assert not any(".layer.1." in name for name in plain)
    assert_same_bits(plain, now)


class Block(nn.Module):
    """What people write: dropouts of MLX, a running mean, several inputs and outputs."""

    def __init__(self, dropout: nn.Module, *, norm: bool = False) -> None:
        super().__init__()
        self.dense, self.dropout = nn.Linear(4, 4), dropout
        if norm:
            self.norm = nn.BatchNorm(4)

    def __call__(self, x: mx.array, more: dict[str, mx.array], *, scale: float, key: Any = None) -> Any:
        x = self.dropout(mx.tanh(self.dense(x) * scale + more["shift"]))
        x = self.dropout(x)
        return (self.norm(x) if "norm" in self else x), {"shift": more["shift"] * 2}, None


class Net(nn.Module):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__()
        self.layers = [Block(*copy.deepcopy(args), **more) for _ in range(3)]
        self.shift = mx.ones((4,))

    def __call__(self, x: mx.array) -> mx.array:
        more = {"shift": self.shift}
        for layer in self.layers:
            x, more, _ = layer(x, more, scale=1.5, key=None)
        return x + more["shift"]


@pytest.mark.parametrize(
    ("dropout", "shape"),
    [
        (nn.Dropout(0.3), (6, 4)),
        (nn.Dropout(0.0), (6, 4)),
        (nn.Dropout2d(0.3), (6, 5, 5, 4)),
        (nn.Dropout2d(0.3), (6, 5, 4)),
        (nn.Dropout3d(0.3), (6, 2, 2, 2, 4)),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_mlx_s_own_dropout_draws_the_same_again(dropout: nn.Module, shape: tuple[int, ...], compiled: bool) -> None:
    def made() -> Net:
        mx.random.seed(2)
        return Net(dropout).train()

    x = mx.random.normal(shape, key=mx.random.key(1))
    assert_same_bits(gradients(made(), x, compiled=compiled), gradients(again(made()), x, compiled=compiled))


def test_a_running_mean_is_moved_once() -> None:
    def made() -> Net:
        mx.random.seed(2)
        return Net(nn.Dropout(0.1), norm=True).train()

    x = mx.random.normal((6, 4), key=mx.random.key(1))
    plain, now = made(), again(made())
    assert_same_bits(gradients(plain, x), gradients(now, x))
    for one, other in zip(plain.layers, now.layers, strict=True):
        assert np.array_equal(np.array(one.norm.running_mean), np.array(other.norm.running_mean))
        assert np.abs(np.array(one.norm.running_mean)).max() > 1e-3


def test_names_copies_and_evaluation_are_as_before() -> None:
    plain, now = encoder(), again(encoder())
    assert [name for name, _ in tree_flatten(plain.parameters())] == [
        name for name, _ in tree_flatten(now.parameters())
    ]
    assert type(now.layers[0]).__name__ == "Layer" and type(now.layers[0]) is type(now.layers[2])
    assert recomputed(type(now.layers[0])) is type(now.layers[0])
    copied = copy.deepcopy(now)
    for each in (plain, now, copied):
        each.eval()
    assert np.array_equal(np.array(plain(*batch())), np.array(now(*batch())))
    assert np.array_equal(np.array(plain(*batch())), np.array(copied(*batch())))


def test_less_memory_is_needed() -> None:
    """Of eight layers, what the plain ones keep and these do not; measured by MLX."""
    ids, mask = mx.zeros((8, 128), mx.int32), mx.ones((8, 128))
    peaks = []
    for change in (lambda model: model, again):
        model = change(encoder(num_hidden_layers=8, max_position_embeddings=128))
        step = nn.value_and_grad(model, lambda m: m(ids, mask).square().sum())
        mx.eval(step(model))
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(step(model))
        peaks.append(mx.get_peak_memory() - before)
    assert peaks[1] < 0.5 * peaks[0]


class Noisy(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.dense, self.kind, self._times = nn.Linear(4, 4), kind, 0

    def __call__(self, x: Any) -> Any:
        object.__setattr__(self, "times", getattr(self, "times", 0) + 1)
        if self.kind == "draws":
            return self.dense(x) * mx.random.uniform(shape=(4,))
        if self.kind == "once" and self.times > 1:
            raise IndexError("only once")
        return self.dense(x if self.kind != "iterator" else next(x))


class Holder:
    def __init__(self, x: mx.array) -> None:
        self.x = x


class Tower(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.layers = kind, [Noisy(kind)]

    def __call__(self, x: mx.array) -> mx.array:
        given: Any = iter([x]) if self.kind == "iterator" else Holder(x) if self.kind == "holder" else x
        found: mx.array = self.layers[0](given)
        return found


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("draws", "it draws random numbers of its own, which are others the second time"),
        ("once", r"the second time, it raised IndexError\('only once'\)"),
        ("iterator", "it is given a list_iterator, whose arrays no gradient reaches"),
        ("holder", "it is given a Holder, whose arrays no gradient reaches"),
    ],
)
def test_layers_that_cannot_be_computed_twice_are_one_sentence(kind: str, words: str) -> None:
    model = again(Tower(kind))
    expected = f"gradient_checkpointing: expected layers that can be computed twice, got Noisy: {words}; switch"
    with pytest.raises(ModelError, match=expected):
        nn.value_and_grad(model, lambda m: m(mx.ones((2, 4))).sum())(model)


class Gives(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def __call__(self, x: mx.array) -> Holder:
        return Holder(self.dense(x))


def test_a_layer_that_gives_no_arrays_is_one_sentence() -> None:
    layer = Gives()
    layer.__class__ = recomputed(Gives)
    with pytest.raises(ModelError, match="got Gives: it gives a Holder, expected arrays, or tuples of them"):
        nn.value_and_grad(layer, lambda m: m(mx.ones((2, 4))).x.sum())(layer)


def test_a_model_without_layers_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="expected a model with layers, got the Linear"):
        GradientCheckpointing().transform_model(None, nn.Linear(2, 2))


def trained(tree: dict[str, Any]) -> tuple[dict[str, bytes], list[float], list[str]]:
    losses: list[float] = []
    told: list[str] = []

    class Watch:
        @hookimpl
        def on_step_end(self, step: Any) -> None:
            losses.append(step.loss)

        @hookimpl
        def on_message(self, text: str) -> None:
            told.append(text)

    trainer = create_trainer(config=tree, plugins=[Watch()])
    trainer.train()
    named: Any = tree_flatten(trainer.model.parameters())
    return {name: np.array(array).tobytes() for name, array in named}, losses, told


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"pooling": "cls"}},
        {"training": {"gradient_accumulation_steps": 2}},
        {"training": {"precision": "bfloat16"}},
        {"plugins": {"freeze": {"layers": 1, "unfreeze_every": 4, "unfreeze_by": "updates"}}},
        {"training": {"precision": "bfloat16"}, "plugins": {"freeze": {"layers": 1}}},
    ],
    ids=["cls", "accumulation", "bfloat16", "phases", "frozen-bfloat16"],
)
def test_a_fit_ends_with_the_same_bits(tiny_config: Make, sections: dict[str, Any]) -> None:
    found = []
    for more in ({}, {"gradient_checkpointing": {}}):
        tree = tiny_config(**copy.deepcopy(sections))
        tree["training"] |= {"num_epochs": 1}
        tree["plugins"] |= {"progress": False, **more}
        found.append(trained(tree))
    assert found[0][:2] == found[1][:2] and len(found[0][1]) >= 6
    assert "gradient_checkpointing: 2 layers are computed again for gradients" in found[1][2]
