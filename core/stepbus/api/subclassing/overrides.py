"""What a trainer's subclass writes: methods that a run calls, and those that nobody would call, which are refused."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from stepbus.api.subclassing.foreign import advice_on
from stepbus.base import PluginError

# Method that a step calls -> its arguments.
OVERRIDABLE = {
    "training_step": ("batch", "state"),
    "compute_loss_and_gradients": ("batch",),
    "process_gradients": ("gradients",),
}
# Methods that the user calls, and nobody else.
CALLED_BY_USER = frozenset({"train", "update_config"})
# What a trainer holds; its own attributes hide those of a class.
HELD = frozenset({"config", "model", "loss", "result", "fits"})
# What a step gives: a value of the same name would never be seen.
OF_THE_STEP = {
    "optimizer": "pick one in section optimizer: optimizer={'type': …}",
    "state": "a step is given the run's; give it another name",
}
# Method of ours that a run does not call -> what does the same.
BESIDE = {
    "evaluate": advice_on("evaluation_step"),
    "predict": advice_on("prediction_step"),
    "save_checkpoint": advice_on("save_model"),
    "load_checkpoint": advice_on("load_model"),
}


def check_class(cls: type, base: type) -> None:
    """Refuse what a subclass of a trainer writes and nobody would call.

    Args:
        cls: The subclass.
        base: The trainer that it extends, stepbus's own.

    Raises:
        PluginError: All of it, a line each.
    """
    written = [each for each in cls.__mro__ if each not in base.__mro__]
    problems: dict[str, None] = {}
    called = _called(written, base)
    for owner in written:
        for name, value in vars(owner).items():
            private = name.startswith(f"_{owner.__name__.lstrip('_')}__")  # of that class alone
            if private or (name.startswith("__") and name.endswith("__")):
                continue
            if words := problem_of(name, value, base, called=name in called):
                problems[f"{_place(value)}{cls.__name__}.{name}: {words}"] = None
    if problems:
        raise PluginError("\n".join(problems))


def problem_of(name: str, value: Any, base: type, *, called: bool = False, of_class: bool = True) -> str:
    """Return what is wrong with an attribute that a user gives a trainer, or nothing.

    Args:
        name: Its name.
        value: The value.
        base: stepbus's own trainer.
        called: Whether code of the user's reads it where a run or the user comes by.
        of_class: Whether it stands in a class, where a function is a method.
    """
    if hasattr(value, "stepbus_impl"):
        return "it is a hook, and a trainer is no plugin; write it in a class of its own, and hand it over: plugins=[…]"
    if name in OVERRIDABLE:
        unread = "training_step is written anew and does not call it; call it there, or leave it out"
        return _unfit(name, value, of_class=of_class) or ("" if called or not of_class else unread)
    if name in OF_THE_STEP:
        return f"it would never be used; {OF_THE_STEP[name]}"
    if name in CALLED_BY_USER:
        return "" if callable(value) else "expected a method"
    if name in HELD:
        return "each trainer sets it when it is made; hand it over there" if of_class else ""
    if (hasattr(base, name) or name in getattr(base, "_held", ())) and name not in BESIDE:
        return "it is stepbus's own; take another name"
    if called:
        return ""
    if advice := BESIDE.get(name) or advice_on(name):
        return f"nothing calls it; {advice}"
    if callable(value) and (near := difflib.get_close_matches(name, OVERRIDABLE, n=1, cutoff=0.8)):
        return f"nothing calls it (did you mean {near[0]!r}?); take that name, or one that is less like it"
    return ""


def _unfit(name: str, value: Any, *, of_class: bool) -> str:
    """Return what is wrong with a method that a step is to call."""
    arguments = OVERRIDABLE[name]
    plain = inspect.isfunction(value) and of_class
    self = ["self"] if plain or (of_class and not callable(value)) else []
    wanted = f"{name}({', '.join([*self, *arguments])})"
    value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
    if isinstance(value, property) or not callable(value):
        return f"expected a method {wanted}, got a {type(value).__name__}"
    if inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value) or inspect.isgeneratorfunction(value):
        return f"expected a method {wanted} that returns, got one with {'yield' if _yields(value) else 'async'}"
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # it does not say what it takes
        return ""
    shown = [each for each in signature.parameters if each != "self"]
    try:
        signature.bind(*([None] if plain else []), *arguments)
    except TypeError:
        return f"expected {wanted}, got ({', '.join(signature.parameters)})"
    if name == "training_step" and shown[:1] == ["model"]:
        return f"expected {wanted}, got ({', '.join(signature.parameters)}); the model is self.model"
    return ""


def _yields(value: Any) -> bool:
    return inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)


def _called(written: list[type], base: type) -> set[str]:
    """Return the names that code of the user's reads, where it is called itself."""
    ours = {name: [vars(each)[name] for each in base.__mro__ if name in vars(each)] for name in OVERRIDABLE}
    names = {name for each in written for name in vars(each)}
    chains = {name: [vars(each)[name] for each in written if name in vars(each)] + ours.get(name, []) for name in names}
    chains |= {name: found for name, found in ours.items() if name not in chains}
    found, waiting = {"training_step"}, ["training_step"]
    waiting += [
        name
        for name in names
        if name.startswith("__") or name in CALLED_BY_USER or not problem_of(name, len, base, of_class=False)
    ]
    waiting = [name for name in waiting if name not in OVERRIDABLE or name == "training_step"]
    seen = set(waiting)
    while waiting:
        for reads in _read_by(chains.get(waiting.pop(), [])):
            found.add(reads)
            if reads in chains and reads not in seen:
                seen.add(reads)
                waiting.append(reads)
    return found


def _read_by(chain: list[Any]) -> Iterator[str]:
    """Yield the names that a method reads, and those of the method above it that it calls by `super()`."""
    for value in chain:
        names = {name for function in functions_of(value) for name in _names(function.__code__)}
        yield from names
        if "super" not in names:
            return


def functions_of(value: Any) -> list[Callable[..., Any]]:
    """Return the functions in an attribute of a class.

    Args:
        value: The attribute: a function, a property, or another thing that may hold some.
    """
    if isinstance(value, property):
        found = [value.fget, value.fset, value.fdel]
    elif isinstance(value, functools.cached_property):
        found = [value.func]
    else:
        found = [value.__func__ if isinstance(value, staticmethod | classmethod) else value]
    return [inner for each in found if inspect.isfunction(inner := inspect.unwrap(each) if callable(each) else each)]


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
        elif isinstance(constant, str):  # getattr(self, "name")
            yield constant


def _place(value: Any) -> str:
    """Return where a method is written, as the beginning of a message."""
    for function in functions_of(value):
        code = function.__code__
        return "" if code.co_filename.startswith("<") else f"{code.co_filename}:{code.co_firstlineno}: "
    return ""
