"""The numbers that new parameters of a classifier start with."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten


def initialise(model: Any, seed: int, std: float = 0.02, names: Collection[str] | None = None) -> None:
    """Give parameters their starting values, a function of the seed and the parameter's name alone.

    Matrices are drawn from a normal distribution and biases are 0, as in the reference code of BERT; what else there is
    (a norm's weight of 1) stays as its module made it. The numbers come from NumPy, so that neither the device nor
    whatever drew from MLX's generator before makes a difference.

    Args:
        model: The model to fill.
        seed: The run's seed, 0 or more.
        std: Standard deviation of the matrices.
        names: The tensors to fill; None fills them all.
    """
    flat: Any = tree_flatten(model.parameters())
    updates = []
    for path, array in flat:
        name = model.tensor_name(path)
        if (names is None or name in names) and (value := starting_value(name, array, seed, std)) is not None:
            updates.append((path, value))
    model.update(tree_unflatten(updates))


def starting_value(name: str, array: mx.array, seed: int, std: float = 0.02) -> mx.array | None:
    """Return what a parameter starts with, as `initialise` gives it; None where that is what its module made.

    Args:
        name: Its name in files.
        array: The parameter, for its shape and number format.
        seed: The run's seed, 0 or more.
        std: Standard deviation of a matrix.

    Example:
        >>> starting_value("head.bias", mx.ones(3), seed=42)
        array([0, 0, 0], dtype=float32)
        >>> starting_value("norm.weight", mx.ones(3), seed=42) is None
        True
    """
    if array.ndim >= 2:
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values: np.ndarray = generator.standard_normal(array.shape, dtype=np.float32) * np.float32(std)
        return mx.array(values).astype(array.dtype)
    return mx.zeros_like(array) if name.endswith("bias") else None
