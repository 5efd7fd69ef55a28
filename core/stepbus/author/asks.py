"""What a plugin may do to a run: known from its hooks, and read from its code without running it.

The code is only read: a request that hides behind another name (`getattr(control, name)`, a function of a third
module) is not seen, and one that stands in a branch which never runs is.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Collection, Iterator
from functools import partial
from itertools import pairwise
from types import CodeType, FunctionType, ModuleType
from typing import Any

from stepbus.kernel import events

# What a plugin calls -> what it may do. `MEANINGS` has the words.
REQUESTS = {
    "request_stop": "stop",
    "request_evaluation": "evaluate",
    "request_checkpoint": "save",
    "request_best": "best",
}
MEANINGS = {
    "change": "changes the plan, the computation or the result",
    "rate": "sets the learning rate",
    "stop": "asks for the end of a fit",
    "evaluate": "asks for an evaluation",
    "save": "asks for a checkpoint",
    "best": "asks for the best weights back",
    "remove": "says which checkpoints go",
    "refuse": "may find a problem of the plan",
}


def powers(plugin: Any, hooks: Collection[str]) -> tuple[str, ...]:
    """Return what a plugin may do, as keys of `MEANINGS` and in their order.

    Args:
        plugin: An instance, or a module of hook functions.
        hooks: The hooks that it listens to.
    """
    found = asks(plugin)
    if events.BUILD_HOOKS.intersection(hooks) - {"validate_plan"}:
        found.add("change")
    if "checkpoint_retention" in hooks:
        found.add("remove")
    if "validate_plan" in hooks:
        found.add("refuse")
    return tuple(word for word in MEANINGS if word in found)


def asks(plugin: Any) -> set[str]:
    """Return what the code of a plugin asks for.

    Read are the methods of its class, the functions beside it, and the methods of classes there that listen to
    nothing themselves; where the class lives in a package of its own, those of all its modules.

    Args:
        plugin: An instance, or a module of hook functions.
    """
    found = set()
    for code in _all_code(plugin):
        found |= {REQUESTS[name] for name in code.co_names if name in REQUESTS}
        if _sets_rate(code):
            found.add("rate")
    return found


def _sets_rate(code: CodeType) -> bool:
    """Say whether code assigns `….optimizer.learning_rate`."""
    if not {"optimizer", "learning_rate"} <= set(code.co_names):
        return False  # disassembling takes its time
    return any(
        one.argval == "optimizer" and two.argval == "learning_rate" and two.opname == "STORE_ATTR"
        for one, two in pairwise(dis.get_instructions(code))
    )


def _all_code(plugin: Any) -> Iterator[CodeType]:
    own = None if isinstance(plugin, ModuleType) else type(plugin)
    for cls in own.__mro__ if own is not None else ():
        if cls.__module__.partition(".")[0] not in ("builtins", "stepbus"):
            yield from _code_of_class(cls)
    for module in [plugin] if own is None else _modules(own):
        for value in list(vars(module).values()):
            if getattr(value, "__module__", None) != module.__name__:
                continue  # imported from elsewhere
            if inspect.isfunction(value):
                yield from _code_of(value)
            elif inspect.isclass(value) and value is not own and not _listens(value):
                yield from _code_of_class(value)


def _modules(cls: type) -> list[ModuleType]:
    """Return the module of a class, or all loaded modules of the package that offers the class as its own."""
    home = sys.modules.get(cls.__module__)
    if home is None or cls.__module__.partition(".")[0] == "stepbus":
        return []
    parent = sys.modules.get(cls.__module__.rpartition(".")[0])
    if parent is not None and getattr(parent, cls.__name__, None) is cls:
        home = parent
    if not hasattr(home, "__path__"):
        return [home]
    inside = [sys.modules[name] for name in list(sys.modules) if name.startswith(f"{home.__name__}.")]
    return [home, *filter(None, inside)]


def _listens(cls: type) -> bool:
    return any(hasattr(_function(value), "stepbus_impl") for value in vars(cls).values())


def _code_of_class(cls: type) -> Iterator[CodeType]:
    for value in vars(cls).values():
        yield from _code_of(_function(value))


def _function(value: Any) -> Any:
    """Return the function inside what a class keeps: a class method, a property, a partial."""
    if isinstance(value, classmethod | staticmethod):
        return value.__func__
    if isinstance(value, property):
        return value.fget
    return value.func if isinstance(value, partial) else value


def _code_of(value: Any) -> Iterator[CodeType]:
    """Yield the code of a function, of what it wraps, and of the functions inside it."""
    while isinstance(value, FunctionType):
        yield from _nested(value.__code__)
        value = getattr(value, "__wrapped__", None)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
