"""A pooling is asked once before the training: what it gives of a row must be of that row's own tokens.

Batches are filled up with rows and with tokens that are padding. A pooling that looks at other rows, or at tokens whose
mask is 0, would give a row another vector in another batch, and no shape tells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np

from stepbus.base import ModelError
from stepbus.base.guards import Maker
from stepbus.compute.checks import maker_of, pooled_by
from stepbus.compute.models.layers import count_layers
from stepbus.device import choice

ROWS, LENGTH, FURTHER = 3, 5, 4
REAL = 3  # tokens of the row that is looked at
_COUNTED = (
    "count the tokens whose mask is 1 alone: (hidden * mask[..., None]).sum(1) / "
    "mx.maximum(mask.sum(1, keepdims=True), 1) is their mean"
)


def check_models_pooling(model: Any) -> None:
    """Ask the pooling of a classifier, see `check_pooling`.

    Args:
        model: The classifier.

    Raises:
        ModelError: It raised, or looks at what is not its row's own.
    """
    states = None
    if getattr(model.pooling, "all_layers", False):
        # One that asks for no number of layers takes any; 12 are those of a common encoder.
        states = 1 + (count_layers(model.encoder) or 12)

    def call(hidden: Any, mask: mx.array) -> mx.array:
        return pooled_by(model, hidden, mask)

    check_pooling(model.pooling, call, maker_of(model, "pooling"), int(model.encoder.hidden_size), states)


def check_pooling(
    pooling: Any, call: Callable[[Any, mx.array], mx.array], maker: Maker, width: int, states: int | None
) -> None:
    """Ask a pooling for the vector of a row that is made up: beside other rows, alone, and padded further.

    Args:
        pooling: The pooling; its mode is put back.
        call: Calls it with hidden states and mask.
        maker: How messages name it, and whom it comes from.
        width: Width of a token's vector.
        states: How many hidden states it is given as a list; None where it is given one.

    Raises:
        ModelError: It raised, or the vectors differ.
    """
    draw = np.random.default_rng(0)
    shape = (states or 1, ROWS, LENGTH + FURTHER, width)
    hidden, others = (draw.normal(size=shape).astype(np.float32) for _ in range(2))
    mask = np.ones((ROWS, LENGTH + FURTHER), np.int32)
    mask[0, REAL:], mask[1:, LENGTH:] = 0, 0

    def vector(numbers: Any, rows: int = ROWS, length: int = LENGTH) -> Any:
        mx.random.seed(0)  # each step seeds itself; what is drawn here shall be drawn alike
        each = [mx.array(one) for one in numbers[:, :rows, :length]]
        pooled = call(each[0] if states is None else each, mx.array(mask[:rows, :length]))
        return np.array(pooled.astype(mx.float32))[0]

    beside, padded = hidden.copy(), hidden.copy()
    beside[:, 1:], padded[:, 0, REAL:] = others[:, 1:], others[:, 0, REAL:]
    alike = "expected the vector of a row to be the same whatever"
    _compare(maker, vector(hidden), vector(beside), f"{alike} other rows stand beside it", "compute in each row alone")
    _compare(maker, vector(hidden), vector(padded), f"{alike} its padding holds", _COUNTED)
    training = bool(getattr(pooling, "training", False))
    if training:
        pooling.eval()  # what drops numbers draws others for another shape
    try:
        whole = vector(hidden)
        alone, further = vector(hidden, rows=1), vector(hidden, length=LENGTH + FURTHER)
    finally:
        if training:
            pooling.train()
    # Another shape may be computed by another kernel, which rounds otherwise.
    rounding = choice.product_rounding()
    _compare(maker, whole, alone, f"{alike} other rows stand beside it", "compute in each row alone", rounding)
    _compare(maker, whole, further, f"{alike.removesuffix('whatever')}however far it is padded", _COUNTED, rounding)


def _compare(maker: Maker, one: Any, other: Any, expected: str, mend: str, rounding: float = 0.0) -> None:
    # What is not finite has no size; it is equal or not.
    usual = np.linalg.norm(np.nan_to_num(other, nan=0.0, posinf=0.0, neginf=0.0)) / np.sqrt(other.size)
    if not np.allclose(one, other, rtol=1e-3, atol=1e-5 + rounding * usual, equal_nan=True):
        raise maker.fault(f"{expected}, got another; {mend}", ModelError)
