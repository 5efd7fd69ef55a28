"""What plugins see of the optimizer in a scripted fit: its base rate, and what they gave single parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from stepbus.base import PluginError, did_you_mean
from stepbus.testing.scripted.parameters import flat

GROUP_SETTINGS = ("weight_decay", "learning_rate_scale")


class ScriptedOptimizer:
    """It updates nothing.

    Args:
        learning_rate: The base rate.
        given: What each plugin's `parameter_groups` returned.
        parameters: The tree of parameters.

    Attributes:
        groups: Parameter name -> its own settings, as a real fit would merge them.

    Raises:
        PluginError: What was given names no parameter, or a setting that groups do not have.
    """

    def __init__(self, learning_rate: float, given: Sequence[Any], parameters: Mapping[str, Any]) -> None:
        self._learning_rate = learning_rate
        self.on_change: Callable[[], None] = lambda: None
        self.groups: dict[str, dict[str, float]] = {}
        known = dict(flat(parameters))
        for groups in given:
            for name, group in groups.items():
                _check_group(name, group, known)
                own = self.groups.setdefault(name, {})
                scale = own.get("learning_rate_scale", 1.0) * group.get("learning_rate_scale", 1.0)
                own.update(group, learning_rate_scale=scale)

    @property
    def learning_rate(self) -> float:
        """The base learning rate; plugins may set it."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        before, self._learning_rate = self._learning_rate, value
        if value != before:
            self.on_change()

    def trained(self, model: Any) -> dict[str, Any]:
        """Return the parameters of the model by name: all of them."""
        return dict(flat(model.parameters()))

    def on_stream(self, name: str) -> AbstractContextManager[None]:
        """Return a context that changes nothing."""
        return nullcontext()

    def map(self, function: Callable[[Any], Any], gradients: Any) -> Any:
        """Return a tree with a function of each array."""
        if isinstance(gradients, dict):
            return {name: self.map(function, inner) for name, inner in gradients.items()}
        if isinstance(gradients, list):
            return [self.map(function, inner) for inner in gradients]
        return function(gradients)


def _check_group(name: Any, group: Any, known: Mapping[str, Any]) -> None:
    if name not in known:
        raise PluginError(f"parameter_groups names {name!r}{did_you_mean(str(name), known)}, expected a parameter")
    for setting in group:
        if setting not in GROUP_SETTINGS:
            near, expected = did_you_mean(str(setting), GROUP_SETTINGS), " or ".join(GROUP_SETTINGS)
            raise PluginError(f"parameter_groups gives {name!r} a {setting!r}{near}, expected {expected}")
