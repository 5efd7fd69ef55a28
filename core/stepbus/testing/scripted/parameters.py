"""The parameters of a scripted model: those of a tiny encoder with a head, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

LAYERS, WIDTH, INNER, WORDS, PLACES, TYPES, OUTPUTS = 2, 8, 16, 30, 16, 2, 2


def scripted_parameters() -> dict[str, Any]:
    """Return the tree that `model.parameters()` of such a model gives: names to arrays, lists where there are layers.

    The names are those of a model that `tiny_fit` trains. A fresh tree each time, so that nobody who writes into it
    changes another's.
    """
    return {
        "encoder": {
            "embeddings": {
                "word_embeddings": {"weight": _zeros(WORDS, WIDTH)},
                "position_embeddings": {"weight": _zeros(PLACES, WIDTH)},
                "token_type_embeddings": {"weight": _zeros(TYPES, WIDTH)},
                "LayerNorm": _norm(),
            },
            "encoder": {"layer": [_layer() for _ in range(LAYERS)]},
        },
        "head": _linear(WIDTH, OUTPUTS),
    }


def _layer() -> dict[str, Any]:
    return {
        "attention": {
            "self": {name: _linear(WIDTH, WIDTH) for name in ("query", "key", "value")},
            "output": {"dense": _linear(WIDTH, WIDTH), "LayerNorm": _norm()},
        },
        "intermediate": {"dense": _linear(WIDTH, INNER)},
        "output": {"dense": _linear(INNER, WIDTH), "LayerNorm": _norm()},
    }


def _zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, np.float32)


def _linear(inputs: int, outputs: int) -> dict[str, Any]:
    return {"weight": _zeros(outputs, inputs), "bias": _zeros(outputs)}


def _norm() -> dict[str, Any]:
    return {"weight": _zeros(WIDTH) + 1, "bias": _zeros(WIDTH)}


def flat(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each array of a tree with its name, as `mlx.utils.tree_flatten` names it."""
    if isinstance(tree, dict | list):
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for name, inner in pairs:
            yield from flat(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, tree
