"""The loop over scripted steps: order, boundaries, requests and pipelining, without MLX."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stepbus import DataError, TrainingState, hookimpl
from stepbus.storage.checkpoints import step_of
from stepbus.testing import Played, play
from stepbus.testing.scripted_data import ScriptedData


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
    def on_checkpoint(self, trainer: Any, state: TrainingState, checkpoint: Path) -> None:
        trainer.run.builder.heard.moves.append(f"checkpoint {step_of(checkpoint.name)} told at {state.step}")


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

    played = told(Save, depth=2)
    # Each is told at the next boundary: the epochs end after 3 and 6 updates, and the fit with the second.
    assert only(played, "checkpoint") == ["checkpoint 2 told at 3", "checkpoint 4 told at 6", "checkpoint 6 told at 6"]
    # The checkpoint at the end of an epoch already stands at the start of the next one.
    stood = [(kept.state["epoch"], kept.state["step_in_epoch"]) for kept in played.checkpoints]
    assert stood == [(0, 2), (1, 1), (2, 0)]


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
    assert played.moves[-1] == "checkpoint 2 told at 2"
    assert played.checkpoints[-1].state["step_in_epoch"] == 2


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


def test_an_epoch_without_batches_is_an_error_and_no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def used_up(data: Any, epoch: int, start: int) -> Iterator[Iterator[int]]:
        yield iter(range(5) if epoch == 0 else ())

    monkeypatch.setattr(ScriptedData, "windows", used_up)
    with pytest.raises(DataError, match=r"^epoch 2: expected at least one batch to train on, got none"):
        play(epochs=3)


def test_an_evaluation_that_has_no_rows_is_said_and_delays_nothing() -> None:
    class Asks:
        asks = ("evaluation",)

        @hookimpl
        def on_step_end(self, trainer: Any, state: TrainingState) -> None:
            if state.step == 1:
                trainer.control.request_evaluation("look")

    played = play(Asks(), pipeline_depth=2)
    assert played.messages == ["there are no rows to evaluate, as was asked by asks at step 1: look"]
    assert played.moves[:8] == [
        "launch 1",
        "launch 2",
        "launch 3",
        "read 1",
        "read 2",
        "read 3",
        "launch 4",
        "launch 5",
    ]


class Means:
    """Keeps what is known of the training loss when an epoch or an evaluation ends."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, float | None]] = []

    @hookimpl
    def on_metrics(self, state: TrainingState, metrics: dict[str, float]) -> None:
        self.seen.append(("metrics", state.step, metrics["train_loss"]))

    @hookimpl
    def on_epoch_end(self, state: TrainingState) -> None:
        self.seen.append(("epoch", state.step, state.metrics.get("train_loss")))


def test_the_mean_loss_of_the_epoch_is_known_before_anybody_decides() -> None:
    means = Means()
    played = play(means, losses=[4.0, 2.0, 1.0, 5.0], steps_per_epoch=2, epochs=2, metrics=[{"eval_loss": 0.5}])
    assert means.seen == [("metrics", 2, 3.0), ("epoch", 2, 3.0), ("metrics", 4, 3.0), ("epoch", 4, 3.0)]
    assert [record["train_loss"] for record in played.state.history] == [3.0, 3.0]
    assert played.state.metrics["train_loss"] == 3.0


def test_the_mean_loss_is_known_without_anything_to_evaluate() -> None:
    means = Means()
    played = play(means, losses=[4.0, 2.0, 1.0, 7.0], steps_per_epoch=2, epochs=2)
    assert means.seen == [("epoch", 2, 3.0), ("epoch", 4, 4.0)]
    assert (played.trainer.directions["train_loss"], played.state.metrics["train_loss"]) == (False, 4.0)


def test_within_an_epoch_the_mean_is_that_of_its_updates_so_far() -> None:
    means = Means()
    by_steps = {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 4, "metrics": [{"eval_loss": 0.5}]}
    played = play(means, losses=[4.0, 2.0, 9.0, 1.0], steps_per_epoch=3, epochs=2, **by_steps)
    assert means.seen == [("metrics", 2, 3.0), ("epoch", 3, 5.0), ("metrics", 4, 1.0)]
    assert played.state.metrics["train_loss"] == 1.0
