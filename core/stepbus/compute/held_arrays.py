"""The arrays that a compiled step reads and writes, apart from those that somebody else holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx


def references(tree: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each array, dictionary and list inside of a tree, outer ones first, with what holds it and its place."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, mx.array | dict | list):
            yield tree, key, value
        if isinstance(value, dict | list):
            yield from references(value)


def detach(places: Iterable[tuple[Any, Any, Any]]) -> None:
    """Put an array of its own, with the same memory, wherever there is one.

    MLX refuses a function that holds an array which is an input as well, and one that is computed from such. What
    plugins' functions hold of a model are no inputs any more afterwards: they keep the values that they had.

    Args:
        places: What holds each array, its place, and the array.
    """
    fresh: dict[int, mx.array] = {}
    for holder, place, value in places:
        if isinstance(value, mx.array):
            if id(value) not in fresh:
                fresh[id(value)] = mx.stop_gradient(value)
            holder[place] = fresh[id(value)]
    mx.eval(list(fresh.values()))
