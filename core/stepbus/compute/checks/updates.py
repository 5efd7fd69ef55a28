"""What an optimizer and `parameter_groups` give, looked at where it comes in: before the first update, or its trace."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from numbers import Real
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import PluginError, did_you_mean, show_python
from stepbus.base.guards import Maker
from stepbus.base.trees import LARGEST
from stepbus.compute.checks.parts import kind_of

Arrays = dict[str, mx.array]
GROUP_SETTINGS = ("weight_decay", "learning_rate_scale")


def check_groups(groups: Mapping[str, Mapping[str, float]], known: Collection[str], maker: Maker | None = None) -> None:
    """Refuse what no parameter can be given.

    Args:
        groups: Parameter name -> settings of its own.
        known: The names of the parameters.
        maker: Who gave them.

    Raises:
        PluginError: A group names no parameter, or a setting that groups do not have, or a value that is none.
    """
    who = "parameter_groups" if maker is None else maker.said
    for name, group in groups.items():
        if not isinstance(name, str) or name not in known:
            near = did_you_mean(name, known) if isinstance(name, str) else ""
            raise PluginError(f"{who} names {name!r}{near}, expected a parameter")
        for setting, value in group.items():
            if setting not in GROUP_SETTINGS:
                near = did_you_mean(setting, GROUP_SETTINGS) if isinstance(setting, str) else ""
                raise PluginError(f"{who} gives {name!r} a {setting!r}{near}, expected {' or '.join(GROUP_SETTINGS)}")
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or value < 0 or value > LARGEST:
                expected = f"expected a finite number of at least 0 (float32 ends at {LARGEST:.2g})"
                raise PluginError(f"{who} gives {name!r} a {setting}: {expected}, got {show_python(value)}")


def checked_state(maker: Maker, name: str, state: Any) -> Arrays:
    """Return the state of a parameter before its first update.

    Args:
        maker: Who made the optimizer.
        name: The parameter.
        state: What `init` returned.

    Raises:
        PluginFailure: It is no dictionary of arrays.
    """
    return _arrays(maker, "init", name, state, "the state as a dictionary of arrays ({} where there is none)")


def checked_scalars(maker: Maker, scalars: Any) -> Arrays:
    """Return the numbers of a group, which `scalars` gave.

    Raises:
        PluginFailure: They are no dictionary of arrays.
    """
    return _arrays(maker, "scalars", "", scalars, "a dictionary of 0-d arrays")


def checked_update(maker: Maker, name: str, parameter: mx.array, state: Arrays, given: Any) -> tuple[mx.array, Arrays]:
    """Return a parameter after an update, and its new state.

    Args:
        maker: Who made the optimizer.
        name: The parameter.
        parameter: The parameter before it.
        state: Its state before it.
        given: What `update` returned.

    Raises:
        PluginFailure: It is something else, or of other shapes or number formats than before.
    """
    if not isinstance(given, tuple | list) or len(given) != 2:
        words = f"update: expected the new {name} and its new state, (array, dictionary), got {_said(given)}"
        raise maker.fault(words)
    new, new_state = given
    if not isinstance(new, mx.array) or (new.shape, new.dtype) != (parameter.shape, parameter.dtype):
        raise maker.fault(f"update: expected the new {name} as {_said(parameter)}, got {_said(new)}")
    found = _arrays(maker, "update", name, new_state, "the new state as a dictionary of arrays")
    for key in {**state, **found}:
        if key not in found or key not in state:
            here, where = ("got none", "was there before") if key in state else ("got it", "was not there before")
            raise maker.fault(f"update: {name}: expected the same state as before, {here} of {key!r}, which {where}")
        before, after = state[key], found[key]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise maker.fault(f"update: {name}: expected its {key!r} as {_said(before)}, got {_said(after)}")
    return new, found


def _arrays(maker: Maker, method: str, name: str, given: Any, expected: str) -> Arrays:
    where = f"{method}: {name}" if name else method
    if not isinstance(given, Mapping):
        raise maker.fault(f"{where}: expected {expected}, got {_said(given)}")
    for key, array in given.items():
        if not isinstance(array, mx.array):
            raise maker.fault(f"{where}: expected {expected}, got {_said(array)} as {key!r}")
    return dict(given)


def _said(value: Any) -> str:
    return kind_of(value) if isinstance(value, mx.array) else show_python(value)
