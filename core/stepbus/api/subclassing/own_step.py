"""A trainer's own training step, given to a run as a plugin of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any

from stepbus.api.subclassing.bound import StepState, bound
from stepbus.api.subclassing.overrides import OVERRIDABLE, check_class, functions_of
from stepbus.base import hookimpl, snake_case
from stepbus.fit import Prototype, source_digest

if TYPE_CHECKING:
    from stepbus.kernel import Session


def own_steps(trainer: Any, base: Any) -> list[Prototype]:
    """Return the plugin that gives a run the training step of a trainer, where that has one.

    Args:
        trainer: The trainer.
        base: stepbus's own trainer, which says in `_held` what it holds.

    Raises:
        PluginError: Its class has what nobody would call; something was added since it was made.
    """
    cls = type(trainer)
    if cls is not base:
        check_class(cls, base)
    if all(getattr(cls, name) is getattr(base, name) and name not in vars(trainer) for name in OVERRIDABLE):
        return []
    step = OwnStep(trainer, base)
    label = f"{cls.__name__} (the trainer's class)"
    mend = f"train with stepbus.{base.__name__}, whose steps are those of the configuration"
    name = snake_case(cls.__name__)
    return [Prototype(name, label, step, mend=mend, distribution=cls.__name__, version=step.version)]


# What every class has; where it was written makes no difference.
_BESIDE = frozenset(
    {
        "__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__",
        "__annotations_cache__", "__firstlineno__", "__static_attributes__",
    }
)  # fmt: skip


class OwnStep:
    """The training step of a trainer's class.

    Args:
        trainer: The trainer.
        base: stepbus's own trainer, which says in `_held` what it holds.
    """

    def __init__(self, trainer: Any, base: Any) -> None:
        self.trainer, self.base, self.held = trainer, base, base._held

    @property
    def version(self) -> str:
        """A digest of the code of the class and of what the user set on the trainer, which a resume compares."""
        # The source of a class is looked for by its name, which others of the file may have; in a notebook not at all.
        written = [each for each in type(self.trainer).__mro__ if each not in self.base.__mro__]
        code = [{name: _words(value) for name, value in vars(each).items() if name not in _BESIDE} for each in written]
        own = {name: _words(value) for name, value in vars(self.trainer).items() if name not in self.held}
        text = json.dumps([code, own], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @hookimpl
    def training_step(self, trainer: Session) -> Callable[[Any, Any, Any], Any]:
        """Return the step, on an object that holds what the fit computes with."""

        def step(model: Any, optimizer: Any, batch: Any) -> Any:
            state = StepState(type(self.trainer), trainer.state, optimizer)
            now = bound(
                self.trainer,
                self.held,
                model=model,
                optimizer=optimizer,
                config=trainer.config,
                state=state,
                _parts=optimizer,
            )
            return now.training_step(dict(batch), state)

        return step

    def trace_key(self, trainer: Session) -> Any:
        """Return what fits have to share for their steps to be alike: the trainer, and what a step reads of each."""
        state = trainer.state
        return (self.version, state.total_steps, state.steps_per_epoch, trainer.config)


def _words(value: Any) -> Any:
    """Return what of an attribute is the same in every process; of an object that says nothing of itself, its kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _words(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_words(each) for each in value]
    if functions := functions_of(value):
        return [source_digest(each) or _compiled(each.__code__) for each in functions]
    if not isinstance(value, type) and hasattr(value, "dtype") and hasattr(value, "tolist"):
        return [str(value.dtype), _words(value.tolist())]
    return getattr(value, "__qualname__", type(value).__qualname__)


def _compiled(code: CodeType) -> Any:
    """Return what a function without source (of a prompt) compiles to."""
    consts = [sorted(each, key=repr) if isinstance(each, frozenset) else each for each in code.co_consts]
    inner = [_compiled(each) if isinstance(each, CodeType) else repr(each) for each in consts]
    return [code.co_code.hex(), list(code.co_names), inner]
