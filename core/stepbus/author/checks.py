"""What is wrong with a plugin class, found without running it: hooks, settings, components, equality."""

from __future__ import annotations

import inspect
import typing
from typing import Any

import attrs

from stepbus.author.description import implemented
from stepbus.author.kinds import kind_problem, trial_problem
from stepbus.author.sample import hook_problem
from stepbus.author.silent_hooks import silent_problem
from stepbus.base import Component, ConfigError, PluginError, asks_of, error_words, policy_of, scope_of, show
from stepbus.base.guards import keeps_finite_of, said_by
from stepbus.base.trees import Given, Invalid, Mark, from_python, structure, typed
from stepbus.config import BASES
from stepbus.config.discovery import LoadedPlugin
from stepbus.fit import make
from stepbus.fit.plugins import memory_problem, watches
from stepbus.fit.using import averages_of
from stepbus.kernel import Member, check_policy, hooks_of
from stepbus.run.plans import grows_of, misplaced


def problems_of(loaded: LoadedPlugin) -> list[str]:
    """Return everything that is wrong with a plugin, a sentence each.

    Args:
        loaded: The plugin, imported.
    """
    cls = loaded.cls
    if not inspect.isclass(cls):
        return [f"expected a class, got a {type(cls).__name__}"]
    hook_problems = _hook_problems(loaded)
    problems = [*hook_problems, *_equality_problems(cls)]
    problems += _role_problems(loaded, hooks_known=not hook_problems)
    problems += _axis_problems(loaded)
    if loaded.config_class is not None:
        problems += settings_problems(loaded.config_class, "Config")
    problems += component_problems(loaded)
    if problem := memory_problem(cls):
        problems.append(problem)
    # One that is wrong already would only say the same again.
    problems = problems or _build_problems(loaded)
    return problems or [problem for problem in [hook_problem(loaded)] if problem]


def _role_problems(loaded: LoadedPlugin, *, hooks_known: bool) -> list[str]:
    """Return what is wrong with what it says of itself: `scope`, `asks`, `on_error`, or that it only watches."""
    try:
        scope_of(loaded.cls, loaded.label)
        asks_of(loaded.cls, loaded.label)
        averages_of(loaded.cls, loaded.label)
        keeps_finite_of(loaded.cls, loaded.label)
        said_by(loaded.cls, "follows_skipped", loaded.label)
        policy = policy_of(loaded.cls, loaded.label)
        if hooks_known:
            watches(loaded.cls, loaded.label)
            check_policy(Member(loaded.name, loaded.label, loaded.cls, policy))
    except PluginError as error:
        return [str(error).removeprefix(f"{loaded.label}: ")]
    return []


def _axis_problems(loaded: LoadedPlugin) -> list[str]:
    """Return what is wrong with `grows`, as far as the class alone tells."""
    try:
        axes = grows_of(loaded.cls, loaded.label)
    except PluginError as error:
        return [str(error).removeprefix(f"{loaded.label}: ")]
    hooks = {name for name, *_ in implemented(loaded.cls)}
    found = [wrong for axis in axes if (wrong := misplaced(axis, axes))]
    if axes and "expand_fits" not in hooks:
        found.append("it has grows and no expand_fits, which would grow the plan; write it, or leave grows out")
    found += [
        f'it grows the plan along {axis.name}, and has no combine_results; write it, or Axis(…, combined_by="NAME")'
        for axis in axes
        if not axis.combined_by and "combine_results" not in hooks
    ]
    return found


def _hook_problems(loaded: LoadedPlugin) -> list[str]:
    problems = []
    for name in dir(loaded.cls):
        if name.startswith("__"):
            continue  # no hook, and a class made with it might be another one
        function = inspect.getattr_static(loaded.cls, name)
        try:
            # Each by itself, so that one does not hide the next.
            hooks_of(type("Hooks", (), {name: function}), loaded.label, loaded.scope)
        except PluginError as error:
            problems.append(str(error).removeprefix(f"{loaded.label}: "))
    problems += filter(None, (silent_problem(hook, function) for _, hook, function in implemented(loaded.cls)))
    if not problems and not implemented(loaded.cls) and not loaded.components:
        problems.append("it has neither hooks nor components; write @hookimpl above its methods")
    return problems


