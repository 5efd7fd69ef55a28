"""The encoder's kernels in MLX's own operations, for Metal and CUDA, and for half precision.

Tested on the CPU, against transformers and against kernels.py. On an H100 the losses of 28 updates of MiniLM were those
of the CPU within 0.003; Metal was not at hand.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
from attrs import frozen


@frozen
class Kernels:
    """The functions that an encoder is made of; all take the arguments of those above."""

    gelu: Callable[[mx.array], mx.array]
    linear: Callable[[mx.array, mx.array, mx.array], mx.array]
    keys: Callable[[int], list[mx.array]]
    dropout: Callable[..., mx.array]
    add_norm: Callable[..., mx.array]
    attention: Callable[..., mx.array]


def keys(count: int) -> list[mx.array]:
    """Return keys for `count` dropout masks, all from one draw of MLX's generator."""
    words = mx.random.randint(-(2**31), 2**31 - 1, (count, 2)).astype(mx.uint32)
    return [word.reshape(2) for word in mx.split(words, count)] if count else []


def linear(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """Return x weight' + bias: x [..., I], weight [O, I], bias [O]."""
    return mx.addmm(bias, x, weight.T)


def dropout(x: mx.array, probability: float, key: mx.array | None) -> mx.array:
    """Drop elements of `x` with `probability` and scale up the rest; without a key nothing is dropped."""
    if key is None or probability == 0:
        return x
    keep = mx.random.bernoulli(1 - probability, x.shape, key=key)
    return mx.where(keep, x * (1 / (1 - probability)), mx.zeros_like(x))


def add_norm(
    x: mx.array,
    residual: mx.array,
    weight: mx.array,
    bias: mx.array,
    eps: float,
    probability: float = 0.0,
    key: mx.array | None = None,
) -> mx.array:
    """Return layer norm of `residual` + dropout of `x`, both [B, L, D]; weight and bias are [D]."""
    return mx.fast.layer_norm(residual + dropout(x, probability, key), weight, bias, eps)


def attention(
    q: mx.array, k: mx.array, v: mx.array, bias: mx.array, probability: float = 0.0, key: mx.array | None = None
) -> mx.array:
    """Return softmax(q k' / sqrt(d) + bias) v, with dropout of the weights where there is a key.

    Args:
        q: Queries [B, H, Lq, d].
        k: Keys [B, H, L, d].
        v: Values [B, H, L, d].
        bias: 0 for tokens, a large negative number for padding [B, 1, 1, L].
        probability: Chance of a weight to be dropped.
        key: From `keys`, or None for no dropout.
    """
    scale = float(q.shape[-1]) ** -0.5
    if key is None or probability == 0:
        return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=bias)
    weights = mx.softmax((q * scale) @ k.swapaxes(-1, -2) + bias, axis=-1)
    return dropout(weights, probability, key) @ v


PLAIN = Kernels(nn.gelu, linear, keys, dropout, add_norm, attention)
