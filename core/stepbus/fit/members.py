"""From what a configuration names to the plugins on a bus: prototypes for the run, members for each fit."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define

from stepbus.base import (
    PluginError,
    Problem,
    StepbusError,
    asks_of,
    error_words,
    policy_of,
    scope_of,
    snake_case,
    values_without_secrets,
)
from stepbus.base.trees import plain
from stepbus.config.discovery import check_hooks_version, import_module
from stepbus.device import code_version
from stepbus.fit.plugins import check_memory, watches
from stepbus.fit.using import averages_of
from stepbus.kernel import Member, check_policy, hooks_of

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.config.discovery import LoadedPlugin


# How to do without a plugin that was handed over in Python.
LEFT_OUT = "leave it out of plugins=[…] or callbacks=[…]"
PASSED = "(passed in Python)"


@define(eq=False)
class Prototype(Member):
    """A plugin as a run knows it: built once and checked; it serves the whole run, or each fit gets a member like it.

    Only `validate_plan` and the hooks of a run are called on one of scope "fit".

    Args:
        scope: run: this instance serves every fit; fit: each fit gets one of its own.
        settings: What a fresh instance is made from.
        distribution: The package or file that it comes from.
        version: That package's version, or a digest of the source where it has none.
    """

    scope: str = "run"
    settings: Any = None
    distribution: str = ""
    version: str = ""

    def fresh(self) -> Member:
        """Return a member of one fit, with an instance of its own."""
        plugin = make(type(self.plugin), self.settings, self.label)
        return Member(self.name, self.label, plugin, self.on_error, self.disabled, self.mend)


def prototypes(config: Config, extras: Iterable[Any] = ()) -> list[Prototype]:
    """Build one instance of each plugin, in call order, and check its hooks.

    Args:
        config: The configuration; its plugins come first, its `hooks:` modules last.
        extras: Classes, instances, modules and prototypes handed over in Python; they come between.

    Raises:
        PluginError: A hook or a policy is wrong.
    """
    found: list[Prototype] = []
    for choice in config.plugins:
        loaded = choice.loaded
        plugin = make(loaded.cls, choice.settings, loaded.label)
        scope = scope_of(loaded.cls, loaded.label)
        if not hooks_of(plugin, loaded.label, scope) and not loaded.components:
            raise PluginError(f"{loaded.label}: it has neither hooks nor components; write @hookimpl above its methods")
        version = version_of(loaded)
        prototype = Prototype(
            choice.name,
            loaded.label,
            plugin,
            choice.on_error,
            scope=scope,
            settings=choice.settings,
            distribution=loaded.distribution,
            version=version,
        )
        check_policy(prototype)
        found.append(prototype)
    found += [_extra(extra, config) for extra in extras]
    found += [_module(import_module(name, config.base), name, "take it out of hooks:") for name in config.hooks]
    taken: set[str] = set()
    for each in found:
        if each.name in taken:
            if any(each.plugin is other.plugin for other in found if other is not each):
                raise PluginError(
                    f"the plugin {each.name!r} was passed twice; plugins= and callbacks= are one list: leave one out"
                )
            mend = "under plugins: or as a file"
            if each.label.endswith(PASSED):
                mend += f", in Python by a class of its own: class Other({type(each.plugin).__name__})"
            raise PluginError(f"two plugins are called {each.name!r}; give one another name, {mend}")
        taken.add(each.name)
        asks_of(each.plugin, each.label)
        averages_of(each.plugin, each.label)
        watches(each.plugin, each.label)
        check_memory(each)
    return found


def version_of(loaded: LoadedPlugin) -> str:
    """Return what a resume compares of a plugin's code: its version, with a digest where that alone may stay."""
    module = loaded.cls.__module__
    if loaded.version:
        # Plugins of one distribution share nothing with one another where each is told from the others.
        depth = 2 if loaded.origin == "built-in" else 1
        return code_version(loaded.distribution, loaded.version, module, depth=depth)
    digest = source_digest(inspect.getmodule(loaded.cls))
    # A class that `use:` names in a package brings the modules of it along.
    return code_version(loaded.distribution, digest, module) if "." in module else digest


def exclusions(config: Config, members: Iterable[Prototype]) -> list[Problem]:
    """Return a problem for each two plugins that exclude each other: one names the other in its `excludes`.

    Args:
        config: What switched them on.
        members: The prototypes.

    Raises:
        PluginError: `excludes` is no tuple of names.
    """
    named = {member.name: member for member in members}
    found: dict[frozenset[str], Problem] = {}
    for name, member in named.items():
        excludes = getattr(member.plugin, "excludes", ())
        if not isinstance(excludes, tuple | list) or not all(isinstance(other, str) for other in excludes):
            raise PluginError(f'{member.label}: expected excludes = ("name", …), got {excludes!r}')
        for other in excludes:
            pair = frozenset((name, other))
            if other in named and other != name and pair not in found:
                message = (
                    f"expected {name} or {other}, got both; {member.label} says that they exclude each other: "
                    f"switch one of them off"
                )
                found[pair] = config.locate(Problem(f"plugins.{name}", message))
    return list(found.values())


