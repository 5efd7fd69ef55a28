"""What a resume compares of a trainer's own step, without a run."""

from __future__ import annotations

import linecache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stepbus import BaseTrainer, PluginError, PluginFailure, Trainer
from stepbus.api.subclassing.bound import StepState, bound
from stepbus.api.subclassing.own_step import OwnStep, own_steps
from stepbus.kernel.state import TrainingState


def from_prompt(body: str, **more: Any) -> Any:
    """Return a trainer of a class that was typed at a prompt: no file has its source."""
    found: dict[str, Any] = {"BaseTrainer": BaseTrainer, **more}
    exec(f"class CustomTrainer(BaseTrainer):\n    def process_gradients(self, gradients):\n        {body}", found)
    return found["CustomTrainer"]()


def version(trainer: Any) -> str:
    return OwnStep(trainer, Trainer).version


def test_a_plain_trainer_has_none() -> None:
    assert own_steps(Trainer(), Trainer) == []

    class Adds(BaseTrainer):
        def helper(self) -> int:
            return 1

    assert own_steps(Adds(), Trainer) == []


def test_one_that_was_put_on_an_object() -> None:
    trainer = Trainer()
    trainer.process_gradients = lambda gradients: gradients  # type: ignore[method-assign, assignment, misc]
    (member,) = own_steps(trainer, Trainer)
    assert (member.name, member.label) == ("trainer", "Trainer (the trainer's class)")


def test_what_was_added_to_a_class_later_is_looked_at() -> None:
    trainer = from_prompt("return gradients")
    type(trainer).compute_loss = lambda self: None
    with pytest.raises(PluginError, match=r"CustomTrainer\.compute_loss: nothing calls it"):
        own_steps(trainer, Trainer)


def test_the_version_follows_the_code_without_any_source() -> None:
    assert not linecache.getlines("<string>")
    same = [version(from_prompt("return gradients")) for _ in range(2)]
    assert same[0] == same[1]
    others = [
        "return dict(gradients)",
        "return {1: gradients}",
        "return {2: gradients}",
        "return (lambda: gradients)()",
    ]
    found = [version(from_prompt(body)) for body in others]
    assert len({same[0], *found}) == 5


def test_the_version_follows_what_the_user_set() -> None:
    seen = set()
    for value in (None, 1, 1.0, "1", True, [1], [2], {"a": 1}, np.ones(2), np.zeros(2), len, from_prompt, np.float32):
        trainer = from_prompt("return gradients")
        trainer.value = value
        seen.add(version(trainer))
        assert version(trainer) == version(trainer)
    assert len(seen) == 13


def test_where_a_class_is_written_makes_no_difference() -> None:
    one, other = from_prompt("return gradients", __name__="a"), from_prompt("return gradients", __name__="b")
    assert type(one).__module__ != type(other).__module__
    assert version(one) == version(other)


def test_what_a_step_reads_of_the_state() -> None:
    optimizer = SimpleNamespace(step=np.array(7), learning_rate=np.array(0.5))
    state = StepState(BaseTrainer, TrainingState(total_steps=10, steps_per_epoch=3, epoch=9, step=9), optimizer)
    assert (state.step, state.epoch, state.learning_rate, state.total_steps, state.steps_per_epoch) == (
        7,
        2,
        0.5,
        10,
        3,
    )
    for name in ("metrics", "history", "best", "samples_seen", "epoch_progress", "sept"):
        with pytest.raises(PluginFailure, match=f"Trainer: state.{name}: expected step, epoch, learning_rate"):
            getattr(state, name)
    uncounted = StepState(BaseTrainer, TrainingState(), optimizer)
    with pytest.raises(PluginFailure, match=r"state\.epoch"):
        _ = uncounted.epoch


def test_the_bound_object_is_of_the_users_class() -> None:
    class Slotted:
        __slots__ = ("slot",)

    class Custom(BaseTrainer, Slotted):
        def __init__(self) -> None:
            super().__init__()
            self.slot, self.items, self.plain = 3, [1], 4

        @property
        def twice(self) -> int:
            return 2 * self.plain

    trainer = Custom()
    now = bound(
        trainer, Trainer._held, model="model", optimizer="optimizer", config="config", state="state", _parts=None
    )
    assert isinstance(now, Custom)
    assert type(now).__name__ == "Custom"
    assert (now.model, now.optimizer, now.config, now.state) == ("model", "optimizer", "config", "state")
    assert (now.slot, now.items, now.plain, now.twice) == (3, [1], 4, 8)
    for change in (lambda: setattr(now, "plain", 5), lambda: delattr(now, "plain"), lambda: now.items.append(2)):
        with pytest.raises((PluginFailure, TypeError)):
            change()
    assert (trainer.plain, trainer.items) == (4, [1])
    for name in ("result", "fits", "_session"):
        with pytest.raises(AttributeError):
            getattr(now, name)
