"""How BERT's layers use the modules inside them: by the kernels where those are as built, else by calling them.

A plugin may put another module in the place of each (LoRA does), and what that computes must never be lost: so no
weight is read past it.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn

from stepbus_plugins.bert.plain import Kernels


def is_linear(module: Any) -> bool:
    """Return whether a module is no other than x weight' + bias."""
    return type(module) is nn.Linear and "bias" in module


def projected(module: Any, x: mx.array, ops: Kernels) -> mx.array:
    """Return a projection of `x` [B, L, I]: [B, L, O]."""
    if is_linear(module):
        return ops.linear(x, module.weight, module.bias)
    projection: mx.array = module(x)
    return projection


def normed(
    module: Any, x: mx.array, residual: mx.array, ops: Kernels, probability: float = 0.0, key: mx.array | None = None
) -> mx.array:
    """Return the norm of `residual` + dropout of `x`, both [B, L, D]."""
    if type(module) is nn.LayerNorm and "weight" in module and "bias" in module:
        return ops.add_norm(x, residual, module.weight, module.bias, module.eps, probability, key)
    normalised: mx.array = module(residual + ops.dropout(x, probability, key))
    return normalised


def first_rows(module: Any, count: int) -> mx.array:
    """Return the first rows of a table of embeddings, [count, D]; a table itself is sliced, which is no gather."""
    if type(module) is nn.Embedding:
        return module.weight[:count]
    rows: mx.array = module(mx.arange(count))
    return rows


def rows_of(module: Any, built: int) -> int:
    """Return how many rows a table of embeddings has: the table itself, or the one inside of what replaced it.

    Args:
        module: The module.
        built: How many the table was built with, for a module that has none inside.
    """
    tables = [each for _, each in module.named_modules() if isinstance(each, nn.Embedding)]
    return len(tables[0].weight) if tables else built
