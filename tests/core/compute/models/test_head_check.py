"""A head is asked once: rows that look at each other, and forms that no label has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from stepbus.base.errors import ModelError
from stepbus.base.guards import Maker
from stepbus.compute.models.head_check import check_head, check_loss


class Head(nn.Linear):
    """Softmax over two classes."""

    def loss(self, logits: mx.array, labels: mx.array) -> Any:
        return nn.losses.cross_entropy(logits, labels)

    def predictions(self, logits: mx.array) -> Any:
        return mx.softmax(logits, axis=-1)


def model(task: str = "binary", outputs: int = 2, **methods: Any) -> Any:
    head = type("Mine", (Head,), methods)(8, outputs)
    providers = {"head": "mine, my-pack 1.0"}
    return SimpleNamespace(
        encoder=SimpleNamespace(hidden_size=8), head=head, task=task, outputs=outputs, providers=providers
    )


def squared(self: Any, logits: mx.array, labels: mx.array) -> mx.array:
    return mx.square(logits.squeeze(-1) - labels)


def test_sound_heads_pass() -> None:
    check_head(model())
    check_head(model("multiclass", 5))
    check_head(model("regression", 1, loss=squared, predictions=lambda self, logits: logits))


def test_a_head_that_draws_numbers_passes() -> None:
    def noisy(self: Any, logits: mx.array, labels: mx.array) -> mx.array:
        return Head.loss(self, logits + mx.random.normal(logits.shape), labels)

    check_head(model(loss=noisy))


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (
            {"loss": lambda self, logits, labels: mx.zeros(3) + Head.loss(self, logits, labels).mean()},
            "loss: .*numbers that change with other rows",
        ),
        ({"predictions": lambda self, logits: mx.softmax(logits, axis=0)}, "predictions: .*change with other rows"),
        (
            {"loss": lambda self, logits, labels: Head.loss(self, logits, labels)[:, None]},
            r"\[3\], got an array \[3, 1\]",
        ),
        ({"loss": lambda self, logits, labels: labels}, "floating-point numbers, got int32"),
        ({"predictions": lambda self, logits: logits.argmax(-1)}, r"\[3, 2\], got an array \[3\]"),
        ({"predictions": lambda self, logits: mx.zeros((3, 5))}, r"\[3, 2\], got an array \[3, 5\]"),
    ],
)
def test_what_would_train_wrongly_is_refused(methods: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=rf"^the head Mine: .*{words}.*\(mine, my-pack 1.0\)$"):
        check_head(model(**methods))


@pytest.mark.parametrize(("task", "outputs"), [("binary", 2), ("multiclass", 4), ("multilabel", 3), ("regression", 1)])
def test_a_loss_is_asked_with_labels_of_its_task(task: str, outputs: int) -> None:
    seen: list[Any] = []

    def loss(logits: mx.array, labels: mx.array) -> mx.array:
        seen.append((logits.shape, labels.shape, mx.issubdtype(labels.dtype, mx.integer)))
        return logits.sum(axis=-1)

    check_loss(loss, Maker("the loss 'mine'"), task, outputs)
    one = task == "regression" or task in ("binary", "multiclass")
    assert seen == [((3, outputs), (3,) if one else (3, outputs), task in ("binary", "multiclass"))] * 2


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda logits, labels: logits.mean(), "expected one for each row, [3], got an array []"),
        (lambda logits, labels: None, "expected one for each row, [3], got a NoneType"),
        (lambda logits, labels: labels, "expected floating-point numbers, got int32"),
        (lambda logits, labels: logits[:, 0] - logits.mean(), "expected each row to say what it says whatever the"),
        (lambda logits, labels: 1 / 0, "its call raised ZeroDivisionError: division by zero"),
        (lambda logits: logits, "its call raised TypeError: "),
    ],
)
def test_a_loss_that_cannot_be_used_is_named(loss: Any, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_loss(loss, Maker("the loss 'mine'", "my-pack 1.0"), "binary", 2)
    assert str(caught.value).startswith(f"the loss 'mine': {words}")
    assert str(caught.value).endswith("(my-pack 1.0)")
