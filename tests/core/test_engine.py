"""The loop over scripted steps: order, boundaries, requests and pipelining, without MLX."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Control, StepResult, TrainingState, hookimpl
from stepbus.bus import Bus, Member
from stepbus.engine import run_fit


class Scripted:
    """Stands in for the compiled steps: says what was launched and read."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def launch(self, window: int, number: int) -> int:
        self.told.append(f"launch {number}")
        return number

    def read(self, ticket: int) -> StepResult:
        self.told.append(f"read {ticket}")
        return StepResult(loss=1 / ticket, weight=2.0, sequences=2, tokens=10, learning_rate=0.1, seconds=1.0)


class FakeTrainer:
    """As much of a trainer as the engine asks for."""

    def __init__(
        self, plugin: Any = None, *, epochs: int = 2, per_epoch: int = 3, depth: int = 0, **training: Any
    ) -> None:
        self.told: list[str] = []
        self.state, self.control = TrainingState(), Control()
        self.state.steps_per_epoch, self.state.total_steps = per_epoch, epochs * per_epoch
        settings = {"eval_strategy": "epoch", "eval_steps": None, "log_steps": 2, **training}
        self.config = SimpleNamespace(training=SimpleNamespace(**settings))
        self.fit = SimpleNamespace(monitored="validation")
        self.steps, self.pipeline_depth, self.interrupted = Scripted(self.told), depth, False
        plugins = [Member("listener", "listener", Listener(self))]
        self.bus = Bus([*plugins, *([Member("sample", "sample", plugin)] if plugin else [])], self.control)

    @property
    def asked(self) -> bool:
        return self.control.pending or self.interrupted

    @contextmanager
    def windows(self, epoch: int, start: int) -> Iterator[Iterator[int]]:
        yield iter(range(start, self.state.steps_per_epoch))

    def log(self, record: dict[str, float]) -> None:
        self.told.append(f"log {self.state.step} {record['loss']:.3f}")

    def evaluate_monitored(self, reason: str) -> None:
        self.told.append(f"evaluate {self.state.step} {reason}")

    def serve_checkpoint(self) -> None:
        if self.control.checkpoint:
            self.told.append(f"checkpoint {self.state.step} {self.state.epoch}.{self.state.step_in_epoch}")
            self.control.checkpoint.clear()


class Listener:
    def __init__(self, trainer: FakeTrainer) -> None:
        self.trainer = trainer

    @hookimpl
    def on_epoch_start(self, state: TrainingState) -> None:
        self.trainer.told.append(f"epoch {state.epoch} starts")

    @hookimpl
    def on_epoch_end(self, state: TrainingState) -> None:
        self.trainer.told.append(f"epoch {state.epoch} ends")


def test_two_epochs_in_order() -> None:
    trainer = FakeTrainer(epochs=1)
    run_fit(trainer)  # type: ignore[arg-type]
    assert trainer.told == [
        "epoch 0 starts",
        "launch 1", "read 1",
        "launch 2", "read 2", "log 2 0.750",
        "launch 3", "read 3", "log 3 0.333",
        "evaluate 3 epoch",
        "epoch 0 ends",
    ]  # fmt: skip
    assert (trainer.state.epoch, trainer.state.step, trainer.state.step_in_epoch) == (1, 3, 0)
    assert trainer.state.samples_seen == 6


def test_the_device_runs_ahead_and_is_drained_at_a_boundary() -> None:
    trainer = FakeTrainer(epochs=1, per_epoch=4, depth=1, log_steps=100)
    run_fit(trainer)  # type: ignore[arg-type]
    moves = [words for words in trainer.told if words.startswith(("launch", "read", "evaluate"))]
    assert moves == [
        "launch 1", "launch 2", "read 1", "launch 3", "read 2", "launch 4", "read 3", "read 4", "evaluate 4 epoch",
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_request_takes_effect_at_the_first_step_not_yet_launched(depth: int) -> None:
    class Stop:
        @hookimpl
        def on_step_end(self, state: TrainingState) -> None:
            if state.step == 2:
                trainer.control.request_stop("enough")

    trainer = FakeTrainer(Stop(), per_epoch=10, depth=depth)
    run_fit(trainer)  # type: ignore[arg-type]
    assert trainer.state.step == 2 + depth
    launched = [words for words in trainer.told if words.startswith("launch")]
    assert len(launched) == 2 + depth
    assert trainer.control.why("stop") == "sample at step 2: enough"


def test_a_plugin_can_have_a_boundary_of_its_own() -> None:
    class Save:
        @hookimpl
        def is_boundary(self, step: int) -> bool:
            return step % 2 == 0

        @hookimpl
        def on_step_end(self, state: TrainingState) -> None:
            if state.step % 2 == 0:
                trainer.control.request_checkpoint()

    trainer = FakeTrainer(Save(), depth=2)
    run_fit(trainer)  # type: ignore[arg-type]
    # The epoch of 3 updates: the checkpoint at its end already stands at the start of the next one.
    assert [words for words in trainer.told if words.startswith("checkpoint")] == [
        "checkpoint 2 0.2", "checkpoint 4 1.1", "checkpoint 6 2.0",
    ]  # fmt: skip


def test_evaluation_by_steps() -> None:
    trainer = FakeTrainer(eval_strategy="steps", eval_steps=2)
    run_fit(trainer)  # type: ignore[arg-type]
    assert [words for words in trainer.told if words.startswith("evaluate")] == [
        "evaluate 2 steps", "evaluate 4 steps", "evaluate 6 steps",
    ]  # fmt: skip


def test_an_asked_for_evaluation_says_who_asked() -> None:
    class Ask:
        @hookimpl
        def on_step_end(self, state: TrainingState) -> None:
            if state.step == 1:
                trainer.control.request_evaluation("a look")

    trainer = FakeTrainer(Ask(), eval_strategy="no")
    run_fit(trainer)  # type: ignore[arg-type]
    assert "evaluate 1 sample at step 1: a look" in trainer.told


def test_an_interrupt_writes_a_checkpoint_and_ends() -> None:
    class Interrupt:
        @hookimpl
        def on_step_end(self, state: TrainingState) -> None:
            trainer.interrupted = state.step == 2

    trainer = FakeTrainer(Interrupt())
    run_fit(trainer)  # type: ignore[arg-type]
    assert trainer.state.step == 2
    assert "checkpoint 2 0.2" in trainer.told


def test_a_stopped_fit_does_not_train_on_when_resumed() -> None:
    trainer = FakeTrainer()
    trainer.control.request_stop("before")
    run_fit(trainer)  # type: ignore[arg-type]
    assert trainer.told == []


def test_a_resumed_epoch_is_not_started_again() -> None:
    trainer = FakeTrainer()
    trainer.state.step, trainer.state.step_in_epoch = 1, 1
    run_fit(trainer)  # type: ignore[arg-type]
    assert trainer.told[0] == "launch 2"
    assert "epoch 1 starts" in trainer.told


def test_the_loop_knows_no_mlx() -> None:
    script = "import sys, stepbus.engine; assert not [n for n in sys.modules if n.startswith('mlx')]"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
