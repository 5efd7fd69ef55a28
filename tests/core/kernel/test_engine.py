"""The loop over scripted steps: order, boundaries, requests and pipelining, without MLX."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from stepbus import TrainingState, hookimpl
from stepbus.testing import Played, play


class Teller:
    """Tells what it hears between the launches and the reads."""

    @hookimpl
    def on_epoch_start(self, trainer: Any, state: TrainingState) -> None:
        trainer.run.builder.heard.moves.append(f"epoch {state.epoch} starts")

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: TrainingState) -> None:
        trainer.run.builder.heard.moves.append(f"epoch {state.epoch} ends")

    @hookimpl
    def on_log(self, trainer: Any, record: dict[str, float]) -> None:
        trainer.run.builder.heard.moves.append(f"log {record['step']} {record['loss']:.3f}")

    @hookimpl
    def on_evaluate_start(self, trainer: Any, state: TrainingState, reason: str) -> None:
        trainer.run.builder.heard.moves.append(f"evaluate {state.step} {reason}")

    @hookimpl
    def on_checkpoint(self, trainer: Any, state: TrainingState) -> None:
        trainer.run.builder.heard.moves.append(f"checkpoint {state.step} {state.epoch}.{state.step_in_epoch}")


def told(*plugins: Any, per_epoch: int = 3, depth: int = 0, **script: Any) -> Played:
    """Play two epochs."""
    settings = {"metrics": [{"eval_loss": 0.5}], "log_steps": 2, "pipeline_depth": depth, **script}
    return play(Teller, *plugins, steps_per_epoch=per_epoch, **settings)


def only(played: Played, *kinds: str) -> list[str]:
    return [words for words in played.moves if words.startswith(kinds)]


def test_two_epochs_in_order() -> None:
    played = told(epochs=1)
    assert played.moves == [
        "epoch 0 starts",
        "launch 1", "read 1",
        "launch 2", "read 2", "log 2 0.750",
        "launch 3", "read 3", "log 3 0.333",
        "evaluate 3 epoch",
        "epoch 0 ends",
    ]  # fmt: skip
    assert (played.state.epoch, played.state.step, played.state.step_in_epoch) == (1, 3, 0)
    assert played.state.samples_seen == 12


def test_the_device_runs_ahead_and_is_drained_at_a_boundary() -> None:
    played = told(epochs=1, per_epoch=4, depth=1, log_steps=100)
    assert only(played, "launch", "read", "evaluate") == [
        "launch 1", "launch 2", "read 1", "launch 3", "read 2", "launch 4", "read 3", "read 4", "evaluate 4 epoch",
    ]  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_request_takes_effect_at_the_first_step_not_yet_launched(depth: int) -> None:
    class Stop:
        asks = ("stop",)

        @hookimpl
        def on_step_end(self, trainer: Any, state: TrainingState) -> None:
            if state.step == 2:
                trainer.control.request_stop("enough")

    played = told(Stop, per_epoch=10, depth=depth)
    assert played.state.step == 2 + depth
    assert len(only(played, "launch")) == 2 + depth
    assert played.stopped_by == "stop at step 2: enough"


def test_a_plugin_can_have_a_boundary_of_its_own() -> None:
    class Save:
        asks = ("checkpoint",)

        @hookimpl
        def is_boundary(self, step: int) -> bool:
            return step % 2 == 0

        @hookimpl
        def on_step_end(self, trainer: Any, state: TrainingState) -> None:
            if state.step % 2 == 0:
                trainer.control.request_checkpoint()

    # The epoch of 3 updates: the checkpoint at its end already stands at the start of the next one.
    assert only(told(Save, depth=2), "checkpoint") == ["checkpoint 2 0.2", "checkpoint 4 1.1", "checkpoint 6 2.0"]


def test_evaluation_by_steps() -> None:
    played = told(eval_strategy="steps", eval_steps=2)
    assert only(played, "evaluate") == ["evaluate 2 steps", "evaluate 4 steps", "evaluate 6 steps"]


def test_an_asked_for_evaluation_says_who_asked() -> None:
    class Ask:
        asks = ("evaluation",)

        @hookimpl
        def on_step_end(self, trainer: Any, state: TrainingState) -> None:
            if state.step == 1:
                trainer.control.request_evaluation("a look")

    assert only(told(Ask, eval_strategy="no"), "evaluate") == ["evaluate 1 ask at step 1: a look", "evaluate 6 final"]


def test_an_interrupt_writes_a_checkpoint_and_ends() -> None:
    played = told(interrupt_at=2)
    assert played.state.step == 2
    assert played.moves[-1] == "checkpoint 2 0.2"


def test_a_stopped_fit_does_not_train_on_when_resumed() -> None:
    class Stop:
        asks = ("stop", "checkpoint")

        @hookimpl
        def on_step_end(self, trainer: Any, state: TrainingState) -> None:
            trainer.control.request_stop("before")
            trainer.control.request_checkpoint()

    first = told(Stop)
    assert first.state.step == 1
    second = told(Stop, resume_from=first.checkpoints[-1])
    assert only(second, "launch", "epoch") == []
    assert second.stopped_by == "stop at step 1: before"


def test_a_resumed_epoch_is_not_started_again() -> None:
    second = told(resume_from=told(interrupt_at=1).checkpoints[-1])
    assert second.moves[0] == "launch 2"
    assert "epoch 1 starts" in second.moves


def test_the_loop_knows_no_mlx() -> None:
    script = "import sys, stepbus.kernel.engine; assert not [n for n in sys.modules if n.startswith('mlx')]"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
