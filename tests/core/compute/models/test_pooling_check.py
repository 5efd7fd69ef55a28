"""A pooling is held to its row's own tokens: beside other rows, alone, and padded further."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from attrs import define

from stepbus import Component, ModelError
from stepbus.author.kinds import trial_problem
from stepbus.base.guards import Maker
from stepbus.compute.models.pooling_check import check_pooling
from stepbus.testing import tiny_fit
from stepbus_plugins.heads import Heads

OTHERS = "expected the vector of a row to be the same whatever other rows stand beside it"
HOLDS = "expected the vector of a row to be the same whatever its padding holds"
WIDTH = 384
FAR = "expected the vector of a row to be the same however far it is padded"


@define(frozen=True, kw_only=True)
class Nothing:
    pass


class Pooling(nn.Module):
    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.function, self.drop = function, nn.Dropout(0.5)

    def __call__(self, hidden: Any, mask: Any) -> Any:
        return self.drop(self.function(hidden, mask))


def total(hidden: Any, mask: Any) -> Any:
    return (hidden * mask[..., None]).sum(1)


CASES = [
    (lambda hidden, mask: hidden.mean(1), HOLDS),
    (lambda hidden, mask: hidden[:, 0] - hidden[:, 0].mean(0), OTHERS),
    (lambda hidden, mask: total(hidden, mask) / mask.sum(), OTHERS),
    (lambda hidden, mask: total(hidden, mask) / mask.shape[0], OTHERS),
    (lambda hidden, mask: total(hidden, mask) / mask.shape[1], FAR),
    (lambda hidden, mask: hidden.max(1), HOLDS),
    (lambda hidden, mask: hidden[:, -1], HOLDS),
    (lambda hidden, mask: total(hidden[::-1], mask[::-1]), OTHERS),
    (lambda hidden, mask: (mx.softmax(hidden, axis=1) * hidden).sum(1), HOLDS),
]
FINE = [
    lambda hidden, mask: hidden[:, 0],
    lambda hidden, mask: total(hidden, mask) / mx.maximum(mask.sum(1, keepdims=True), 1),
    lambda hidden, mask: mx.take_along_axis(hidden, mx.maximum(mask.sum(1) - 1, 0)[:, None, None], axis=1)[:, 0],
]


def ask(function: Any, training: bool) -> Any:
    pooling = Pooling(function)
    pooling.train(training)
    check_pooling(pooling, pooling, Maker("the pooling 'mine'", "acme 1.0"), 4, None)
    return pooling


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("function", "words"), CASES)
def test_one_that_looks_elsewhere_is_refused(function: Any, words: str, training: bool) -> None:
    with pytest.raises(ModelError) as raised:
        ask(function, training)
    assert str(raised.value).startswith(f"the pooling 'mine': {words}, got another; ")
    assert str(raised.value).endswith("(acme 1.0)")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("function", FINE)
def test_one_that_reads_its_own_tokens_is_fine_in_its_mode(function: Any, training: bool) -> None:
    assert ask(function, training).training is training


def in_ten_bits(x: Any) -> Any:
    """Round float32 as the matrix units of a GPU round the factors of a product: TF32."""
    return mx.view((mx.view(x, mx.uint32) + 0x1000) & 0xFFFFE000, mx.float32)


def rounded_by_shape(hidden: Any, mask: Any) -> Any:
    """BERT's pooler with a kernel per number of rows: of one row in float32, of more in TF32."""
    weight = mx.array(np.random.default_rng(1).normal(0, WIDTH**-0.5, (WIDTH, WIDTH)).astype(np.float32))
    first = hidden[:, 0]
    return mx.tanh(first @ weight if len(first) == 1 else in_ten_bits(first) @ in_ten_bits(weight))


def test_what_a_gpu_rounds_otherwise_for_another_shape_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    pooling = Pooling(rounded_by_shape)
    with pytest.raises(ModelError, match=OTHERS):
        check_pooling(pooling, pooling, Maker("the pooling 'mine'"), WIDTH, None)
    monkeypatch.setattr("stepbus.device.choice.kind", lambda: "cuda")
    check_pooling(pooling, pooling, Maker("the pooling 'mine'"), WIDTH, None)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("function", "words"), CASES)
def test_one_that_looks_elsewhere_is_refused_on_a_gpu_too(
    function: Any, words: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepbus.device.choice.kind", lambda: "cuda")
    with pytest.raises(ModelError, match=words):
        ask(function, training)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_numbers_that_are_not_finite_have_no_size(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every device NaN equals NaN, and infinity lets nothing pass that stands beside it."""
    monkeypatch.setattr("stepbus.device.choice.kind", lambda: kind)
    first = mx.array([1.0, 0.0, 0.0, 0.0])
    ask(lambda hidden, mask: mx.where(first, mx.nan, hidden[:, 0]), False)
    with pytest.raises(ModelError, match=FAR):
        ask(lambda hidden, mask: mx.where(first, mx.inf, total(hidden, mask) / mask.shape[1]), False)


def test_statistics_of_a_batch_are_refused() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm(4)

        def __call__(self, hidden: Any, mask: Any) -> Any:
            return self.norm(hidden[:, 0])

    pooling = Normed()
    with pytest.raises(ModelError, match=OTHERS):
        check_pooling(pooling, pooling, Maker("the pooling 'mine'"), 4, None)


@pytest.mark.parametrize(("function", "words"), CASES[:2])
def test_the_trial_of_a_component_finds_it(function: Any, words: str) -> None:
    component = Component("pooling", "mine", Nothing, lambda settings, width: Pooling(function))
    assert trial_problem(component).startswith(words)


@pytest.mark.parametrize(
    "part", [part for part in Heads.components if part.kind == "pooling"], ids=lambda part: part.name
)
def test_the_built_in_ones_pass(part: Component) -> None:
    assert trial_problem(part) == ""


class Centred:
    components = [  # noqa: RUF012
        Component("pooling", "centred", Nothing, lambda settings, width: Pooling(CASES[1][0])),
        Component("pooling", "own", Nothing, lambda settings, width: Pooling(FINE[1])),
    ]


def test_a_run_refuses_it_before_the_first_update() -> None:
    with pytest.raises(ModelError, match=OTHERS):
        tiny_fit(Centred, model={"pooling": "centred"})
    assert tiny_fit(Centred, model={"pooling": "own"}, num_epochs=1).result.status == "ok"
