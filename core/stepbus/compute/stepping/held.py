"""What functions of plugins hold from outside, which is fixed in a compiled step, held against what others hold."""

from __future__ import annotations

import dis
import functools
import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import attrs
import mlx.core as mx
import mlx.nn as nn
import numpy as np

from stepbus.base import PluginError, show_python
from stepbus.base.guards import Maker
from stepbus.compute.stepping.fingerprints import of_value

_PLAIN = (bool, int, float, complex, str, bytes, type(None), mx.Dtype, np.dtype, np.generic)
_DEPTH = 8
_READS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_GROW = frozenset({"append", "extend", "insert", "setdefault", "pop", "popitem", "clear", "add"})

# Who gave functions, each with the plain values and the arrays that it holds by name.
Held = list[tuple[Maker, dict[str, Any]]]


def held(given: Iterable[tuple[Maker, Any]]) -> Held:
    """Return what functions hold now: before they are traced, for they may change it.

    Args:
        given: The functions, with whom they come from.
    """
    return [(maker, dict(_of_callable("", function, set()))) for maker, function in given]


def same_held(before: Held, now: Held) -> bool:
    """Return whether functions hold the same as those that were traced, as the trace keys of their plugins say.

    Args:
        before: What those held that were traced.
        now: What those hold that are given now.

    Returns:
        Whether it is so as far as it can be compared; arrays are no part of a trace key, and others make others.

    Raises:
        PluginError: Plain values differ, or a plugin gave no function in one of both.
    """
    makers, others = ([maker.said for maker, _ in each] for each in (before, now))
    for said in dict.fromkeys([*makers, *others]):
        if makers.count(said) != others.count(said):
            there, here = ("gave a function", "gives none") if said in makers else ("gave none", "gives a function")
            raise PluginError(_sentence(said, f"it {here} in this fit, and {there} there"))
    same = True
    for (maker, old), (_, new) in zip(before, now, strict=True):
        for name in (each for each in old if each in new):
            one, other = old[name], new[name]
            if isinstance(one, _PLAIN) and isinstance(other, _PLAIN):
                if _plain(one) != _plain(other):
                    here, there = show_python(other), show_python(one)
                    raise PluginError(_sentence(maker.said, f"{name} is {here} in this fit, and was {there} there"))
            elif not _equal(one, other):
                same = False
        same = same and old.keys() == new.keys()
    return same


def _sentence(said: str, words: str) -> str:
    return (
        f"{said}: expected a trace_key of its own for a fit that computes something else, got that of the fit whose "
        f"compiled step would be used: {words}; put it into trace_key"
    )


def _plain(value: Any) -> Any:
    return (type(value), value.item()) if isinstance(value, np.generic) else of_value(value)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, mx.array) and isinstance(other, mx.array):
        if one is other:
            return True
        alike = one.shape == other.shape and one.dtype == other.dtype
        inexact = mx.issubdtype(one.dtype, mx.inexact)
        return alike and bool(mx.array_equal(one, other, equal_nan=inexact).item())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    return False


def _of_callable(name: str, function: Any, seen: set[tuple[int, ...]]) -> Iterator[tuple[str, Any]]:
    """Yield the names and values that a function holds, those of the functions within it too."""
    before = f"{name}." if name else ""
    if isinstance(function, functools.partial):
        yield from _of_callable(name, function.func, seen)
        for number, each in enumerate(function.args):
            yield from _of_value(f"{before}argument {number + 1}", each, _NOTHING, seen)
        for key, each in function.keywords.items():
            yield from _of_value(f"{before}{key}", each, _NOTHING, seen)
        return
    of = getattr(function, "__self__", None)
    if isinstance(function, types.MethodType):
        function = function.__func__
    elif not isinstance(function, types.FunctionType):
        of, function = function, inspect.getattr_static(type(function), "__call__", None)
    if not isinstance(function, types.FunctionType) or _of_core(function.__module__) or (id(function), id(of)) in seen:
        return
    seen.add((id(function), id(of)))
    code = function.__code__
    where = f"{Path(code.co_filename).name}:{code.co_firstlineno}"
    yield name or "the function", f"{function.__qualname__} ({where})"
    used = _Used(code)
    if of is not None and code.co_varnames:
        yield from _of_object(f"{before}{code.co_varnames[0]}", of, used, seen)
    for word, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield from _of_value(f"{before}{word}", cell.cell_contents, used, seen)
        except ValueError:
            continue  # nothing is in it yet
    names = [code.co_varnames[place] for place in range(code.co_argcount)]
    defaults = function.__defaults__ or ()
    for word, value in [
        *zip(names[len(names) - len(defaults) :], defaults, strict=True),
        *(function.__kwdefaults__ or {}).items(),
    ]:
        yield from _of_value(f"{before}{word}", value, used, seen)
    for word in sorted(used.globals & function.__globals__.keys()):
        if isinstance(function.__globals__[word], _PLAIN):
            yield f"{before}{word}", function.__globals__[word]


