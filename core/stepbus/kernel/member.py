"""Who is on a bus: a plugin, how messages name it, and what an error of it does."""

from __future__ import annotations

from typing import Any

from attrs import define

from stepbus.base import PluginError
from stepbus.kernel import events
from stepbus.kernel.hook_checks import hooks_of


@define(eq=False)
class Member:
    """A plugin instance on a bus.

    Args:
        name: Its name in the configuration.
        label: How messages name it, with distribution and version.
        plugin: An instance, or a module of hook functions.
        on_error: raise, or disable.
        disabled: The error that switched it off, if one did.
        mend: How to do without it, where no `plugins: {name: false}` does that.
    """

    name: str
    label: str
    plugin: Any
    on_error: str = "raise"
    disabled: str = ""
    mend: str = ""

    @property
    def place(self) -> str:
        """Where its settings stand; one that no configuration names has none there, and is said by its name alone."""
        return self.name.lstrip("./") if self.mend else f"plugins.{self.name}"


def check_policy(member: Member) -> None:
    """Refuse `on_error: disable` for a plugin that changes the computation; one that only finds problems does not.

    Raises:
        PluginError: It implements a BUILD hook.
    """
    if member.on_error == "disable":
        changing = sorted(set(hooks_of(member.plugin, member.label)) & events.BUILD_HOOKS - {"validate_plan"})
        if changing:
            raise PluginError(
                f"{member.label}: on_error: disable fits plugins that only watch; this one implements "
                f"{', '.join(changing)}"
            )
