"""When two fits compute alike: each plugin that takes part in the computation says so by `trace_key(trainer)`.

It returns values (settings, numbers, texts) that are equal in two fits exactly where its hooks give the same
functions and groups there; None, and a plugin without it, never are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.base import PluginError, show_python
from stepbus.fit.plugins import asked_of
from stepbus.kernel import hooks_of

if TYPE_CHECKING:
    from stepbus.kernel import Bus, Session

# The hooks that change what is computed.
COMPUTING = {
    "parameter_groups",
    "transform_gradients",
    "wrap_loss",
    "wrap_gradient",
    "after_update",
    "training_step",
}


def trace_keys(bus: Bus, trainer: Session) -> list[tuple[str, Any]] | None:
    """Return the name and trace key of each member that takes part in the computation; None where one has none.

    Args:
        bus: The plugins of a fit.
        trainer: The fit, its model and optimizer in place.

    Raises:
        PluginError: `trace_key` is no method.
        PluginFailure: It raised.
    """
    keys: list[tuple[str, Any]] = []
    for member in bus.members:
        if member.disabled or not COMPUTING & set(hooks_of(member.plugin, member.label)):
            continue
        method = getattr(member.plugin, "trace_key", None)
        if method is None:
            return None
        if not callable(method):
            raise PluginError(f"{member.label}: expected trace_key(trainer) as a method, got {show_python(method)}")
        found = asked_of(bus, member, "trace_key", trainer)
        if found is None:
            return None
        keys.append((member.name, (type(member.plugin), found)))
    return keys
