"""What `self` is within a training step: an object of the user's own class that holds what the step computes with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import PluginFailure
from stepbus.base.guards import as_read_only

if TYPE_CHECKING:
    from stepbus.kernel import Session

COMPILED = "a step is compiled, so this runs once for each shape of batch and not for each step"


class StepState:
    """Where a fit stands, as a step sees it.

    Args:
        session: The fit.
    """

    def __init__(self, session: Session) -> None:
        arrays, state = session.optimizer.state, session.state
        self.step, self.learning_rate = arrays["step"], arrays["learning_rate"]
        self.total_steps, self.steps_per_epoch = state.total_steps, state.steps_per_epoch
        if state.steps_per_epoch:
            self.epoch = self.step // state.steps_per_epoch

    def __getattr__(self, name: str) -> Any:
        raise PluginFailure(
            f"state.{name}: expected step, epoch, learning_rate, total_steps or steps_per_epoch; {COMPILED}, and no "
            "other number can be had in it: a hook is given them all, such as on_step_end"
        )


@frozen(eq=False)
class StepParts:
    """What the methods of a step compute with.

    Args:
        loss_and_gradients: Batch -> mean loss and gradients, as a run without a step of the user's takes them.
    """

    loss_and_gradients: Callable[[Any], Any]


def bound(trainer: Any, held: frozenset[str], **parts: Any) -> Any:
    """Return an object of a trainer's class for one step, whose methods are the trainer's.

    Args:
        trainer: The trainer; what the user set on it can be read.
        held: What a trainer itself holds.
        **parts: What the step has in place of it: model, optimizer, config, state.
    """
    own = {name: as_read_only(value) for name, value in _attributes(trainer).items() if name not in held}
    found = object.__new__(_within_a_step(type(trainer)))
    for name, value in (own | parts).items():
        object.__setattr__(found, name, value)
    return found


def _attributes(trainer: Any) -> dict[str, Any]:
    slots = [name for each in type(trainer).__mro__ for name in _names(vars(each).get("__slots__", ()))]
    return {name: getattr(trainer, name) for name in slots if hasattr(trainer, name)} | vars(trainer)


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))


@functools.cache
def _within_a_step(cls: type) -> type:
    """Return a class like a trainer's, whose objects cannot be written into."""

    def refuse(self: Any, name: str, value: Any = None) -> None:
        raise PluginFailure(
            f"{cls.__name__}: self.{name} is set within a training step; {COMPILED}, and what it sets would be of the "
            "first one: return (loss, {name: array}) to log a number, or keep it in a plugin, in on_step_end"
        )

    body = {"__setattr__": refuse, "__delattr__": refuse, "_parts": None, "__module__": cls.__module__}
    return type(cls)(cls.__name__, (cls,), body)
