"""A head is asked once: rows that look at each other, and forms that no label has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from stepbus.base.errors import ModelError
from stepbus.compute.models.head_check import check_head


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
