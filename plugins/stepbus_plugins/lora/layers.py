"""The layer that LoRA puts in place of a linear one, which layers get it, and how the two become one again."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

A, B = ".lora_A", ".lora_B"


class LoraLinear(nn.Module):
    """A linear layer with a product of two small matrices beside it: x W' + b + alpha / r · dropout(x) A' B'.

    Args:
        linear: The layer; its weight [O, I] and bias [O] keep their names.
        rank: r; A is [r, I] and B is [O, r], which is 0 at first.
        scale: alpha / r.
        dropout: Chance of an input of A to be dropped in training.
        start: The values of A.
    """

    def __init__(self, linear: Any, rank: int, scale: float, dropout: float, start: mx.array) -> None:
        super().__init__()
        self.weight = linear.weight
        if "bias" in linear:
            self.bias = linear.bias
        self.lora_A = start
        self.lora_B = mx.zeros((linear.weight.shape[0], rank), linear.weight.dtype)
        self.dropout = nn.Dropout(dropout)
        self.scale = scale

    def __call__(self, x: mx.array) -> mx.array:
        weight = self.weight.T
        y = mx.addmm(self.bias, x, weight) if "bias" in self else x @ weight
        return y + self.scale * ((self.dropout(x) @ self.lora_A.T) @ self.lora_B.T)


def first_a(seed: int, name: str, shape: tuple[int, int], kind: str) -> mx.array:
    """Return the starting values of A, a function of the seed and the layer's name alone.

    Args:
        seed: The fit's.
        name: The layer's.
        shape: Rank and inputs, (r, I).
        kind: kaiming, uniform between -1/√I and 1/√I (PyTorch's own for a linear layer); gaussian, of deviation 1/r.
    """
    rank, inputs = shape
    draw = np.random.default_rng([seed % 2**64, zlib.crc32(f"{name}{A}".encode())])
    if kind == "gaussian":
        return mx.array(draw.standard_normal(shape, dtype=np.float32) * np.float32(1 / rank))
    bound = 1 / math.sqrt(inputs)
    return mx.array(draw.uniform(-bound, bound, shape).astype(np.float32))


def matches(pattern: str, path: str) -> bool:
    """Return whether a pattern means a path: all of it or its end (`query`, `self.query`); `*` is any letters."""
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"*.{pattern}")


def linear_layers(model: Any) -> dict[str, Any]:
    """Return path -> linear layer, in the order of the model."""
    return {path: module for path, module in sorted(model.named_modules()) if isinstance(module, nn.Linear)}


def picked(layers: Sequence[str], targets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the paths that targets mean, and the targets that mean none.

    Args:
        layers: The paths there are.
        targets: Patterns.
    """
    paths = [path for path in layers if any(matches(target, path) for target in targets)]
    return paths, [target for target in targets if not any(matches(target, path) for path in layers)]


def put_in(model: Any, layers: Mapping[str, Any]) -> None:
    """Put layers into a model.

    Args:
        model: The model.
        layers: Path -> what stands there from now on.
    """
    for path, layer in layers.items():
        *above, last = path.split(".")
        holder = model
        for part in above:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        holder[int(last) if isinstance(holder, list) else last] = layer


def adapted(tensors: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the layers that have an A and a B among tensors."""
    return (name.removesuffix(A) for name in tensors if name.endswith(A))


def merged(tensors: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Return tensors with W + alpha / r · B A in place of W, A and B.

    Args:
        tensors: Name -> array.
        scale: alpha / r.
    """
    found = dict(tensors)
    for name in list(adapted(tensors)):
        a, b = found.pop(f"{name}{A}"), found.pop(f"{name}{B}")
        weight = found[f"{name}.weight"]
        found[f"{name}.weight"] = (weight + scale * (b @ a)).astype(weight.dtype)
    return found