class _Used:
    """Which names the code of a function reads, that of functions within it too.

    Args:
        code: The code; None reads nothing.
    """

    def __init__(self, code: types.CodeType | None) -> None:
        self.attributes: set[str] = set()
        self.globals: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()  # what attribute of what name
        stored: set[str] = set()
        codes = [] if code is None else [code]
        while codes:
            each = codes.pop()
            codes += [inner for inner in each.co_consts if isinstance(inner, types.CodeType)]
            last: Any = ""
            for step in dis.get_instructions(each):
                word = step.argval[-1] if isinstance(step.argval, tuple) and step.argval else step.argval
                if step.opname in _READS:
                    self.attributes.add(word)
                    self.pairs.add((last, word))
                elif step.opname in ("STORE_ATTR", "STORE_GLOBAL"):
                    stored.add(word)
                elif step.opname == "LOAD_GLOBAL":
                    self.globals.add(word)
                last = word if step.opname.startswith("LOAD_") else ""
        self.grows = bool(self.attributes & _GROW)  # a list that it fills is a result of it
        self.attributes -= stored  # so is a number that it counts up
        self.globals -= stored


_NOTHING = _Used(None)


def _of_value(name: str, value: Any, used: _Used, seen: set[tuple[int, ...]]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (*_PLAIN, mx.array, np.ndarray)):
        yield name, value
        return
    if name.count(".") > _DEPTH or isinstance(value, nn.Module | type | types.ModuleType):
        return
    if isinstance(value, types.FunctionType | types.MethodType | functools.partial):
        yield from _of_callable(name, value, seen)
        return
    if (id(value), id(used)) in seen:
        return
    seen.add((id(value), id(used)))
    core = _of_core(type(value).__module__)
    if isinstance(value, Mapping | list | tuple | set | frozenset):
        if used.grows and not isinstance(value, tuple | frozenset):
            return
        yield f"the length of {name}", len(value)
        if isinstance(value, set | frozenset):
            plain = sorted(repr(_plain(each)) for each in value if isinstance(each, _PLAIN))
            yield name, ", ".join(plain)
            return
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _of_value(f"{name}[{key!r}]", each, used, seen)
    elif attrs.has(type(value)) and not core:
        for field in attrs.fields(type(value)):
            yield from _of_value(f"{name}.{field.name}", getattr(value, field.name, None), used, seen)
    else:
        yield from _of_object(name, value, used, seen)
        if callable(value) and not core:
            yield from _of_callable(name, value, seen)


def _of_object(name: str, value: Any, used: _Used, seen: set[tuple[int, ...]]) -> Iterator[tuple[str, Any]]:
    """Yield what the attributes hold of an object that a function reads."""
    own, core = name.rpartition(".")[2], _of_core(type(value).__module__)
    for word in sorted(used.attributes):
        if core and (own, word) not in used.pairs:
            continue  # the same word as an attribute of something else
        found = _attribute(value, word, core)
        if isinstance(found, types.FunctionType):
            found = _ABSENT if core else types.MethodType(found, value)
        if found is not _ABSENT:
            yield from _of_value(f"{name}.{word}", found, used, seen)


_ABSENT: Any = object()


def _attribute(value: Any, word: str, core: bool) -> Any:
    """Return an attribute of an object; what only a computation gives, of core's objects alone."""
    found = inspect.getattr_static(value, word, _ABSENT)
    if isinstance(found, types.MemberDescriptorType) or (core and not isinstance(found, types.FunctionType)):
        try:
            return getattr(value, word, _ABSENT)
        except Exception:
            return _ABSENT  # there is none at this time
    return found


def _of_core(module: Any) -> bool:
    return str(module).split(".")[0] == "stepbus"
