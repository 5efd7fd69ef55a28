"""Plugins that only watch or save: a resume may change them, leave them out and add them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from stepbus.base import REQUESTS, PluginError, asks_of
from stepbus.kernel import BUILD_HOOKS, Member, hooks_of


def watches(plugin: Any, label: str) -> bool:
    """Return whether a plugin only watches or saves: it says so (`affects_result = False`), and offers nothing else.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.

    Raises:
        PluginError: It says so, and asks for what decides the result.
    """
    if getattr(plugin, "affects_result", True):
        return False
    if deciding := [word for word in asks_of(plugin, label) if word != "checkpoint"]:
        raise PluginError(
            f"{label}: affects_result = False is for plugins that only watch or save, and this one asks for "
            f"{' and '.join(REQUESTS[word] for word in deciding)}; take affects_result out, so that no resume goes on "
            "without it"
        )
    # Who listens where the computation is made may change it, whatever is said.
    builds = set(hooks_of(plugin, label)) & BUILD_HOOKS - {"validate_plan"}
    return not builds and not getattr(plugin, "components", ())


@frozen
class Changed:
    """What a resume makes of the plugins that only watch.

    Args:
        free: Names that may differ, for `compare_facts`.
        differences: Who only watched and takes part now, or the other way round, a sentence each.
        said: Who was left out or is new, a sentence each.
    """

    free: list[str]
    differences: list[str]
    said: list[str]


def compare_watchers(saved: Mapping[str, Any], members: Iterable[Member]) -> Changed:
    """Hold the plugins of a run against those that it began with.

    Args:
        saved: The table of plugins that a run or a checkpoint keeps, as `members.plugin_table` made it.
        members: The prototypes of now.
    """
    was = {name: row.get("watches") if isinstance(row, Mapping) else None for name, row in saved.items()}
    now = {member.name: watches(member.plugin, member.label) for member in members}
    changed = Changed([], [], [])
    for name in sorted({*was, *now}):
        before, after = was.get(name), now.get(name)
        if name in was and name in now and before is not None and before != after:
            roles = ("only watched", "takes part in the result") if before else ("took part", "only watches")
            changed.differences.append(f"plugins.{name} {roles[0]}, and now {roles[1]}")
        elif (before or name not in was or before is None) and (after or name not in now):
            if name not in now and not before:
                continue  # what it did is not known
            changed.free.append(f"plugins.{name}")
            if name not in now:
                changed.said.append(f"{name} only watched, and is left out from here on")
            elif name not in was:
                changed.said.append(f"{name} only watches, and is there from here on")
    return changed
