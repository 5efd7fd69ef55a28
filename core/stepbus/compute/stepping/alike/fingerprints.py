"""What of a model, an optimizer or a setting ends up in a compiled step, as a value that compares equal where it is."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import attrs
import mlx.core as mx
import mlx.nn as nn
import numpy as np

# Of a whole model these say where it comes from, and nothing of what it computes.
_OF_ORIGIN = frozenset({"config", "section", "settings", "loaded", "meaning", "_stepbus_lineage", "_training"})
_DEPTH = 12
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_BY_IDENTITY = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, np.ufunc)
_BY_NAME = (mx.Dtype, mx.Device, mx.Stream, np.dtype)


class Unknown(Exception):
    """Something holds a value of which nobody can tell whether another one is equal."""


def of_model(model: nn.Module) -> Any:
    """Return what of a model is fixed when a step is traced: modules, settings, shapes, and what is frozen.

    Raises:
        Unknown: A module holds something that cannot be compared.
    """
    found: list[Any] = []
    for path, module in sorted(model.named_modules()):
        left_out = _OF_ORIGIN if module is model else {"_training"}
        own = {name: value for name, value in vars(module).items() if name not in left_out}
        found.append((path, type(module), of_value(own)))
    for holder, key, value in leaves(model):
        array = isinstance(value, mx.array)
        found.append((type(holder), key, (value.shape, str(value.dtype)) if array else of_value(value)))
    return found


def leaves(tree: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each value of a tree of dictionaries and lists that is neither, with what holds it and its place, in order.

    The arrays that a model hides from `parameters()` are among them.

    Args:
        tree: The tree, such as a model.
    """
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            yield from leaves(value)
        else:
            yield tree, key, value


def of_value(value: Any, depth: int = 0) -> Any:
    """Return a value as plain ones that compare equal exactly where two of its kind do the same.

    Args:
        value: Settings, a function, or an object that holds some.
        depth: How deep it lies in others.

    Raises:
        Unknown: It is an array, a live object, or holds one.
    """
    if depth > _DEPTH:
        raise Unknown(f"{type(value).__name__} lies too deep")
    if isinstance(value, _PLAIN):
        return (type(value), repr(value) if isinstance(value, float) else value)
    if isinstance(value, _BY_IDENTITY):
        return (type(value), value)
    if isinstance(value, _BY_NAME):
        return (type(value), str(value))
    if isinstance(value, mx.array | np.ndarray | nn.Module):
        raise Unknown(type(value).__name__)
    inner = functools.partial(of_value, depth=depth + 1)
    if isinstance(value, tuple | list):
        return (type(value), [inner(each) for each in value])
    if isinstance(value, dict):
        return (type(value), [(inner(key), inner(each)) for key, each in value.items()])
    if isinstance(value, set | frozenset):
        return (type(value), sorted(repr(inner(each)) for each in value))
    if isinstance(value, functools.partial):
        return (type(value), inner([value.func, value.args, value.keywords]))
    if attrs.has(type(value)):
        return (type(value), [inner(getattr(value, field.name)) for field in attrs.fields(type(value))])
    if type(value).__module__ != "builtins" and hasattr(value, "__dict__") and not callable(value):
        return (type(value), inner(vars(value)))
    raise Unknown(type(value).__name__)
