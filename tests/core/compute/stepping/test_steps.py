"""The compiled step: sums by weight, accumulation, randomness as a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import ModelError, create_model, load_config
from stepbus.compute.lowering import lowered
from stepbus.compute.stepping import StepParts
from stepbus.compute.stepping.steps import CompiledSteps, mix
from stepbus.compute.stepping.updater import ParameterUpdater
from stepbus.text.batches.prefetch import Batch

Build = Callable[..., CompiledSteps]


@pytest.fixture
def build(tiny_config: Callable[..., dict[str, Any]]) -> Build:
    """Return a function that makes the steps of a tiny model under plain SGD."""

    def make(
        dropout: float = 0.0, precision: str = "float32", frozen: bool = False, rate: float = 0.5
    ) -> CompiledSteps:
        section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
        rates = {"dropout": dropout, "hidden_dropout": dropout, "attention_dropout": dropout}
        model = create_model(**section, **rates)
        if frozen:
            model.encoder.freeze()
            model.pooling.freeze()
        optimizer = load_config(tiny_config(optimizer={"type": "sgd", "learning_rate": 0.5})).optimizer
        updater = ParameterUpdater(optimizer.build(), 0.5)
        updater.init(model.trainable_parameters())
        return CompiledSteps(model, updater, StepParts(), rate=lambda step: rate, seed=1, precision=precision)

    return make


def batch(rows: int, seed: int, padding: int = 0, length: int = 8) -> Batch:
    """Return random tokens; the last rows are padding and weigh 0."""
    draw = np.random.default_rng(seed)
    size = rows + padding
    weights = np.concatenate([np.ones(rows), np.zeros(padding)]).astype(np.float32)
    labels = draw.integers(0, 2, size).astype(np.int32)
    mask = np.ones((size, length), np.float32)
    positions = np.concatenate([np.arange(rows), np.full(padding, -1)])
    ids = draw.integers(5, 20, (size, length)).astype(np.int32)
    return Batch(ids, mask, None, labels, weights, positions, rows, rows * length)


def joined(first: Batch, second: Batch) -> Batch:
    arrays = [
        np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("input_ids", "attention_mask", "labels", "weights", "rows")
    ]
    ids, mask, labels, weights, rows = arrays
    sequences = first.sequences + second.sequences
    return Batch(ids, mask, None, labels, weights, rows, sequences, first.tokens + second.tokens)


def weights(steps: CompiledSteps) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in steps.model.tensors().items()}


def test_accumulated_batches_equal_one_large_batch(build: Build) -> None:
    """Uneven batches of 3 and 5 rows; float32 sums in another order, so 1e-6 absolute on weights of up to 1."""
    one, several = build(), build()
    large = one.read(one.launch([joined(batch(3, 1), batch(5, 2))], 1))
    small = several.read(several.launch([batch(3, 1), batch(5, 2)], 1))
    assert large.loss == pytest.approx(small.loss, abs=1e-6)
    assert (large.weight, small.weight) == (8.0, 8.0)
    for name, array in weights(one).items():
        np.testing.assert_allclose(weights(several)[name], array, atol=1e-6, err_msg=name)


def test_padding_rows_weigh_nothing(build: Build) -> None:
    one, padded = build(), build()
    first = one.read(one.launch([batch(4, 3)], 1))
    whole = batch(4, 3)
    filler = batch(0, 4, padding=4)
    second = padded.read(padded.launch([joined(whole, filler)], 1))
    assert first.loss == pytest.approx(second.loss, abs=1e-6)
    for name, array in weights(one).items():
        np.testing.assert_allclose(weights(padded)[name], array, atol=1e-6, err_msg=name)


def test_a_step_is_a_function_of_seed_and_number(build: Build) -> None:
    """Whatever was drawn before, the same step gives the same bits; another number gives other masks."""
    losses = []
    for number, draws in ((3, 0), (3, 7), (4, 0)):
        steps = build(dropout=0.5)
        for _ in range(draws):
            mx.random.normal((5,))
        losses.append(steps.read(steps.launch([batch(6, 5)], number)).loss)
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_one_trace_for_each_shape(build: Build) -> None:
    steps = build()
    for number, length in enumerate((8, 8, 16, 8, 16), start=1):
        steps.read(steps.launch([batch(4, number, length=length)], number))
    assert steps.traces == 2


def test_evaluation_has_no_dropout_and_changes_nothing(build: Build) -> None:
    steps = build(dropout=0.5)
    before = weights(steps)
    first, second = steps.evaluate(batch(4, 6)), steps.evaluate(batch(4, 6))
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])
    for name, array in weights(steps).items():
        np.testing.assert_array_equal(before[name], array)
    assert steps.model.training


def test_bfloat16_keeps_master_weights_in_float32(build: Build) -> None:
    """bfloat16 has 8 bits of mantissa: its loss is within 2% of float32's, and the weights stay float32."""
    half, full = build(precision="bfloat16"), build()
    losses = [steps.read(steps.launch([batch(8, 7)], 1)).loss for steps in (half, full)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)
    assert {array.dtype for array in half.model.tensors().values()} == {mx.float32}


