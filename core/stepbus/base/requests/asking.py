"""What plugins may ask the engine for: declared by the plugin, known to the plan, held by `stepbus.Control`.

A plugin declares its requests as an attribute, `asks = ("stop", "best")`: a class in its body, a module of hooks at its
top, an object in its class or by itself. A request that was not declared is an error. `selects` says beside it whether
the plugin decides by scores.
"""

from __future__ import annotations

import inspect
from typing import Any

from attrs import define, frozen

from stepbus.base import PluginError, did_you_mean, show_python, without_secrets

# The words of `asks`, and what each asks for; `request_` and the word is the method of `trainer.control`.
REQUESTS = {
    "stop": "the end of the fit",
    "evaluation": "an evaluation",
    "checkpoint": "a checkpoint",
    "best": "the best weights back",
}


# What an exception in a plugin's hook does: it ends the run, or switches the plugin off.
POLICIES = ("raise", "disable")


def policy_of(plugin: Any, label: str) -> str:
    """Return what an exception in one of a plugin's hooks does where no configuration says it: `on_error`, or raise.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.

    Raises:
        PluginError: `on_error` is none of `POLICIES`.
    """
    policy = getattr(plugin, "on_error", "raise")
    if not isinstance(policy, str) or policy not in POLICIES:
        raise PluginError(f'{label}: expected on_error = "raise" or "disable", got {policy!r}')
    return policy


def scope_of(plugin: Any, label: str, otherwise: str = "fit") -> str:
    """Return how long an instance of a plugin lives by its class: "run", or "fit".

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.
        otherwise: What it is where the class does not say.

    Raises:
        PluginError: `scope` is something else.
    """
    scope = getattr(plugin, "scope", otherwise)
    if not isinstance(scope, str) or scope not in ("run", "fit"):
        raise PluginError(f'{label}: expected scope = "run" or "fit", got {show_python(scope)}')
    return scope


class UndeclaredError(PluginError):
    """A plugin asked for what it does not declare in `asks`."""


def asks_of(plugin: Any, label: str) -> tuple[str, ...]:
    """Return what a plugin declares that it asks for.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.

    Raises:
        PluginError: `asks` is no tuple of the words of `REQUESTS`.
    """
    asks = getattr(plugin, "asks", ())
    if not isinstance(asks, tuple | list) or not all(isinstance(word, str) for word in asks):
        raise PluginError(f"{label}: expected asks = {_written(REQUESTS)} or some of these words, got {asks!r}")
    for word in asks:
        if word not in REQUESTS:
            near = did_you_mean(word.removeprefix("request_"), REQUESTS)
            raise PluginError(f"{label}: asks: expected words out of {', '.join(REQUESTS)}, got {word!r}{near}")
    return tuple(asks)


def selects_of(plugin: Any, label: str) -> bool | None:
    """Return whether a plugin says that it decides by scores; None where it says nothing and is watched.

    A plugin that asks for a stop by the clock, or lowers the rate by a calendar, says `selects = False`.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.

    Raises:
        PluginError: `selects` is something else, or False where it asks for the best weights, which scores choose.
    """
    selects: bool | None = getattr(plugin, "selects", None)
    if not isinstance(selects, bool | None):
        raise PluginError(f"{label}: expected selects = True or selects = False, got {selects!r}")
    if selects is False and "best" in asks_of(plugin, label):
        raise PluginError(
            f"{label}: it says selects = False and asks for the best weights back, which are chosen by their scores; "
            "take one of the two out"
        )
    return selects


def may_select(plugin: Any, label: str) -> bool:
    """Return whether a plugin declares that it may decide by scores: it says so, or asks for a stop or for the best.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.
    """
    says = selects_of(plugin, label)
    return bool({"stop", "best"} & set(asks_of(plugin, label))) if says is None else says


@frozen
class Asker:
    """Who is asking: a hook of a plugin, or the engine.

    Args:
        plugin: Its name in the configuration.
        asks: What it declares.
        label: How messages name it.
        hook: The hook that is running.
        place: Where its declaration stands: "the class StopAtLoss".
        selects: Whether what it decides may be decided by scores.
    """

    plugin: str
    asks: tuple[str, ...] = tuple(REQUESTS)
    label: str = ""
    hook: str = ""
    place: str = ""
    selects: bool = True

    @classmethod
    def of(cls, plugin: Any, name: str, label: str, hook: str) -> Asker:
        """Return a hook of a plugin as one that asks.

        Args:
            plugin: An instance, or a module.
            name: Its name in the configuration.
            label: How messages name it.
            hook: The hook.
        """
        selects = selects_of(plugin, label) is not False
        return cls(name, asks_of(plugin, label), label, hook, _place(plugin), selects)

    def undeclared(self, kind: str) -> UndeclaredError:
        """Return the error of a request that was not declared."""
        words = [word for word in REQUESTS if word in self.asks or word == kind]
        return UndeclaredError(
            f"{self.said} asks for {REQUESTS[kind]} (request_{kind}), and does not declare that it may; "
            f"write asks = {_written(words)} in {self.place}"
        )

    def reason(self, kind: str, given: Any) -> str:
        """Return a reason as checkpoints and results may keep it: without passwords.

        Raises:
            PluginError: It is no text, which no resume would read.
        """
        if not isinstance(given, str):
            raise PluginError(f"{self.said}: request_{kind}: expected its reason as a text, got {given!r}")
        return without_secrets(given)

    @property
    def said(self) -> str:
        """Who asks, at the head of a sentence."""
        return f"{self.label}: {self.hook}" if self.hook else self.plugin


ENGINE = Asker("engine", selects=False)


@define
class Caller:
    """Whose hook is running; all buses and controls of a run share one."""

    now: Asker = ENGINE


def as_caller(given: Caller | str) -> Caller:
    """Return a caller; a name alone may ask for everything."""
    return Caller(Asker(given)) if isinstance(given, str) else given


def _written(words: Any) -> str:
    """Return words as a tuple in Python with the quotes that this project writes."""
    quoted = [f'"{word}"' for word in words]
    return f"({', '.join(quoted)}{',' if len(quoted) == 1 else ''})"


def _place(plugin: Any) -> str:
    if inspect.ismodule(plugin):
        return f"the module {plugin.__name__.rpartition('.')[2]}"
    cls = plugin if inspect.isclass(plugin) else type(plugin)
    return "the object" if cls.__module__ in ("builtins", "types") else f"the class {cls.__name__}"
