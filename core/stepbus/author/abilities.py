"""What a plugin may do to a run: known from its hooks, and from what it declares that it asks for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stepbus.base import REQUESTS, asks_of
from stepbus.kernel import events

# What `stepbus plan` says that a plugin may do, and what that means.
MEANINGS = {
    "change": "changes the plan, the computation or the result",
    **{word: f"asks for {what}" for word, what in REQUESTS.items()},
    "remove": "says which checkpoints go",
    "refuse": "may find a problem of the plan",
}


def powers(plugin: Any, hooks: Collection[str], label: str = "") -> tuple[str, ...]:
    """Return what a plugin may do, as keys of `MEANINGS` and in their order.

    Args:
        plugin: An instance, or a module of hook functions.
        hooks: The hooks that it listens to.
        label: How messages name it.
    """
    found = set(asks_of(plugin, label))
    if events.BUILD_HOOKS.intersection(hooks) - {"validate_plan"}:
        found.add("change")
    if "checkpoint_retention" in hooks:
        found.add("remove")
    if "validate_plan" in hooks:
        found.add("refuse")
    return tuple(word for word in MEANINGS if word in found)
