"""A pooling or a head as it is built: what it holds must be what training changes and files keep, or a constant."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from stepbus.base import ModelError, Selected
from stepbus.base.guards import Maker

# What MLX notes on each module about itself.
_OF_MLX = ("training", "_training", "_no_grad")
_NO_STATE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, str, bytes)


def built_part(selected: Selected, *arguments: Any, **told: Any) -> nn.Module:
    """Build a pooling or a head, and hold what it keeps against what files can keep.

    Args:
        selected: The part that was picked.
        *arguments: What its build is called with, beside its settings.
        **told: What it is called with by name.

    Raises:
        ModelError: It holds an array that is no floating-point one, or numbers that are other ones in each process.
    """

    def build() -> nn.Module:
        part: nn.Module = selected.build_a(nn.Module, *arguments, **told)
        return part

    part = build()
    check_kinds(selected.maker, part)
    check_constants(selected.maker, part, build)
    return part


def check_kinds(maker: Maker, part: Any) -> None:
    """Refuse arrays among the parameters of a part that no training changes: whole numbers, and true and false.

    Args:
        maker: How messages name the part, and whom it comes from.
        part: The part.

    Raises:
        ModelError: There is one; a folder with it could not be opened.
    """
    flat: Any = tree_flatten(part.parameters()) if isinstance(part, nn.Module) else ()
    for path, array in flat:
        if not mx.issubdtype(array.dtype, mx.floating):
            outer, _, name = path.rpartition(".")
            hidden = f"{outer}._{name}" if outer else f"_{name}"
            raise maker.fault(
                f"{path}: expected floating-point numbers as a parameter, which is trained and saved, got "
                f"{str(array.dtype).rpartition('.')[2]}; give a constant a name with a leading underscore "
                f"(self.{hidden}), or make it a Python number",
                ModelError,
            )


def check_constants(maker: Maker, part: Any, build: Callable[[], Any]) -> None:
    """Refuse numbers beside the parameters that are other ones when a part is built again, as an opened folder does it.

    Args:
        maker: How messages name the part, and whom it comes from.
        part: The part.
        build: Builds it a second time.

    Raises:
        ModelError: There are some: what is neither trained nor saved would be lost.
    """
    held = dict(hidden_numbers(part))
    if not held:
        return
    with generators_kept():
        again = dict(hidden_numbers(build()))
        for path, value in held.items():
            if path in again and _same(value, again[path]):
                continue
            *_, name = path.split(".")
            wanted = "an mx.array" if isinstance(value, mx.array) else f"mx.array(…), not a {type(value).__name__}"
            raise maker.fault(
                f"{path}: expected what is no parameter to be the same each time the part is built, got other numbers "
                "the second time; it is neither trained nor saved, and a folder that is opened would predict something "
                f"else: make it {wanted} under a name without an underscore (self.{name.lstrip('_') or 'weight'}), "
                "frozen where it shall stay as it is (self.freeze), or draw it from a seed of its own",
                ModelError,
            )


def hidden_numbers(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield arrays and numbers that a part holds beside its parameters, with their paths.

    Args:
        part: A module.
    """
    public = {id(module) for module in _public(part)}
    yield from _numbers(part, "", public, set(), hidden=False)


def _public(value: Any) -> Iterator[nn.Module]:
    """Yield the modules whose parameters are those of the part."""
    if isinstance(value, nn.Module):
        yield value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inner:
        if not str(name).startswith("_"):
            yield from _public(item)


def _numbers(value: Any, path: str, public: set[int], seen: set[int], *, hidden: bool) -> Iterator[tuple[str, Any]]:
    if isinstance(value, mx.array | np.ndarray | np.generic | float):
        if hidden or not isinstance(value, mx.array):
            yield path, value
        return
    if isinstance(value, _NO_STATE) or id(value) in seen or (hidden and id(value) in public):
        return
    seen.add(id(value))
    own = getattr(value, "__dict__", {})
    inner: list[tuple[Any, Any, bool]] = [(name, item, True) for name, item in own.items()]
    if isinstance(value, dict):
        # Of a module's items, and of dictionaries and lists among them, MLX counts those without an underscore.
        inner += [(name, item, hidden or str(name).startswith("_")) for name, item in value.items()]
    elif isinstance(value, list):
        inner += [(place, item, hidden) for place, item in enumerate(value)]
    elif isinstance(value, tuple):
        inner += [(place, item, True) for place, item in enumerate(value)]
    for name, item, below in inner:
        if not (isinstance(value, nn.Module) and name in _OF_MLX):
            yield from _numbers(item, f"{path}.{name}" if path else str(name), public, seen, hidden=below)


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, mx.array):
        return bool(mx.array_equal(one, other, equal_nan=mx.issubdtype(one.dtype, mx.inexact)))
    return bool(np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind in "fc"))


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put back where the generators stood that a module may draw from: what is built next starts as it would have."""
    keys: Any = mx.random.state
    high, low = keys[0].tolist()
    numpys, own = np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        mx.random.seed(high << 32 | low)  # which is the key itself; MLX lets nobody assign it
        np.random.set_state(numpys)
        random.setstate(own)
