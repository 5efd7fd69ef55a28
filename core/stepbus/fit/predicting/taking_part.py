"""Which plugins take part whenever a trained model predicts, and what they remember for it."""

from __future__ import annotations

from typing import Any

from stepbus.fit.plugins import state_of
from stepbus.kernel import PREDICTION_HOOKS, RUN_HOOKS, Bus
from stepbus.storage import encode_state

STATES = "stepbus.safetensors"  # arrays of what plugins remember, beside an exported model
OF_FITS = PREDICTION_HOOKS - RUN_HOOKS
OF_RUNS = PREDICTION_HOOKS & RUN_HOOKS


def takes_part(plugin: Any, *, of_run: bool) -> bool:
    """Return whether a plugin has a hook of prediction, and is no mere watcher.

    Args:
        plugin: An instance, or a module of hooks.
        of_run: Whether the hooks of a run are meant, or those of each fit.
    """
    hooks = OF_RUNS if of_run else OF_FITS
    implements = any(hasattr(getattr(plugin, hook, None), "stepbus_impl") for hook in hooks)
    return implements and bool(getattr(plugin, "affects_result", True))


def fit_states(bus: Bus) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the plugins remember that take part in the predictions of a fit, as JSON values, and its arrays.

    Args:
        bus: The plugins of the fit.

    Returns:
        Name -> state, or None where one remembers nothing; and the arrays by name.
    """
    names = [member.name for member in bus.members if takes_part(member.plugin, of_run=False)]
    plain: dict[str, Any] = dict.fromkeys(names)
    arrays: dict[str, Any] = {}
    for name, state in (state_of(bus) if names else {}).items():
        if name in plain:
            plain[name], found = encode_state(name, state)
            arrays |= found
    return plain, arrays
