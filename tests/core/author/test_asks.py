"""What a plugin may do, read from its code."""

from __future__ import annotations

import sys
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stepbus import Control, hookimpl
from stepbus.author.asks import MEANINGS, REQUESTS, asks, powers
from stepbus.kernel.bus import hooks_of
from stepbus_plugins.checkpoint import CheckpointPolicy
from stepbus_plugins.early_stopping import EarlyStopping
from stepbus_plugins.gradient_clipping import GradientClipping
from stepbus_plugins.history import History
from stepbus_plugins.nan_guard import NanGuard
from stepbus_plugins.schedules.plateau import ReduceOnPlateau


class Direct:
    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        trainer.control.request_stop("enough")


class Inherits(Direct):
    """Asks for nothing itself."""


class InMethod:
    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        self._ask(trainer)

    def _ask(self, trainer: Any) -> None:
        [each.request_checkpoint() for each in [trainer.control]]


class InProperty:
    trainer: Any

    @property
    def asked(self) -> Any:
        return self.trainer.control.request_evaluation()

    @staticmethod
    def other(trainer: Any) -> None:
        trainer.control.request_best("as asked")


def kept(function: Any) -> Any:
    @wraps(function)
    def inner(*values: Any) -> Any:
        return function(*values)

    return inner


class Wrapped:
    @hookimpl
    @kept
    def on_log(self, trainer: Any) -> None:
        trainer.optimizer.learning_rate = 0.0


class Reads:
    """Looks, and changes something else."""

    @hookimpl
    def on_log(self, trainer: Any) -> None:
        self.learning_rate = trainer.optimizer.learning_rate


# The whole of this module counts for a class in it, so the classes are put into modules of their own.
def alone(cls: type, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType(f"asks_{cls.__name__.lower()}")
    for each in cls.__mro__[:-1]:
        monkeypatch.setattr(each, "__module__", module.__name__)
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return cls()


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Direct, {"stop"}),
        (Inherits, {"stop"}),
        (InMethod, {"save"}),
        (InProperty, {"evaluate", "best"}),
        (Wrapped, {"rate"}),
        (Reads, set()),
    ],
)
def test_requests_are_found_in_code(cls: type, words: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert asks(alone(cls, monkeypatch)) == words


def test_functions_beside_a_class_and_modules_of_hooks_are_read(tmp_path: Path) -> None:
    text = """
from stepbus import hookimpl
from stepbus.state import Control

def ask(control): control.request_stop("enough")

class Own:
    @hookimpl
    def on_log(self, trainer): ask(trainer.control)

class Helper:
    def help(self, control): control.request_best("so")

class Another:
    @hookimpl
    def on_log(self, trainer): trainer.control.request_checkpoint()

@hookimpl
def on_step_end(trainer): trainer.control.request_evaluation()
"""
    module = ModuleType("asks_of_a_file")
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, "file.py", "exec"), vars(module))
        # Another plugin of the file asks for itself; the module's own hooks are functions beside the class.
        assert asks(module.Own()) == {"stop", "best", "evaluate"}
        assert asks(module.Another()) == {"stop", "best", "evaluate", "save"}
        assert asks(module) == {"stop", "best", "evaluate"}
    finally:
        del sys.modules[module.__name__]


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (EarlyStopping, ("stop", "best", "refuse")),
        (CheckpointPolicy, ("save", "remove", "refuse")),
        (NanGuard, ("stop",)),
        (GradientClipping, ("change", "refuse")),
        (History, ()),
    ],
)
def test_what_our_own_plugins_may_do(cls: Any, words: tuple[str, ...]) -> None:
    plugin = cls(cls.Config())
    assert powers(plugin, hooks_of(plugin, cls.__name__)) == words


def test_a_schedule_that_listens_sets_the_rate() -> None:
    assert asks(ReduceOnPlateau.__new__(ReduceOnPlateau)) == {"rate"}


def test_every_request_that_control_takes_is_known() -> None:
    offered = {name for name in dir(Control) if name.startswith("request_")}
    assert set(REQUESTS) == offered
    assert set(REQUESTS.values()) < set(MEANINGS)
