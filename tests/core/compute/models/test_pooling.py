"""Poolings as a model is built with them: all hidden layers, another width, and what does not go together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from attrs import define

from stepbus.base.components import Component, Selected
from stepbus.base.errors import ModelError
from stepbus.compute.models.head_check import check_head
from stepbus.compute.models.model import Classifier, compose
from stepbus.compute.models.pooling import build_pooling
from stepbus.config.sections import ModelSettings

D, K, LAYERS = 4, 3, 2


@define(frozen=True, kw_only=True)
class Nothing:
    pass


class Encoder(nn.Module):
    hidden_size = D
    given: Any = None

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, D)
        self.layers = [nn.Linear(D, D) for _ in range(LAYERS)]

    def __call__(self, ids: Any, mask: Any, types: Any, *, first_token_only: bool, all_layers: bool = False) -> Any:
        states = [self.words(ids)]
        for layer in self.layers:
            states.append(layer(states[-1]))
        return self.given(states) if self.given else states if all_layers else states[-1]


class LastOnly(Encoder):
    def __call__(self, input_ids: Any, mask: Any, types: Any, *, first_token_only: bool) -> Any:  # type: ignore[override]
        return super().__call__(input_ids, mask, types, first_token_only=first_token_only)


class Beside(nn.Module):
    """All states' first tokens beside each other."""

    all_layers = True

    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        self.output_size = (layers + 1) * size

    def __call__(self, hidden: list[mx.array], mask: mx.array) -> mx.array:
        return mx.concatenate([each[:, 0] for each in hidden], axis=-1)


class Head(nn.Linear):
    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        return nn.losses.cross_entropy(logits, labels)

    def predictions(self, logits: mx.array) -> mx.array:
        return mx.softmax(logits, axis=-1)


def pooling(build: Callable[..., Any]) -> Selected:
    return Selected(Component("pooling", "beside", Nothing, build), Nothing(), "mine 1.0")


def composed(build: Callable[..., Any], encoder: type = Encoder) -> Classifier:
    head = Selected(
        Component("head", "h", Nothing, lambda settings, size, outputs: Head(size, outputs), {"task": "multiclass"}),
        Nothing(),
    )
    settings = ModelSettings(head=head, pooling=pooling(build))
    return compose(settings, encoder(), {}, outputs=K, head=head, seed=1, architecture="Toy").eval()


def beside(settings: Nothing, size: int, layers: int) -> nn.Module:
    return Beside(size, layers)


BATCH = {"input_ids": mx.array([[1, 2, 3], [4, 5, 0]]), "attention_mask": mx.array([[1.0, 1, 1], [1, 1, 0]])}


def test_all_hidden_states_go_through_a_head_of_their_width() -> None:
    model = composed(beside)
    assert model.head.weight.shape == (K, (LAYERS + 1) * D)
    pooled = model.pooled(BATCH)
    first = [model.encoder.words(BATCH["input_ids"][:, 0])]
    for layer in model.encoder.layers:
        first.append(layer(first[-1]))
    np.testing.assert_allclose(pooled, mx.concatenate(first, axis=-1), atol=1e-6)
    np.testing.assert_array_equal(model(BATCH), model.head(pooled))
    np.testing.assert_array_equal(model.logits(pooled), model(BATCH))
    check_head(model)


def test_an_encoder_of_the_last_layer_alone_is_refused_before_weights_are_filled_in() -> None:
    words = r"model\.pooling: beside reads all hidden layers, and the encoder LastOnly gives the last one alone: its"
    with pytest.raises(ModelError, match=words):
        composed(beside, LastOnly)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda states: states[-1], r"expected a list of hidden states \[B, L, D\], here \[2, 3, 4\]: .* got an array"),
        (lambda states: states[:1], "got a list of 1"),
        (lambda states: [*states, states[0][0]], r"got an array \[3, 4\]"),
        (lambda states: [*states, None], "got a NoneType"),
        (lambda states: [*states, states[0][..., :3]], r"got an array \[2, 3, 3\]"),
        (lambda states: [*states, states[0][:1]], r"got an array \[1, 3, 4\]"),
    ],
)
def test_an_encoder_that_gives_something_else_is_told_at_the_first_batch(given: Any, words: str) -> None:
    model = composed(beside)
    object.__setattr__(model.encoder, "given", given)
    with pytest.raises(ModelError, match=f"the encoder Encoder: .*{words}"):
        model(BATCH)


def test_a_pooling_that_gives_another_width_than_it_says_is_told() -> None:
    model = composed(beside)
    model.pooling.output_size = 5
    with pytest.raises(
        ModelError, match=r"the pooling Beside: expected \[B, D\], here \[2, 5\], got an array \[2, 12\]"
    ):
        model(BATCH)


@pytest.mark.parametrize("size", [0, -1, 2.0, True, "4"])
def test_a_width_that_is_none_is_refused(size: Any) -> None:
    def build(settings: Nothing, width: int) -> nn.Module:
        made = Beside(width, LAYERS)
        object.__setattr__(made, "output_size", size)
        return made

    with pytest.raises(
        ModelError, match=r"the pooling 'beside': output_size: expected a whole number .* \(mine 1\.0\)"
    ):
        build_pooling(pooling(build), D, LAYERS)


def test_a_pooling_that_counts_layers_needs_an_encoder_that_has_them() -> None:
    with pytest.raises(ModelError, match="the pooling 'beside' needs to know how many layers the encoder has"):
        build_pooling(pooling(beside), D, None)
    made: Any = build_pooling(pooling(lambda settings, width: Beside(width, 1)), D, None)
    assert made.output_size == 8
