"""What plugins are given is read-only for everybody but core, so that who watches cannot change what others see.

A copy is one's own: `dict(metrics)`, `list(state.history)`, `predictions.values.copy()`. This keeps mistakes out, not
malice: a plugin is arbitrary code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

CORE = "stepbus."


class ReadOnlyError(AttributeError, TypeError):
    """Somebody wrote into what is not his own."""


def written_by_core(depth: int) -> bool:
    """Return whether a module of core makes a change.

    Args:
        depth: Frames between this call and the code that makes it.
    """
    return str(sys._getframe(depth + 1).f_globals.get("__name__", "")).startswith(CORE)


def core_only(what: str, mend: str, depth: int) -> None:
    """Refuse a change that is not made by a module of core.

    Args:
        what: What would be changed: "trainer.fit".
        mend: What to do instead, as the end of a sentence.
        depth: Frames between this call and the code that changes it.

    Raises:
        ReadOnlyError: The code is somebody else's.
    """
    if not written_by_core(depth + 1):
        raise ReadOnlyError(f"{what} is read-only here; {mend}")


def _guarded(kind: type, method: str, what: str, mend: str) -> Callable[..., Any]:
    original = getattr(kind, method)

    def guarded(self: Any, *arguments: Any, **keywords: Any) -> Any:
        core_only(what, mend, 1)
        return original(self, *arguments, **keywords)

    guarded.__name__ = method
    return guarded


class ReadOnlyDict(dict[Any, Any]):
    """A mapping that core alone changes; its copy is a plain one."""

    def __reduce__(self) -> Any:
        return dict, (dict(self),)


class ReadOnlyList(list[Any]):
    """A list that core alone changes; its copy is a plain one."""

    def __reduce__(self) -> Any:
        return list, (list(self),)


for _name in ("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"):
    setattr(ReadOnlyDict, _name, _guarded(dict, _name, "this mapping", "change a copy: dict(…)"))
for _name in (
    "__setitem__", "__delitem__", "__iadd__", "__imul__", "append", "clear", "extend", "insert", "pop", "remove",
    "reverse", "sort",
):  # fmt: skip
    setattr(ReadOnlyList, _name, _guarded(list, _name, "this list", "change a copy: list(…)"))


def as_read_only(value: Any, mapping: type[ReadOnlyDict] = ReadOnlyDict) -> Any:
    """Return a plain dictionary, list or array as one that core alone changes; anything else as it is.

    Args:
        value: What is given to plugins. An array is a view, so that whoever made it may still fill it.
        mapping: What a dictionary becomes, also one in a list.
    """
    if type(value) is dict:
        return mapping(value)
    if type(value) is list:
        return ReadOnlyList(mapping(each) if type(each) is dict else each for each in value)
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.flags.writeable:
        value = value.view()
        value.flags.writeable = False
    return value


class AssignedByCore:
    """A class whose attributes core alone assigns, but for those in `free`; `named` is how messages name it."""

    named = ""
    free: tuple[str, ...] = ()

    if not TYPE_CHECKING:  # else a type checker takes any attribute for one that is there

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in self.free:
                core_only(f"{self.named}.{name}", "what a plugin may change is asked for through trainer.control", 1)
            object.__setattr__(self, name, as_read_only(value))

        def __delattr__(self, name: str) -> None:
            core_only(f"{self.named}.{name}", "leave it there", 1)
            object.__delattr__(self, name)


def hand_over(thing: Any) -> None:
    """Make an attrs object of `unless_handed_over` one that core alone changes, its dictionaries and lists too.

    Args:
        thing: What plugins are about to be given; until now its maker could change it.
    """
    for field in type(thing).__attrs_attrs__:
        value = as_read_only(getattr(thing, field.name), field.metadata.get("mapping", ReadOnlyDict))
        object.__setattr__(thing, field.name, value)
    object.__setattr__(thing, "handed_over", True)


def unless_handed_over(thing: Any, attribute: Any, value: Any) -> Any:
    """Say what an attrs class stores at an assignment (its `on_setattr`); after `hand_over`, core alone may assign.

    Args:
        thing: The object; its class says in `named` how messages name it.
        attribute: The field.
        value: What is assigned.
    """
    if not thing.handed_over:
        return value
    core_only(f"{type(thing).named}.{attribute.name}", "who watches changes nothing: keep numbers of your own", 2)
    return as_read_only(value, attribute.metadata.get("mapping", ReadOnlyDict))