def _equality_problems(cls: type) -> list[str]:
    equality: Any = cls.__eq__
    if equality is object.__eq__:
        return []
    mend = "write @define(eq=False)" if attrs.has(cls) else "take its __eq__ away"
    if hasattr(cls, "__dataclass_fields__"):
        mend = "write @dataclass(eq=False)"
    return [f"compares by value, so that two instances may count as one: {mend}"]


def settings_problems(cls: Any, where: str) -> list[str]:
    """Return what is wrong with a class of settings.

    Args:
        cls: The class.
        where: How messages name it.
    """
    if not (inspect.isclass(cls) and attrs.has(cls)):
        return [f"{where} is no attrs class: write @define(frozen=True, kw_only=True) above it"]
    problems = [] if _is_frozen(cls) else [f"{where} is not frozen: write @define(frozen=True, kw_only=True)"]
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception as error:
        return [*problems, f"the types of {where} cannot be looked up: {error}"]
    fields = [field for field in attrs.fields(cls) if field.init]
    wrong = [problem for field in fields for problem in _default_problems(field, hints[field.name], where)]
    if not wrong and not any(field.default is attrs.NOTHING for field in fields):
        try:
            structure(cls, {}, path=where)
        except ConfigError as error:
            wrong = [f"its defaults do not fit together: {problem}" for problem in error.problems]
    return [*problems, *wrong]


def _is_frozen(cls: type) -> bool:
    fields = attrs.fields(cls)
    if not fields:
        return True
    try:
        setattr(object.__new__(cls), fields[0].name, None)
    except attrs.exceptions.FrozenInstanceError:
        return True
    except Exception:
        return False  # a validator that runs at each assignment
    return False


def _default_problems(field: Any, hint: Any, where: str) -> list[str]:
    default, name = field.default, field.alias or field.name
    if field.metadata.get("component"):
        fine = default is attrs.NOTHING or default is None or isinstance(default, str)
        return [] if fine else [f"{where}.{name}: expected the name of a component as default, got {show(default)}"]
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs types it as a function
        if default.takes_self:
            return []
        try:
            default = default.factory()
        except Exception as error:
            return [f"{where}.{name}: its factory raised {error_words(error)}"]
    if default is attrs.NOTHING:
        return []
    try:
        tree = from_python(sorted(default) if isinstance(default, set | frozenset) else default, Mark(), name)
        value = typed(Given(tree, (name,)), hint)
    except Invalid:
        return [f"{where}.{name}: its default {show(default)} is not of its type"]
    except Exception:
        return []  # a type that YAML cannot write; cattrs or the class itself must know it
    check = field.metadata.get("check")
    try:
        fine = check is None or value is None or bool(check(value))
    except Exception as error:
        return [f"{where}.{name}: its check raised {type(error).__name__} on the default {show(default)}: {error}"]
    expected = field.metadata.get("expected") or "what its check wants"
    return [] if fine else [f"{where}.{name}: expected {expected}, and its own default is {show(default)}"]


def component_problems(loaded: LoadedPlugin) -> list[str]:
    """Return what is wrong with the components that a plugin offers."""
    problems: list[str] = []
    seen: set[tuple[str, str]] = set()
    checked: set[Any] = set()
    for part in loaded.components:
        if not isinstance(part, Component):
            problems.append(f"expected stepbus.Component objects in components, got {type(part).__name__}")
            continue
        if problem := part.unnamed():
            problems.append(problem)
            continue
        where = f"{part.kind} {part.name!r}"
        if problem := kind_problem(part):
            problems.append(f"the {where}: {problem}")
            continue
        if (part.kind, part.name) in seen:
            problems.append(f"the {where} is offered twice")
        seen.add((part.kind, part.name))
        wrong = [problem] if (problem := part.unfit(BASES.get(part.kind))) else []
        if part.config not in checked and "attrs class" not in problem:
            checked.add(part.config)
            wrong += settings_problems(part.config, getattr(part.config, "__name__", where))
        if not wrong and (problem := trial_problem(part)):
            wrong = [f"the {where}: {problem}"]
        problems += wrong
    return problems


def _build_problems(loaded: LoadedPlugin) -> list[str]:
    """Return what happens when an instance is made from default settings, as every run makes one."""
    cls = loaded.config_class
    if cls is not None and any(field.init and field.default is attrs.NOTHING for field in attrs.fields(cls)):
        return []
    try:
        make(loaded.cls, cls() if cls is not None else None)
    except Exception as error:
        why = error.__cause__ if isinstance(error, PluginError) and error.__cause__ else error
        return [f"it cannot be built from its default settings: {error_words(why)}"]
    return []
