"""How a module of the user's is called on a batch, and what its answer means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepbus import ModelError
from stepbus.compute.module_forward import ModuleForward

# After the fast BLAS.
import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip

X = mx.arange(6, dtype=mx.float32).reshape(3, 2)
LABELS = mx.array([0, 1, 1])
WEIGHTS = mx.array([1.0, 2.0, 3.0])
BATCH = {"x": X, "labels": LABELS, "weights": WEIGHTS}
UNSEEN = {"x": X, "weights": WEIGHTS}
CROSS_ENTROPY = nn.losses.cross_entropy


def module(call: Callable[..., Any]) -> Any:
    """Return a module whose call is a function without self."""
    kind = type("Mine", (nn.Module,), {"__call__": staticmethod(call)})
    return kind()


def losses_of(forward: ModuleForward, model: Any, batch: Any) -> mx.array:
    """Return the loss of each row, as a training step asks for it."""
    return forward.loss_of(model)(forward.calling(model), batch)[0]


def squares(outputs: mx.array, labels: mx.array) -> mx.array:
    return (outputs.reshape(-1) - labels) ** 2


def test_a_loss_of_each_row_is_taken_as_it_is() -> None:
    forward = ModuleForward(module(lambda x: x), CROSS_ENTROPY)
    expected = CROSS_ENTROPY(X, LABELS)
    np.testing.assert_array_equal(losses_of(forward, module(lambda x: x), BATCH), expected)
    losses, predictions, outputs = forward.outputs(module(lambda x: x), BATCH)
    np.testing.assert_array_equal(losses, expected)
    np.testing.assert_array_equal(predictions, X)
    np.testing.assert_array_equal(outputs, X)


def test_one_number_counts_for_each_row() -> None:
    said: list[str] = []
    model = module(lambda x: x[:, :1])
    forward = ModuleForward(
        model, lambda outputs, labels: squares(outputs, labels).mean(), say=said.append, weighted=lambda: True
    )
    for _ in range(2):
        np.testing.assert_allclose(losses_of(forward, model, BATCH), [10 / 3] * 3, rtol=1e-6)  # of 0, 1 and 9
    assert len(said) == 1
    assert said[0].startswith("the loss of Mine is one number for a whole batch")
    np.testing.assert_array_equal(
        losses_of(ModuleForward(model, lambda outputs, labels: squares(outputs, labels)[:, None]), model, BATCH),
        [0, 1, 9],
    )


@pytest.mark.parametrize("answer", [lambda loss, logits: loss, lambda loss, logits: (loss, logits)])
def test_a_module_that_names_labels_computes_its_loss(answer: Any) -> None:
    def call(x: mx.array, labels: mx.array | None = None) -> Any:
        return x if labels is None else answer(CROSS_ENTROPY(x, labels, reduction="mean"), x)

    model = module(call)
    forward = ModuleForward(model)
    mean = CROSS_ENTROPY(X, LABELS, reduction="mean").item()
    np.testing.assert_allclose(losses_of(forward, model, BATCH), [mean] * 3)
    _, predictions, outputs = forward.outputs(model, BATCH)
    both = isinstance(call(X, LABELS), tuple)
    assert predictions.shape == outputs.shape == ((3, 2) if both else (3, 0))
    losses, predictions, _ = forward.outputs(model, UNSEEN)
    np.testing.assert_array_equal(losses, [0, 0, 0])
    np.testing.assert_array_equal(predictions, X)


def test_a_loss_beside_goes_before_the_modules_own() -> None:
    seen: list[Any] = []

    def call(x: mx.array, labels: mx.array | None = None) -> mx.array:
        seen.append(labels)
        return x

    losses_of(ModuleForward(module(call), CROSS_ENTROPY), module(call), BATCH)
    assert seen == [None]
    needs = module(lambda x, labels: x + labels[:, None])  # such as a decoder that is shown the targets
    np.testing.assert_array_equal(
        losses_of(ModuleForward(needs, CROSS_ENTROPY), needs, BATCH), CROSS_ENTROPY(X + LABELS[:, None], LABELS)
    )


@pytest.mark.parametrize(
    ("task", "outputs", "expected"),
    [
        ("multiclass", [[0.0, 0.0], [0.0, np.log(3)]], [[0.5, 0.5], [0.25, 0.75]]),
        ("binary", [[0.0, 0.0], [0.0, np.log(3)]], [[0.5, 0.5], [0.25, 0.75]]),
        ("binary", [[0.0], [np.log(3)]], [[0.5, 0.5], [0.25, 0.75]]),
        ("binary", [0.0, np.log(3)], [[0.5, 0.5], [0.25, 0.75]]),
        ("multilabel", [[0.0, np.log(3)], [0.0, 0.0]], [[0.5, 0.75], [0.5, 0.5]]),
        ("regression", [1.0, 2.0], [[1.0], [2.0]]),
        (None, [[1.0], [2.0]], [[1.0], [2.0]]),
    ],
)
def test_a_task_makes_probabilities(task: str | None, outputs: Any, expected: Any) -> None:
    model = module(lambda x: mx.array(outputs))
    found = ModuleForward(model, squares, task).outputs(model, {"x": X[:2], "weights": WEIGHTS[:2]})[1]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_inputs_are_put_into_the_precision_of_the_training() -> None:
    seen: list[Any] = []
    model = module(lambda x, n: seen.append((x.dtype, n.dtype)) or x)
    batch = {**BATCH, "n": mx.array([1, 2, 3])}
    forward = ModuleForward(model, CROSS_ENTROPY, precision="bfloat16")
    assert losses_of(forward, model, batch).dtype == mx.float32
    forward.outputs(model, batch)
    assert seen == [(mx.bfloat16, mx.int32), (mx.float32, mx.int32)]


def test_outputs_are_told_before_the_loss_takes_places_in_them() -> None:
    told: list[Any] = []
    model = module(lambda x: x)
    losses_of(
        ModuleForward(model, lambda *both: told.append("loss") or CROSS_ENTROPY(*both), learn=told.append), model, BATCH
    )
    assert told == [(3, 2), "loss"]


def test_entries_that_nobody_takes_are_said_once() -> None:
    said: list[str] = []
    model = module(lambda x: x)
    forward = ModuleForward(model, CROSS_ENTROPY, say=said.append)
    for _ in range(2):
        losses_of(forward, model, {**BATCH, "z": X, "a": X})
    assert said == ["a and z of the batches: the call of Mine takes nothing of that name"]


def breaks(x: mx.array) -> mx.array:
    raise KeyError("inside")


@pytest.mark.parametrize(
    ("call", "loss", "said"),
    [
        (
            lambda x: x,
            lambda outputs, labels: outputs,
            r"the loss of Mine: expected one number, or one for each of 3 rows, got \[3, 2\]",
        ),
        (lambda x: x, lambda outputs, labels: None, "the loss of Mine: expected an array, got a NoneType"),
        (lambda x: x.sum(), squares, r"Mine: expected outputs for each of 3 rows, got the shape \[\]; a model that"),
        (lambda x: x[:2], squares, r"Mine: expected outputs for each of 3 rows, got the shape \[2, 2\]"),
        (lambda x: {"logits": x}, squares, "Mine: expected its call to return outputs as one array, got a dict"),
        (breaks, squares, r"Mine called with x \[3, 2\] raised KeyError: 'inside'"),
        (lambda x: x, nn.losses.mse_loss, r"the loss of outputs \[3, 2\] and labels \[3\] raised ValueError: "),
        (lambda x, labels: (1, 2, 3), None, "Mine: expected a loss, or loss and outputs, got 3 values"),
        (lambda x, labels: 1.5, None, "the loss of Mine: expected an array, got a float"),
    ],
)
def test_what_is_wrong_is_one_sentence(call: Any, loss: Any, said: str) -> None:
    model = module(call)
    with pytest.raises(ModelError, match=f"^{said}"):
        losses_of(ModuleForward(model, loss), model, BATCH)


@pytest.mark.parametrize(
    ("task", "width", "said"),
    [
        ("binary", 3, r"expected outputs \[B\], \[B, 1\] or \[B, 2\], for data.task is binary, got \[3, 3\]"),
        ("multiclass", 0, r"expected outputs \[B, K\], for data.task is multiclass, got \[3, 0\]"),
    ],
)
def test_outputs_that_no_task_has(task: str, width: int, said: str) -> None:
    model = module(lambda x: mx.zeros((3, width)))
    with pytest.raises(ModelError, match=said):
        ModuleForward(model, squares, task).outputs(model, UNSEEN)


def test_a_loss_alone_predicts_nothing() -> None:
    model = module(lambda x, labels: CROSS_ENTROPY(x, labels))
    with pytest.raises(ModelError, match="expected a call that works without labels to predict with"):
        ModuleForward(model).outputs(model, UNSEEN)
    with pytest.raises(ModelError, match=r"expected outputs beside the loss, for data\.task is multiclass"):
        ModuleForward(model, task="multiclass").outputs(model, BATCH)


def test_there_has_to_be_a_loss() -> None:
    with pytest.raises(ModelError, match=r"^loss: expected a function of outputs and labels, because the call of Mine"):
        ModuleForward(module(lambda x: x))
    with pytest.raises(ModelError, match=r"^loss: expected a function of outputs and labels, got a str"):
        ModuleForward(module(lambda x: x), "cross_entropy")  # type: ignore[arg-type]


def test_a_plugin_may_hand_the_loss_outputs_of_its_own() -> None:
    forward = ModuleForward(module(lambda x: x), CROSS_ENTROPY)
    losses, scalars = forward.loss_of(None)(lambda batch: 2 * X, BATCH)
    np.testing.assert_array_equal(losses, CROSS_ENTROPY(2 * X, LABELS))
    assert not scalars


def test_a_module_that_computes_its_loss_is_handed_no_other_outputs() -> None:
    """It would be the loss of outputs that nobody changed, without a word."""
    model = module(lambda x, labels=None: x if labels is None else (CROSS_ENTROPY(x, labels), x))
    forward = ModuleForward(model)
    call = forward.calling(model)
    np.testing.assert_array_equal(forward.loss_of(model)(call, BATCH)[0], CROSS_ENTROPY(X, LABELS))
    with pytest.raises(ModelError, match=r"^Mine computes its own loss, so a plugin cannot hand it outputs of its own"):
        forward.loss_of(model)(lambda batch: call(batch), BATCH)


def test_what_a_loss_writes_into_is_its_own() -> None:
    def writes(outputs: mx.array, labels: mx.array) -> mx.array:
        outputs *= 2
        labels -= 1
        return mx.abs(outputs - labels)

    def moves(x: mx.array) -> mx.array:
        x += 1
        return x

    model = module(moves)
    batch = {"x": mx.array([0.0, 1.0]), "labels": mx.array([1.0, 1.0]), "weights": mx.ones(2)}
    for _ in range(2):
        losses, _, outputs = ModuleForward(model, writes).outputs(model, batch)
        assert (losses.tolist(), outputs.tolist(), batch["labels"].tolist()) == ([2.0, 4.0], [1.0, 2.0], [1.0, 1.0])
