"""What a head gives is held to its shapes, since what broadcasts would be a wrong loss without a word."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from stepbus import ModelError
from stepbus.base.guards import Maker
from stepbus.compute.forward import HeadForward

LOGITS = mx.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
BATCH = {"labels": mx.array([1, 0, 1]), "weights": mx.array([1.0, 1.0, 0.0])}


class Head:
    def __init__(self, loss: Any, predictions: Any = LOGITS) -> None:
        self.given, self.said = loss, predictions

    def loss(self, logits: mx.array, labels: mx.array) -> Any:
        return self.given

    def predictions(self, logits: mx.array) -> Any:
        return self.said


class Model:
    def __init__(self, head: Any) -> None:
        self.head = head

    def __call__(self, batch: Any) -> mx.array:
        return LOGITS


def losses_of(model: Any, forward: HeadForward) -> mx.array:
    """Return the loss of each row, as a training step asks for it."""
    return forward.loss_of(model)(forward.calling(model), BATCH)[0]


def test_a_head_by_the_rules_is_taken_as_it_is() -> None:
    model = Model(Head(mx.array([1.0, 2.0, 3.0])))
    assert losses_of(model, HeadForward()).tolist() == [1.0, 2.0, 3.0]
    losses, predictions, _ = HeadForward().outputs(model, BATCH)
    assert (losses.tolist(), predictions.shape) == ([1.0, 2.0, 3.0], (3, 2))


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (mx.array(2.0), "an array []"),
        (mx.ones((3, 1)), "an array [3, 1]"),
        (LOGITS, "an array [3, 2]"),
        (None, "a NoneType"),
    ],
    ids=["their mean", "a column", "logits", "nothing"],
)
def test_a_loss_that_is_not_one_a_row_is_refused(loss: Any, got: str) -> None:
    """A column made [B, B] of it with the weights, and a mean counted the padding rows."""
    for call in (losses_of, lambda model, forward: forward.outputs(model, BATCH)):
        with pytest.raises(ModelError) as caught:
            call(Model(Head(loss)), HeadForward())
        assert str(caught.value) == f"the head Head: loss: expected one for each row, [3], got {got}"


@pytest.mark.parametrize("said", [mx.ones(3), mx.ones((2, 2)), mx.array(1.0), 0.5, None], ids=repr)
def test_predictions_of_another_shape_are_refused(said: Any) -> None:
    with pytest.raises(ModelError, match=r"^the head Head: predictions: expected \[3, K\], got an? "):
        HeadForward().outputs(Model(Head(mx.ones(3), said)), BATCH)


def test_a_head_without_methods_is_named() -> None:
    with pytest.raises(ModelError, match=r"^the head object: expected methods loss and predictions, got no loss$"):
        losses_of(Model(object()), HeadForward())


def test_a_loss_is_handed_the_model_or_what_a_plugin_puts_there() -> None:
    class OfLogits(Head):
        def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
            return logits[:, 0]

    model, forward = Model(OfLogits(None)), HeadForward()
    assert losses_of(model, forward).tolist() == [0.0, 2.0, 0.0]
    losses, scalars = forward.loss_of(model)(lambda batch: 10 + LOGITS, BATCH)
    assert (losses.tolist(), dict(scalars)) == ([10.0, 12.0, 10.0], {})


def test_a_classifier_is_called_in_two_halves() -> None:
    class Halves(Model):
        def pooled(self, batch: Any) -> mx.array:
            return 3 * mx.ones((3, 2), mx.bfloat16)

        def logits(self, pooled: mx.array) -> mx.array:
            return pooled + 1

    call = HeadForward().calling(Halves(None))
    logits = call.logits(call.pooled(BATCH))
    assert (logits.tolist(), logits.dtype) == ([[4.0, 4.0]] * 3, mx.float32)
    assert call(BATCH).tolist() == LOGITS.tolist()


def test_a_loss_that_was_picked_takes_the_place_of_the_heads() -> None:
    forward, model = (
        HeadForward(lambda logits, labels: logits[:, 0] + labels, Maker("the loss 'mine'")),
        Model(object()),
    )
    assert losses_of(model, forward).tolist() == [1.0, 2.0, 1.0]
    model.head = Head(None)
    assert forward.outputs(model, BATCH)[0].tolist() == [1.0, 2.0, 1.0]


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (lambda logits, labels: logits.mean(), "expected one for each row, [3], got an array []"),
        (lambda logits, labels: 1 / 0, "its call raised ZeroDivisionError: division by zero"),
    ],
    ids=["a mean", "an error"],
)
def test_a_picked_loss_that_fails_names_its_maker(loss: Any, said: str) -> None:
    with pytest.raises(ModelError) as caught:
        losses_of(Model(object()), HeadForward(loss, Maker("the loss 'mine'", "mine 1.0")))
    place = f", at {__file__}:{loss.__code__.co_firstlineno}" if "raised" in said else ""
    assert str(caught.value) == f"the loss 'mine': {said}{place} (mine 1.0)"


def test_the_head_of_a_classifier_is_called_without_its_dropout() -> None:
    class Linear(Head):
        def __call__(self, pooled: mx.array) -> mx.array:
            return 2 * pooled

    logits = HeadForward().calling(Model(Linear(None))).head(mx.ones((3, 2), mx.bfloat16))
    assert (logits.tolist(), logits.dtype) == ([[2.0, 2.0]] * 3, mx.float32)


@pytest.mark.parametrize("beside", [False, True])
def test_what_a_loss_or_a_head_writes_into_is_its_own(beside: bool) -> None:
    """What a loss moved in place was moved for the predictions, and for whoever calls the loss once more."""

    class Writes(Head):
        def __init__(self) -> None:
            super().__init__(None)

        def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
            logits -= 5
            labels *= 0
            return logits.sum(axis=1)

        def predictions(self, logits: mx.array) -> mx.array:
            logits *= 0
            return logits

    model, before = Model(Writes()), LOGITS.tolist()
    forward = HeadForward(Writes().loss) if beside else HeadForward()
    for _ in range(2):
        losses, predictions, logits = forward.outputs(model, BATCH)
        assert (losses.tolist(), logits.tolist()) == ([-9.0, -8.0, -10.0], before)
        assert predictions.tolist() == [[0.0, 0.0]] * 3
    assert BATCH["labels"].tolist() == [1, 0, 1]