@pytest.mark.parametrize("windows", [[1, 1, 1], [2, 1]], ids=["plain", "accumulated"])
def test_bfloat16_leaves_frozen_weights_as_they_were_bit_by_bit(build: Build, windows: list[int]) -> None:
    steps = build(precision="bfloat16", frozen=True)
    before = weights(steps)
    trained = {steps.model.tensor_name(path) for path, _ in tree_flatten(steps.model.trainable_parameters())}
    assert trained == {"classifier.weight", "classifier.bias"}
    assert any((array != np.array(mx.array(array).astype(mx.bfloat16).astype(mx.float32))).any()
               for name, array in before.items() if name not in trained)  # or nothing could be lost  # fmt: skip
    for number, size in enumerate(windows, 1):
        steps.read(steps.launch([batch(8, seed) for seed in range(size)], number))
    for name, array in weights(steps).items():
        assert array.dtype == np.float32
        assert np.array_equal(array, before[name]) == (name not in trained), name


def test_bfloat16_trains_what_is_not_frozen_in_float32_steps_too_small_for_it(build: Build) -> None:
    """1 + 2^-12 is no bfloat16: an update of that size would be lost in every step if the master were one."""
    steps = build(precision="bfloat16", rate=2.0**-12)
    before = weights(steps)["classifier.weight"]
    steps.read(steps.launch([batch(8, 7)], 1))
    change = weights(steps)["classifier.weight"] - before
    assert 0 < np.abs(change).max() < 2.0**-12


def test_what_the_forward_sets_itself_is_kept_and_integers_stay(build: Build) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.table = mx.array([1 / 3, 2.0]), mx.array([3, 257])
            self.mean = mx.zeros(2)
            self.freeze(keys=["mean", "table"])

    model = Counting()
    put_back = lowered(model, mx.bfloat16)
    assert (model.weight.dtype, model.table.dtype) == (mx.bfloat16, mx.int32)
    model.mean = model.weight * 2
    put_back()
    assert model.weight.tolist() == [np.float32(1 / 3), 2.0]
    assert (model.mean.dtype, model.mean.tolist()) == (mx.float32, [0.66796875, 4.0])
    assert model.table.tolist() == [3, 257]


def test_seeds_are_mixed_the_same_everywhere() -> None:
    assert mix(1, 2) == 17709254606964033710
    assert len({mix(a, b) for a in range(20) for b in range(20)}) == 400
    assert 0 <= mix(0) < 2**64


@pytest.mark.parametrize("window", [1, 2])
def test_a_step_that_cannot_be_traced_or_computed_leaves_the_weights(build: Build, window: int) -> None:
    """MLX leaves its tracers in a model whose function fails, or arrays that cannot be computed."""
    steps = build()
    before, state = weights(steps), {name: np.array(array) for name, array in steps.updater.arrays().items()}
    head = steps.model.head.loss

    def refused(logits: mx.array, labels: mx.array) -> mx.array:
        raise ValueError("not today")

    def uncomputable(logits: mx.array, labels: mx.array) -> mx.array:
        return mx.take_along_axis(logits, labels[:, None].astype(mx.float32), axis=-1).squeeze(-1)

    for loss in (refused, uncomputable):
        object.__setattr__(steps.model.head, "loss", loss)
        with pytest.raises(
            ModelError,
            match=r"raised ValueError: not today|the model cannot be computed on a batch of input_ids int32 \[4, 8\]",
        ):
            steps.launch([batch(4, 1)] * window, 1)
        with pytest.raises(ModelError):
            steps.evaluate(batch(4, 1))
        assert steps.model.training
        for name, array in weights(steps).items():
            np.testing.assert_array_equal(array, before[name])
    assert state.keys() == steps.updater.arrays().keys()
    for name, array in steps.updater.arrays().items():
        np.testing.assert_array_equal(np.array(array), state[name])
    assert np.isfinite(mx.random.normal((2,)).tolist()).all()
    object.__setattr__(steps.model.head, "loss", head)
    anew = CompiledSteps(steps.model, steps.updater, StepParts(), rate=lambda step: 0.5, seed=1)
    assert np.isfinite(anew.read(anew.launch([batch(4, 1)] * window, 1)).loss)
