"""Functions that `mx.compile` fuses into vector code on the CPU: polynomials, sums, masks, and gradients by hand.

MLX's CPU backend computes exp and erf one number at a time and gives every operation of a stream one thread. Written
as below, `mx.compile` fuses each function into one or two loops that the compiler turns into vector instructions:

- A transcendental is 1 / p(x)^8 with a polynomial p, written as a product of quadratics. Such a product
  is shallow, and mx.compile cuts a fused loop at a depth of 11 operations, each cut being a pass over memory.
- A sum over the last axis is a product with a column of ones, which BLAS does faster than the reduction.
- A dropout mask is a hash of the element's index and a key: computed where it is needed, again in the backward pass.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx

Quadratics = tuple[tuple[float, float], ...]

# p(a)^8 = 0.5 / Q(a) with Q the upper tail of the normal distribution, for a in [0, 5.5]; error of a Q(a) <= 5e-8.
TAIL: Quadratics = (
    (-10.100486632208888, 43.344182692929394),
    (-4.2298818410843975, 25.546269889205867),
    (7.202587196107817, 16.38424248949892),
    (1.0524532171222853, 17.920644813548517),
)
TAIL_AT_0 = 3.0758272278612263e-06 * math.prod(c for _, c in TAIL)
# N(a) / p(a)^8 = Q(a) - a phi(a), the derivative of gelu at -a; error <= 3e-7.
SLOPE: Quadratics = (
    (-9.149755645210131, 113.84820345062428),
    (4.22425332194271, 6.165365752978865),
    (-14.521007388382614, 10.351571053319944),
)
SLOPE_AT_0 = 6.881465986562663e-05 * math.prod(c for _, c in SLOPE)
# p(t)^8 = exp(8 t) for t in [0, 17 / 8]; error of 1 / p^8 <= 6e-9.
EXP: Quadratics = (
    (-2.388948349742659, 14.966231947994498),
    (2.133917774330322, 6.970759353376243),
    (3.996574539851199, 4.682580778884763),
)
EXP_AT_0 = 0.0020470203511054907 * math.prod(c for _, c in EXP)


def product(z: mx.array, quadratics: Quadratics) -> mx.array:
    """Return the polynomial with these factors z^2 + b z + c, scaled to 1 at 0 so that its powers stay in range."""
    factors = [(z + b) * (z * (1 / c)) + 1.0 for b, c in quadratics]
    while len(factors) > 1:
        pairs = [factors[i] * factors[i + 1] for i in range(0, len(factors) - 1, 2)]
        factors = pairs + factors[2 * len(pairs) :]
    return factors[0]


def raised(x: mx.array, squarings: int) -> mx.array:
    for _ in range(squarings):
        x = x * x
    return x


_calls: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)


def alone(x: mx.array, user: str) -> mx.array:
    """Return `x` with axes of length 1 around it, so that this use shares no constant with the user's last 255 uses.

    mx.compile keeps one array for equal constants of equally shaped operations, and a fused loop that has to read its
    constants from there is not vector code any more: in a whole step, gelu and its gradient took twice as long.
    """
    before, after = divmod(next(_calls[user]) % 256, 16)
    return x.reshape((1,) * (1 + before) + x.shape + (1,) * after)


def sum_last(x: mx.array) -> mx.array:
    """Return the sums over the last axis, kept as an axis of 1."""
    return (x.reshape(-1, x.shape[-1]) @ mx.ones((x.shape[-1], 1))).reshape(*x.shape[:-1], 1)


def sum_rows(x: mx.array) -> mx.array:
    """Return the sum over all axes but the last."""
    flat = x.reshape(-1, x.shape[-1])
    return (mx.ones((1, flat.shape[0])) @ flat).reshape(-1)


def with_gradient(
    forward: Callable[..., Any], backward: Callable[[Sequence[mx.array], Any, Any], Any]
) -> Callable[..., Any]:
    """Join a function and its gradient; the gradient is computed on the stream that the function ran on.

    Args:
        forward: Arrays → one array or several.
        backward: (arguments, gradient of the result, result) → gradients of the arguments.
    """

    def call(*arrays: mx.array) -> Any:
        stream = mx.default_stream(mx.default_device())
        function = mx.custom_function(forward)

        @function.vjp
        def gradient(primals: Any, cotangent: Any, output: Any) -> Any:
            with mx.stream(stream):
                return backward(primals, cotangent, output)

        return function(*arrays)

    return call


def dropout_keys(count: int) -> list[mx.array]:
    """Return keys for `count` masks, a random word each, all from one draw of MLX's generator."""
    words = mx.random.randint(-(2**31), 2**31 - 1, (count,)).astype(mx.uint32)
    words = words | _uint(1)  # odd: the hash multiplies by it
    return [word.reshape(()) for word in mx.split(words, count)] if count else []


def _uint(value: int) -> mx.array:
    return mx.array(value, dtype=mx.uint32)


@functools.cache  # of powers of two, so twice the largest at most
def _mixed_indices(size: int) -> mx.array:
    """Return a hash of the indices below `size`: C. Wellons' `lowbias32`."""
    x = mx.arange(size, dtype=mx.uint32) + _uint(0x9E3779B9)  # 0, which no key would move, comes late
    x = (x ^ (x >> _uint(16))) * _uint(0x21F0AAAD)
    x = (x ^ (x >> _uint(15))) * _uint(0xD35A2D97)
    x = x ^ (x >> _uint(15))
    mx.eval(x)
    return x


def dropped_out(x: mx.array, key: mx.array, probability: float) -> mx.array:
    """Return `x` with elements set to 0 with a probability, met to 1 / 65536, and the rest scaled up.

    The choice is a hash of index and key: the index's own, made once, times the key and mixed again. This is 4 times
    faster than MLX's generator, and needs no memory for the backward pass.
    """
    shape, x = x.shape, alone(x, "dropout")
    hashed = _mixed_indices(1 << (x.size - 1).bit_length())[: x.size].reshape(x.shape) * key
    hashed = (hashed ^ (hashed >> _uint(15))) * _uint(0xD35A2D97)
    # The carry out of 16 bits is the mask: a comparison would not become vector code.
    dropped = round(probability * 65536)
    kept = ((hashed >> _uint(16)) + _uint(65536 - dropped)) >> _uint(16)
    return (kept.astype(mx.int32).astype(mx.float32) * (x * (65536 / (65536 - dropped)))).reshape(shape)
