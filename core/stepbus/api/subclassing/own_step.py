"""A trainer's own training step, given to a run as a plugin of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stepbus.api.subclassing.bound import StepParts, StepState, bound
from stepbus.api.subclassing.overrides import OVERRIDABLE, check_class
from stepbus.base import PluginFailure, hookimpl, show_python, snake_case
from stepbus.fit import Prototype, source_digest

if TYPE_CHECKING:
    from stepbus.kernel import Session


def own_steps(trainer: Any, base: type, held: frozenset[str]) -> list[Prototype]:
    """Return the plugin that gives a run the training step of a trainer, where that has one.

    Args:
        trainer: The trainer.
        base: stepbus's own trainer.
        held: The attributes of that.

    Raises:
        PluginError: Its class has what nobody would call; something was added since it was made.
    """
    cls = type(trainer)
    if cls is not base:
        check_class(cls, base)
    if all(getattr(cls, name) is getattr(base, name) and name not in vars(trainer) for name in OVERRIDABLE):
        return []
    step = OwnStep(trainer, base, held)
    label = f"{cls.__name__} (the trainer's class)"
    mend = f"train with stepbus.{base.__name__}, whose steps are those of the configuration"
    name = snake_case(cls.__name__)
    return [Prototype(name, label, step, mend=mend, distribution=cls.__name__, version=step.version)]


class OwnStep:
    """The training step of a trainer's class.

    Args:
        trainer: The trainer.
        base: stepbus's own trainer.
        held: The attributes of that.
    """

    def __init__(self, trainer: Any, base: type, held: frozenset[str]) -> None:
        self.trainer, self.base, self.held = trainer, base, held

    @property
    def version(self) -> str:
        """A digest of the code of the class and of what the user set on the trainer, which a resume compares."""
        cls = type(self.trainer)
        code = [source_digest(each) for each in cls.__mro__ if each not in self.base.__mro__]
        own = {name: _words(value) for name, value in vars(self.trainer).items() if name not in self.held}
        return hashlib.sha256(json.dumps([code, own], sort_keys=True).encode()).hexdigest()[:16]

    @hookimpl
    def training_step(self, trainer: Session) -> Callable[[Any, Any, Any], Any]:
        """Return the step, on an object that holds what the fit computes with."""

        def step(model: Any, optimizer: Any, batch: Any) -> Any:
            state = StepState(trainer)
            parts = StepParts(lambda given: optimizer.loss_and_gradients(model, given))
            now = bound(
                self.trainer,
                self.held,
                model=model,
                optimizer=optimizer,
                config=trainer.config,
                state=state,
                _parts=parts,
            )
            return now.training_step(dict(batch), state)

        return step

    def trace_key(self, trainer: Session) -> Any:
        """Return what fits have to share for their steps to be alike: the trainer, and what a step reads of each."""
        state = trainer.state
        return (self.version, state.total_steps, state.steps_per_epoch, trainer.config)
