"""The compiled step: sums by weight, accumulation, randomness as a function of (seed, step)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stepbus import create_model, load_config
from stepbus.compute.optimizer import ParameterUpdater
from stepbus.compute.steps import CompiledSteps, mix
from stepbus.text.batches.prefetch import Batch

Build = Callable[..., CompiledSteps]


@pytest.fixture
def build(tiny_config: Callable[..., dict[str, Any]]) -> Build:
    """Return a function that makes the steps of a tiny model under plain SGD."""

    def make(dropout: float = 0.0, precision: str = "float32") -> CompiledSteps:
        section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
        rates = {"dropout": dropout, "hidden_dropout": dropout, "attention_dropout": dropout}
        model = create_model(**section, **rates)
        optimizer = load_config(tiny_config(optimizer={"type": "sgd", "learning_rate": 0.5})).optimizer
        updater = ParameterUpdater(optimizer.build(), 0.5)
        updater.init(model.trainable_parameters())
        return CompiledSteps(model, updater, [], rate=lambda step: 0.5, seed=1, precision=precision)

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


def test_seeds_are_mixed_the_same_everywhere() -> None:
    assert mix(1, 2) == 17709254606964033710
    assert len({mix(a, b) for a in range(20) for b in range(20)}) == 400
    assert 0 <= mix(0) < 2**64
