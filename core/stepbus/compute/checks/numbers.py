"""What is looked at for numbers that are none: gradients, and what an optimizer gives, before any is taken over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from stepbus.device import choice

Arrays = dict[str, mx.array]


def before_and_after(
    before: mx.array, new: mx.array, state: Arrays, after: Arrays
) -> Iterator[tuple[str, mx.array, mx.array]]:
    """Yield a parameter as "", and each array of numbers of its state by name, before and after an update."""
    yield "", before, new
    for word, array in after.items():
        if mx.issubdtype(array.dtype, mx.floating):
            yield word, state[word], array


def still_numbers(
    given: Mapping[str, tuple[mx.array, mx.array, Arrays]],
    states: Mapping[str, Arrays],
    on_stream: Callable[[str], AbstractContextManager[Any]],
) -> mx.array:
    """Return whether all numbers that were finite are so after an update, 0-d; a mask of infinities may stay one.

    Args:
        given: Parameter -> its value before, the new one, and the new state.
        states: Parameter -> its state before.
        on_stream: Parameter -> where it is updated.
    """
    found = []
    for name, (before, new, after) in given.items():
        lost: dict[tuple[int, ...], mx.array] = {}
        with on_stream(name):
            for _, old, array in before_and_after(before, new, states[name], after):
                # Times 0 a finite number is 0, any other NaN: one sum for all arrays of a shape.
                zero = mx.where(mx.isfinite(old), array * 0, 0)
                lost[array.shape] = lost[array.shape] + zero if array.shape in lost else zero
            found += [each.sum() for each in lost.values()]
    return (mx.stack(found) == 0).all()


def all_finite(gradients: Any, *more: mx.array, over: Callable[[Any, Any], Any] = tree_map) -> mx.array:
    """Return whether all of these arrays hold finite numbers only, 0-d.

    A sum of squares is finite where every number is: infinities and NaN stay, and numbers whose square leaves float32
    are as good as infinite. Clipping by the norm takes the same sums, and `mx.compile` computes them once for both.

    Args:
        gradients: A tree of arrays.
        *more: Further numbers, 0-d.
        over: Maps a function over a tree of arrays.
    """
    sums: Any = tree_flatten(over(_sum_of_squares, gradients))
    return mx.isfinite(mx.stack([*more, *(each for _, each in sums)])).all()


def still_finite(
    finite: mx.array, transforms: Sequence[Any], gradients: Any, over: Callable[[Any, Any], Any] = tree_map
) -> mx.array:
    """Return whether gradients that were finite are so after functions of plugins, looked at unless all promise it.

    Args:
        finite: Whether everything was finite before, 0-d.
        transforms: The functions; see the hook `transform_gradients`.
        gradients: What they made, as a tree.
        over: Maps a function over a tree of arrays.
    """
    kept = all(getattr(getattr(each, "maker", None), "keeps_finite", False) for each in transforms)
    return finite if kept else finite & all_finite(gradients, over=over)


def _sum_of_squares(array: mx.array) -> mx.array:
    square = mx.square(array.astype(mx.float32))
    return (square.sum(axis=0) if square.ndim > 1 else square).sum()


def sums_are_finite(arrays: list[mx.array]) -> bool:
    """Return whether sums of the arrays' numbers are all finite: one number that is not makes its sum so."""
    rest = []
    if choice.kind() == "cpu":
        # A boundary waits for this: NumPy, along rows, takes a third of the time of MLX's sum.
        with np.errstate(all="ignore"):
            for array in arrays:
                if array.dtype != mx.float32:
                    rest.append(array)
                elif not np.isfinite(np.atleast_1d(np.asarray(array)).sum(axis=0)).all():
                    return False
    else:
        rest = arrays
    sums = [array.sum().astype(mx.float32) for array in rest]
    return not sums or bool(mx.isfinite(mx.stack(sums)).all().item())
