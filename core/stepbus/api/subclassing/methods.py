"""The methods of a training step, which a trainer's subclass may write anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.api.subclassing.foreign import advice_on
from stepbus.api.subclassing.overrides import OF_THE_STEP, check_class, problem_of
from stepbus.base import PluginError
from stepbus.base.guards import written_by_core


class StepMethods:
    """What a training step does, as the original's trainer has it; a subclass that writes one of these is asked.

    A step is compiled: these run once for each shape of batch and not for each step, on arrays whose values are not
    known yet. So they compute with arrays and return them; `print`, `item`, `float` and `if` on one are refused, and
    what is set on `self` is.

    Attributes:
        optimizer: Within a step, what `update(model, gradients)` is called on.
        state: Within a step, `step`, `epoch` and `learning_rate` as 0-d arrays; `total_steps` and `steps_per_epoch`.
    """

    optimizer: Any
    state: Any
    model: Any
    _parts: Any = None  # within a step alone: what it is given as optimizer
    _held: frozenset[str]  # what the trainer itself holds

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        own = next(each for each in reversed(cls.__mro__) if StepMethods in each.__bases__)
        if cls is not own and "_within_a_step" not in vars(cls):
            check_class(cls, own)

    def __setattr__(self, name: str, value: Any) -> None:
        own: Any = next(each for each in reversed(type(self).__mro__) if StepMethods in each.__bases__)
        if name not in own._held or not written_by_core(1):
            # What is no function is not meant to be called by anybody.
            words = problem_of(name, value, own, called=not callable(value), of_class=False)
            if words:
                raise PluginError(f"{type(self).__name__}.{name}: {words}")
        object.__setattr__(self, name, value)

    if not TYPE_CHECKING:  # else a type checker takes any attribute for one that is there

        def __getattr__(self, name: str) -> Any:
            owner = type(self).__name__
            if name in self._held:
                raise AttributeError(f"{owner}: its __init__ has not called super().__init__(model, config)")
            words = "it is there within a training step alone" if name in OF_THE_STEP else advice_on(name)
            raise AttributeError(f"a {owner} has no attribute {name!r}" + (f"; {words}" if words else ""))

    def training_step(self, batch: Any, state: Any) -> Any:
        """Make one update, and return its loss.

        Args:
            batch: Name -> array of the batch, `labels` and `weights` [B] among them.
            state: What `self.state` is.

        Returns:
            The mean loss, a 0-d array; or (loss, {name: 0-d array}), whose numbers are logged.
        """
        loss, gradients = self.compute_loss_and_gradients(batch)
        self.optimizer.update(self.model, self.process_gradients(gradients))
        return loss

    def compute_loss_and_gradients(self, batch: Any) -> Any:
        """Return the mean loss of a batch by the rows' weights, a 0-d array, and its gradients, a tree of arrays.

        Args:
            batch: Name -> array of the batch.
        """
        return self._within("compute_loss_and_gradients").loss_and_gradients(batch)

    def process_gradients(self, gradients: Any) -> Any:
        """Return the gradients as they are; what plugins do to them (clipping) comes after, in `optimizer.update`.

        Args:
            gradients: A tree of arrays.
        """
        self._within("process_gradients")
        return gradients

    def _within(self, method: str) -> Any:
        if self._parts is None:
            raise PluginError(f"{type(self).__name__}: {method} is for a training step of a run; train calls it")
        return self._parts
