"""What is looked at after the fact: weights as they stand, and a computation done again, of which nothing stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from stepbus.base import error_words
from stepbus.compute import references
from stepbus.compute.checks import kind_of, sums_are_finite
from stepbus.compute.watching.findings import Finding, Kind
from stepbus.compute.watching.watch import Watch


def looked_at_again(model: Any, state: Any, compute: Callable[[], Any]) -> tuple[Watch, str]:
    """Compute with every array looked at, and put model and state back as they were.

    Args:
        model: The model.
        state: What else the computation changes: dictionaries of arrays.
        compute: The computation, uncompiled.

    Returns:
        What looked at it, and what it raised, in words.
    """
    watch, before, raised = Watch(model, stops=False), list(references([model.state, state])), ""
    try:
        with watch.looking():
            mx.eval(compute())
    except Exception as error:  # of code that cannot bear such numbers, or that only works where it is compiled
        raised = error_words(error)
    finally:
        for holder, place, value in before:
            holder[place] = value
    return watch, raised


def first_spoiled(model: Any, weights: Any, kind: Kind) -> Finding | None:
    """Return the first weight that is not finite, or None; what was minus infinity at the start is a mask.

    Args:
        model: The model that they belong to.
        weights: Them, as a tree.
        kind: What they are.
    """
    flat: Any = tree_flatten(weights)
    numbers = [(name, array) for name, array in flat if mx.issubdtype(array.dtype, mx.floating)]
    if sums_are_finite([array for _, array in numbers]):
        return None
    watch = Watch(model, stops=False)
    watch.saw_tree(kind, weights)
    return watch.first


def became_nan(before: Mapping[str, mx.array], now: Mapping[str, mx.array]) -> tuple[str, int, str] | None:
    """Return the first array that holds NaN where it held none: its name, how many, and its kind; None for none.

    Args:
        before: What arrays began with, by name.
        now: Them as they stand.
    """
    for name, array in now.items():
        if not mx.issubdtype(array.dtype, mx.floating) or sums_are_finite([array]):
            continue
        new = mx.isnan(array)
        if (old := before.get(name)) is not None and old.shape == array.shape:
            new = new & ~mx.isnan(old)
        if number := int(np.array(new.sum())):
            return name, number, kind_of(array)
    return None
