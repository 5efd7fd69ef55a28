"""What `self` is within a training step: an object of the user's own class that holds what the step computes with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.api.subclassing.overrides import OVERRIDABLE
from stepbus.base import PluginFailure, show_python
from stepbus.base.guards import as_read_only

if TYPE_CHECKING:
    from stepbus.kernel import TrainingState

COMPILED = "a step is compiled, so this runs once for each shape of batch and not for each step"


class StepState:
    """Where a fit stands, as a step sees it.

    Args:
        owner: The trainer's class, for messages.
        state: The state of the fit.
        optimizer: What the step is given as optimizer.

    Attributes:
        step: The updates before this one, 0-d int32.
        epoch: The epochs before the present one, 0-d int32; only where the updates of an epoch are known.
        learning_rate: The rate in use, 0-d float32.
    """

    def __init__(self, owner: type, state: TrainingState, optimizer: Any) -> None:
        self._owner = owner.__name__
        self.step, self.learning_rate = optimizer.step, optimizer.learning_rate
        self.total_steps, self.steps_per_epoch = state.total_steps, state.steps_per_epoch
        if state.steps_per_epoch:
            self.epoch = optimizer.step // state.steps_per_epoch

    def __getattr__(self, name: str) -> Any:
        raise PluginFailure(
            f"{self._owner}: state.{name}: expected step, epoch, learning_rate, total_steps or steps_per_epoch; "
            f"{COMPILED}, and no other number can be had in it: a hook is given them all, such as on_step_end"
        )


def bound(trainer: Any, held: frozenset[str], **parts: Any) -> Any:
    """Return an object of a trainer's class for one step, whose methods are the trainer's.

    Args:
        trainer: The trainer; what the user set on it can be read.
        held: What a trainer itself holds.
        **parts: What the step has in place of it: model, optimizer, config, state.
    """
    own = {name: as_read_only(value) for name, value in _attributes(trainer).items() if name not in held}
    found: Any = object.__new__(_within_a_step(type(trainer)))
    put_on = {name: own.pop(name) for name in OVERRIDABLE if name in own and name != "training_step"}
    for name, value in (own | parts | {"_put_on": put_on}).items():
        object.__setattr__(found, name, value)
    return found


def _attributes(trainer: Any) -> dict[str, Any]:
    slots = [name for each in type(trainer).__mro__ for name in _names(vars(each).get("__slots__", ()))]
    return {**{name: getattr(trainer, name) for name in slots if hasattr(trainer, name)}, **vars(trainer)}


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(name for name in slots if not name.startswith("__"))


def _within_a_step(cls: type) -> type:
    """Return a class like a trainer's whose objects cannot be written into and whose methods' answers are looked at."""

    def refuse(self: Any, name: str, value: Any = None) -> None:
        raise PluginFailure(
            f"{cls.__name__}: self.{name} is set within a training step; {COMPILED}, and what it sets would be of the "
            "first one: return (loss, {name: array}) to log a number, or keep it in a plugin, in on_step_end"
        )

    def compute_loss_and_gradients(self: Any, batch: Any) -> Any:
        found = _own(self, "compute_loss_and_gradients")(batch)
        return _checked(cls, "compute_loss_and_gradients", "(loss, gradients)", found, _is_pair(found))

    def process_gradients(self: Any, gradients: Any) -> Any:
        found = _own(self, "process_gradients")(gradients)
        return _checked(cls, "process_gradients", "the gradients as a tree of arrays", found, _is_tree(found))

    body = {
        "__setattr__": refuse,
        "__delattr__": refuse,
        "compute_loss_and_gradients": compute_loss_and_gradients,
        "process_gradients": process_gradients,
        "_within_a_step": True,
        "__module__": cls.__module__,
    }
    made: type = type(cls)(cls.__name__, (cls,), body)
    return made


def _own(step: Any, method: str) -> Any:
    """Return a method of the user's: one that was put on the trainer, or that of its class."""
    return vars(step)["_put_on"].get(method) or getattr(super(type(step), step), method)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and _is_tree(value[1])


def _is_tree(value: Any) -> bool:
    return isinstance(value, dict | list)


def _checked(cls: type, method: str, expected: str, found: Any, fine: bool) -> Any:
    """Return what a method of the user's gave, where that will do."""
    if not fine:
        # An array of a compiled step cannot be written as text.
        got = f"an array {list(found.shape)}" if hasattr(found, "shape") else show_python(found)
        raise PluginFailure(f"{cls.__name__}.{method}: expected it to return {expected}, got {got}")
    return found
