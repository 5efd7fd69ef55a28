"""Which parameters of a model are trained, by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from stepbus.base import PluginError
from stepbus.compute.checks import kind_of, shape_of, shown


def trainable_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that are not frozen."""
    flat: Any = tree_flatten(model.trainable_parameters())
    return tuple(name for name, _ in flat)


def set_trained(model: nn.Module, names: Collection[str]) -> None:
    """Freeze every parameter but some.

    Args:
        model: The model.
        names: The parameters to train.
    """
    if set(names) == set(trainable_names(model)):
        return
    wanted = set(names)
    model.freeze()
    for path, module in model.named_modules():
        before = f"{path}." if path else ""
        own = [
            key
            for key, value in module.items()
            if any(
                f"{before}{key}{inner}" in wanted
                for inner in ([""] if isinstance(value, mx.array) else _of_arrays(value))
            )
        ]
        if own:
            module.unfreeze(recurse=False, keys=own)


def _of_arrays(value: Any) -> list[str]:
    """Return the ends of the names of arrays that lie in plain containers of a module."""
    if not isinstance(value, dict | list) or isinstance(value, nn.Module):
        return []
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [f".{key}{end}" for key, each in inner for end in ([""] if isinstance(each, mx.array) else _of_arrays(each))]


def check_tree(parameters: Any, gradients: Any) -> None:
    """Refuse gradients that are not those of what is trained.

    Args:
        parameters: What is trained, as a tree.
        gradients: Their gradients, as a tree.

    Raises:
        PluginError: One is missing, unknown, or of another shape.
    """
    wanted: Any = dict(tree_flatten(parameters))
    found: Any = dict(tree_flatten(gradients)) if isinstance(gradients, dict | list) else {}
    for name, array in wanted.items():
        if name not in found:
            raise PluginError(f"optimizer.update: expected the gradients of what is trained, got none of {name!r}")
        if shape_of(found[name]) != array.shape:
            got = shown(found[name])
            raise PluginError(f"optimizer.update: expected the gradient of {name!r} as {list(array.shape)}, got {got}")
        if not mx.issubdtype(found[name].dtype, mx.floating):
            got = kind_of(found[name])
            raise PluginError(f"optimizer.update: expected floating-point numbers as gradient of {name!r}, got {got}")
    for name in found.keys() - wanted.keys():
        raise PluginError(f"optimizer.update: expected the gradients of what is trained, got one of {name!r} too")
