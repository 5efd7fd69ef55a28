"""Who offers averages of the weights: said by classes and components, so that a plan knows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stepbus.base import Problem, listed
from stepbus.base.guards import said_by

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.kernel import Member

# The line that says it, in a plugin's class (or at the top of a module of hooks) and in an optimizer's Component.
DECLARED, IN_METADATA = "averages = True", 'metadata={"averages": True}'


def averages_of(plugin: Any, label: str) -> bool:
    """Return whether a plugin declares that it offers averages of the weights: `averages = True`.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.

    Raises:
        PluginError: `averages` is something else than true or false.
    """
    return said_by(plugin, "averages", label)


def averaging_problems(config: Config, members: Iterable[Member]) -> list[Problem]:
    """Return the problem of several that offer averages of the weights, of which one alone can count.

    Args:
        config: The configuration.
        members: The plugins that it switches on, and those passed in Python.
    """
    found = [member for member in members if averages_of(member.plugin, member.label)]
    said = [member.name for member in found]
    ways = [f"switch {member.name} off" for member in found]
    if config.optimizer.component.metadata.get("averages"):
        said.append(f"optimizer.type: {config.optimizer.name}")
        ways.append("take another optimizer")
    if len(said) < 2:
        return []
    mend = listed(ways, "or") if len(ways) == 2 else f"leave one alone: {listed(ways)}"
    words = f"expected one that averages the weights and has its averages evaluated, got {listed(said)}; {mend}"
    return [Problem(f"plugins.{found[-1].name}", words)]
