"""The encoder's kernels for the CPU in float32: the functions of plain.py in faster forms, made of those of fused.py.

A number per row is kept out of a fused loop by `mx.contiguous`; fused, it would be computed for each element. The
gradients are written by hand, with what the forward pass already knows.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from stepbus_plugins.bert.fused import (
    EXP,
    EXP_AT_0,
    SLOPE,
    SLOPE_AT_0,
    TAIL,
    TAIL_AT_0,
    alone,
    dropout_keys,
    dropped_out,
    product,
    raised,
    sum_last,
    sum_rows,
    with_gradient,
)
from stepbus_plugins.bert.plain import Kernels

# -- gelu --------------------------------------------------------------------------------------------------------------


def _gelu(x: mx.array) -> mx.array:
    shape, x = x.shape, alone(x, "gelu")
    a = mx.abs(x)
    return ((x + a) * 0.5 - (a * (0.5 * TAIL_AT_0**-8)) / raised(product(a, TAIL), 3)).reshape(shape)


def _gelu_gradient(primals: Any, cotangent: mx.array, _: Any) -> mx.array:
    x = alone(primals, "gelu")
    g = cotangent.reshape(x.shape)
    a, sign = mx.abs(x), mx.sign(x)
    slope = (g * sign * (SLOPE_AT_0 * TAIL_AT_0**-8)) * product(a, SLOPE)
    return (g * (sign * 0.5 + 0.5) - slope / raised(product(a, TAIL), 3)).reshape(cotangent.shape)


gelu = with_gradient(_gelu, _gelu_gradient)

# -- dropout -----------------------------------------------------------------------------------------------------------


def dropout(x: mx.array, probability: float, key: mx.array | None) -> mx.array:
    """Drop elements of `x` with `probability` and scale up the rest; without a key nothing is dropped."""
    if key is None or probability == 0:
        return x

    def forward(x: mx.array, key: mx.array) -> mx.array:
        return dropped_out(x, key, probability)

    def backward(primals: Any, cotangent: mx.array, _: Any) -> list[mx.array]:
        return [forward(cotangent, primals[1]), mx.zeros_like(primals[1])]

    result: mx.array = with_gradient(forward, backward)(x, key)
    return result


# -- linear ------------------------------------------------------------------------------------------------------------


def linear(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
    """Return x weight' + bias; the weight's gradient comes in its own layout, not transposed.

    Args:
        x: Inputs [..., I].
        weight: [O, I].
        bias: [O].
    """

    def forward(x: mx.array, weight: mx.array, bias: mx.array) -> mx.array:
        return mx.addmm(bias, x, weight.T)

    def backward(primals: Any, cotangent: mx.array, _: Any) -> list[mx.array]:
        x, weight, _ = primals
        g = cotangent.reshape(-1, cotangent.shape[-1])
        return [cotangent @ weight, g.T @ x.reshape(-1, x.shape[-1]), sum_rows(g)]

    result: mx.array = with_gradient(forward, backward)(x, weight, bias)
    return result


# -- layer norm --------------------------------------------------------------------------------------------------------


def add_norm(
    x: mx.array,
    residual: mx.array,
    weight: mx.array,
    bias: mx.array,
    eps: float,
    probability: float = 0.0,
    key: mx.array | None = None,
) -> mx.array:
    """Return layer norm of `residual` + dropout of `x`.

    Args:
        x: What is added, [B, L, D]; dropped with `probability` where there is a key.
        residual: What it is added to, of the same shape.
        weight: Scale [D].
        bias: Shift [D].
        eps: Added to the variance.
        probability: Chance of an element to be dropped.
        key: A random word, or None for no dropout.
    """
    size = x.shape[-1]

    def forward(x: mx.array, residual: mx.array, weight: mx.array, bias: mx.array, *key: mx.array) -> list[mx.array]:
        total = residual + (dropped_out(x, key[0], probability) if key else x)
        centred = total - mx.contiguous(sum_last(total) * (1 / size))
        scale = mx.contiguous(mx.rsqrt(sum_last(centred * centred) * (1 / size) + eps))
        return [centred * scale * weight + bias, centred, scale]

    def backward(primals: Any, cotangents: Any, outputs: Any) -> list[mx.array]:
        weight, key = primals[2], primals[4:]
        g, (_, centred, scale) = cotangents[0], outputs
        column = (weight * (1 / size)).reshape(-1, 1)
        normed = g * centred * scale  # the gradient times the normalised value
        mean = (g.reshape(-1, size) @ column).reshape(scale.shape)
        along = mx.contiguous((normed.reshape(-1, size) @ column).reshape(scale.shape) * scale)
        change = (g * weight - mean - centred * along) * scale
        dropped = dropped_out(change, key[0], probability) if key else change
        return [dropped, change, sum_rows(normed), sum_rows(g), *(mx.zeros_like(words) for words in key)]

    keys = () if key is None or probability == 0 else (key,)
    result: mx.array = with_gradient(forward, backward)(x, residual, weight, bias, *keys)[0]
    return result


# -- attention ---------------------------------------------------------------------------------------------------------


def _exp_minus_8(x: mx.array) -> mx.array:
    """Return exp(-8 x) for x >= 0."""
    return (EXP_AT_0**-8 / raised(product(alone(x, "exp"), EXP), 3)).reshape(x.shape)


def attention(
    q: mx.array, k: mx.array, v: mx.array, bias: mx.array, probability: float = 0.0, key: mx.array | None = None
) -> mx.array:
    """Return softmax(q k' / sqrt(d) + bias) v, with dropout of the weights where there is a key.

    The weights are never divided by their sum: the result is, whose rows are shorter.

    Args:
        q: Queries [B, H, Lq, d].
        k: Keys [B, H, L, d].
        v: Values [B, H, L, d].
        bias: 0 for tokens, a large negative number for padding [B, 1, 1, L].
        probability: Chance of a weight to be dropped.
        key: A random word, or None for no dropout.
    """
    scale = float(q.shape[-1]) ** -0.5

    def forward(q: mx.array, k: mx.array, v: mx.array, bias: mx.array, *key: mx.array) -> list[mx.array]:
        scores = (q @ k.swapaxes(-1, -2)) * (scale / 8) + bias
        distance = mx.contiguous(scores.max(axis=-1, keepdims=True)) - scores
        weights = _exp_minus_8(distance)
        kept = dropped_out(weights, key[0], probability) if key else weights
        share = mx.contiguous(1 / sum_last(weights))
        return [(kept @ v) * share, weights, kept, share]

    def backward(primals: Any, cotangents: Any, outputs: Any) -> list[mx.array]:
        q, k, v, bias, *key = primals
        mixed, weights, kept, share = outputs
        g = cotangents[0] * share
        along = mx.contiguous(sum_last(g * mixed) * scale)
        change = kept * (g @ v.swapaxes(-1, -2)) * scale - weights * along
        return [
            change @ k,
            change.swapaxes(-1, -2) @ q,
            kept.swapaxes(-1, -2) @ g,
            mx.zeros_like(bias),
            *(mx.zeros_like(words) for words in key),
        ]

    keys = () if key is None or probability == 0 else (key,)
    result: mx.array = with_gradient(forward, backward)(q, k, v, bias, *keys)[0]
    return result


FAST = Kernels(gelu, linear, dropout_keys, dropout, add_norm, attention)