def make(cls: Any, settings: Any, label: str = "") -> Any:
    """Return an instance of a plugin class; a plugin without a Config takes no settings.

    Args:
        cls: The class.
        settings: Its settings, or None.
        label: How messages name it; its own name without one.

    Raises:
        PluginError: Its constructor raised, `sys.exit` included, which would end a run in silence.
    """
    try:
        return cls(settings) if settings is not None else cls()
    except (KeyboardInterrupt, StepbusError):
        raise
    except BaseException as error:
        wants = isinstance(error, TypeError) and not hasattr(cls, "Config")
        mend = "a class without a Config is given nothing: write one in it" if wants else "mend it, or do without it"
        raise PluginError(f"{label or cls.__name__}: its constructor raised {error_words(error)}; {mend}") from error


def _default_settings(cls: Any, label: str) -> Any:
    if not hasattr(cls, "Config"):
        return None
    try:
        return cls.Config()
    except Exception as error:
        mend = f"pass an object with its settings, {cls.__name__}({cls.__name__}.Config(…))"
        words = f"{label}: its Config cannot be made of nothing: {error_words(error)}; {mend}"
        raise PluginError(words) from error


def _extra(extra: Any, config: Config) -> Prototype:
    if isinstance(extra, Prototype):  # what core itself makes of something that was passed
        check_policy(extra)
        return extra
    if isinstance(extra, ModuleType):
        return _module(extra, extra.__name__, LEFT_OUT)
    cls = extra if inspect.isclass(extra) else type(extra)
    name, label = snake_case(cls.__name__), f"{cls.__name__} {PASSED}"
    check_hooks_version(extra, label, name)
    if not hooks_of(extra, label) and not getattr(extra, "components", ()):
        raise PluginError(f"{label}: it has neither hooks nor components; write @hookimpl above its methods")
    policy = policy_of(extra, label)
    if inspect.isclass(extra):
        settings = _default_settings(cls, label)
        plugin = make(cls, settings, label)
        found = Prototype(name, label, plugin, policy, scope=scope_of(cls, label), settings=settings)
    else:
        # An object is the caller's own and stays one, unless it holds the settings to build another from.
        settings = getattr(extra, "config", None)
        if not isinstance(settings, getattr(cls, "Config", ())):
            settings = None
        scope = scope_of(cls, label)
        found = Prototype(name, label, extra, policy, scope="run" if settings is None else scope, settings=settings)
    check_policy(found)
    hooks_of(found.plugin, label, found.scope)  # an instance of each fit would never hear those of the run
    found.distribution, found.version, found.mend = cls.__name__, source_digest(cls), LEFT_OUT
    return found


def _module(module: ModuleType, name: str, mend: str) -> Prototype:
    check_hooks_version(module, name, name)
    if not hooks_of(module, name):
        raise PluginError(f"{name}: no function in it is a hook; write @hookimpl above those that are")
    file = Path(getattr(module, "__file__", None) or name)
    # A module that was loaded from a file carries that file's folder in its name.
    short = file.stem if name.endswith(".py") else module.__name__.rpartition(".")[2]
    policy, version = policy_of(module, name), source_digest(module)
    found = Prototype(short, name, module, policy, mend=mend, distribution=file.name, version=version)
    check_policy(found)
    return found


def for_fit(
    run: Iterable[Member], parts: Iterable[tuple[str, Any]], *, alone: bool, extras: Iterable[Any] = ()
) -> list[Member]:
    """Return the members of one fit: those that serve the run as they are, the others afresh, then built components.

    Args:
        run: The prototypes of the run, and members that are no plugin's.
        parts: Built components with the name they have on the bus; those without hooks are passed over.
        alone: Whether the run has this one fit only; an object passed in Python then serves itself.
        extras: The objects that were passed in Python.
    """
    own = {id(extra) for extra in extras}
    members: list[Member] = []
    for each in run:
        if isinstance(each, Prototype) and each.scope == "fit" and not (alone and id(each.plugin) in own):
            each = each.fresh()
        members.append(each)
    mend = "mend it, or pick another type: for {}"
    for name, part in parts:
        if hooks_of(part, name, "fit"):
            members.append(Member(name, name, part, mend=mend.format(name.partition(".")[0])))
            check_memory(members[-1])
    return members


def run_scoped(run: Iterable[Member]) -> list[Member]:
    """Return those that serve the whole run."""
    return [each for each in run if not isinstance(each, Prototype) or each.scope == "run"]


def plugin_table(members: Iterable[Prototype]) -> dict[str, dict[str, Any]]:
    """Return name -> distribution, version, a digest of the settings and whether it only watches, for manifests.

    Args:
        members: The prototypes of a run, objects passed in Python and modules of hooks among them.
    """
    return {
        member.name: {
            "distribution": member.distribution,
            "version": member.version,
            "settings": _settings_digest(member.settings),
            "watches": watches(member.plugin, member.label),
        }
        for member in members
    }


def source_digest(thing: Any) -> str:
    """Return a digest of the source of a class or a module, or nothing where there is none to read (a prompt)."""
    try:
        return _digest(inspect.getsource(thing))
    except (OSError, TypeError):
        return ""


def _settings_digest(settings: Any) -> str:
    if settings is not None and not attrs.has(type(settings)):
        return ""  # an object of the caller's own, whose words may hold its address
    return _digest(json.dumps(values_without_secrets(plain(settings, places=False) or {}), sort_keys=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
