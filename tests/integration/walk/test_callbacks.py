"""The walk: what the original's callbacks do, as plugins (lines 44 to 52 and 57 to 62)."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import create_trainer, hookimpl, open_trainer

OFF = {"progress": False}


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Shrinks:
    """Makes the rate nothing after the first epoch, so that no measure improves any more."""

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: Any) -> None:
        trainer.optimizer.learning_rate = 0.0


def stopped(world: Any, monitor: str | None = None, **settings: Any) -> Any:
    tree = world.tree(
        Path.cwd(),
        training={"num_epochs": 8, **({"monitor": monitor} if monitor else {})},
        plugins={**OFF, "early_stopping": settings},
        scheduler={"type": "constant"},
    )
    trainer = create_trainer(config=tree, plugins=[Shrinks()])
    return trainer, trainer.train()


# EarlyStopping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("monitor", ["eval_loss", "eval_accuracy", "accuracy", "val_loss"])
def test_line_044_any_metric(monitor: str, world: Any) -> None:
    _, result = stopped(world, monitor, patience=2)
    ours = {"accuracy": "eval_accuracy", "val_loss": "eval_loss"}.get(monitor, monitor)
    assert result.status == "stopped"
    assert result.reason.startswith("early_stopping at step ") and ours in result.reason
    assert result.best.metric == ours


def test_line_044_the_training_loss(world: Any) -> None:
    tree = world.tree(
        Path.cwd(),
        training={"num_epochs": 8},
        plugins={**OFF, "early_stopping": {"monitor": "train_loss", "patience": 1, "min_delta": 5.0}},
    )
    tree["plugins"]["early_stopping"]["restore_best"] = False
    result = create_trainer(config=tree).train()
    assert (result.status, result.steps) == ("stopped", 16)  # the first epoch is the best, the second no better
    assert "train_loss" in result.reason


def test_line_045_patience_and_min_delta(world: Any) -> None:
    # No change is as large as 5: the first evaluation stays the best, and patience counts from there.
    assert [stopped(world, patience=patience, min_delta=5.0)[1].steps for patience in (1, 3)] == [16, 32]


def test_line_046_restore_best_weights(world: Any) -> None:
    kept: dict[int, dict[str, np.ndarray]] = {}

    class Sees:
        @hookimpl
        def on_metrics(self, trainer: Any, state: Any) -> None:
            kept[state.step] = {name: np.array(array) for name, array in trainer.model.tensors().items()}
            trainer.optimizer.learning_rate = 0.2  # from here on it gets worse

    tree = world.tree(
        Path.cwd(), training={"num_epochs": 6}, plugins={**OFF, "early_stopping": {"patience": 1, "restore_best": True}}
    )
    trainer = create_trainer(config=tree, plugins=[Sees()])
    result = trainer.train()
    assert result.status == "stopped" and result.best.step < result.steps
    for name, array in trainer.model.tensors().items():
        np.testing.assert_array_equal(np.array(array), kept[result.best.step][name])
    assert result.metrics["eval_loss"] == result.best.value


# ModelCheckpoint -----------------------------------------------------------------------------------------------------


def written(world: Any, **settings: Any) -> tuple[Any, list[int]]:
    from stepbus.testing import Recorder

    recorder = Recorder()
    tree = world.tree(Path.cwd(), training={"num_epochs": 3}, plugins={**OFF, "checkpoint": settings})
    trainer = create_trainer(config=tree, plugins=[recorder])
    trainer.train()
    return trainer, [int(Path(each["checkpoint"]).name.removeprefix("step-")) for each in recorder.of("on_checkpoint")]


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"save_strategy": "epoch"}, {8, 16, 24}),
        ({"save_strategy": "steps", "save_steps": 10}, {10, 20, 24}),
    ],
)
def test_line_047_by_epochs_and_steps(settings: dict[str, Any], steps: set[int], world: Any) -> None:
    assert steps <= set(written(world, **settings)[1])


def test_line_047_by_the_best(world: Any) -> None:
    trainer, steps = written(world, save_strategy="best")
    losses = [each["eval_loss"] for each in trainer.result.history]
    best = [8 * (place + 1) for place, loss in enumerate(losses) if loss == min(losses[: place + 1])]
    assert [step for step in steps if step] == best


def test_line_048_old_ones_go(world: Any) -> None:
    trainer, steps = written(world, save_strategy="steps", save_steps=2, keep_last=2, keep_best=1)
    folders = list(Path(trainer.result.directory).rglob("step-*"))
    assert len(steps) > 10
    assert 1 <= len(folders) <= 3


def test_line_049_the_best_by_a_link(world: Any) -> None:
    trainer, _ = written(world, save_strategy="epoch")
    (link,) = [path for path in Path(trainer.result.directory).rglob("best") if path.is_symlink()]
    assert link.resolve().is_dir()
    opened = open_trainer(trainer.result.directory, "best")
    np.testing.assert_array_equal(
        opened.predict(world.frame("dev")), open_trainer(link.resolve()).predict(world.frame("dev"))
    )
    assert opened.evaluate(world.frame("dev"))["eval_loss"] == pytest.approx(trainer.result.best.value)


# LearningRateScheduler -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "last"), [("linear", 1 / 16), ("cosine", 0.0096), ("constant", 1.0), ("polynomial", 1 / 16)]
)
def test_line_050_051_each_schedule_step_by_step(kind: str, last: float, train_once: Any) -> None:
    done = train_once(scheduler={"type": kind, **({"power": 1.0} if kind == "polynomial" else {})})
    rates = [given["step"].learning_rate / 3e-3 for given in done.recorder.of("on_step_end")]
    assert len(rates) == 16
    assert (rates[0], rates[-1]) == (pytest.approx(1.0), pytest.approx(last, abs=1e-3))
    assert rates == sorted(rates, reverse=True)


def test_line_052_the_rate_is_logged(done: Any) -> None:
    steps = {given["state"].step: given["step"].learning_rate for given in done.recorder.of("on_step_end")}
    records = done.recorder.records
    assert [record["step"] for record in records] == [3, 6, 9, 12, 15, 16]
    assert [record["learning_rate"] for record in records] == [steps[record["step"]] for record in records]


# ProgressBar and MetricsLogger ---------------------------------------------------------------------------------------


def test_line_057_058_059_progress(world: Any, capfd: pytest.CaptureFixture[str]) -> None:
    tree = world.tree(Path.cwd(), plugins={"progress": {}}, training={"log_steps": 4})
    create_trainer(config=tree).train()
    shown = "".join(capfd.readouterr())
    assert re.search(r"loss 0\.\d+", shown) and "eval_accuracy" in shown.replace("accuracy", "eval_accuracy")
    assert re.search(r"[\d,.]+ (sequences|seq)\S*/s", shown), shown
    assert re.search(r"\d+:\d\d left", shown), shown


def test_line_060_061_062_history_and_export(done: Any) -> None:
    (lines,) = done.folder.rglob("history.jsonl")
    (table,) = done.folder.rglob("history.csv")
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [each["kind"] for each in records].count("evaluation") == 2
    logged = [each for each in records if each["kind"] == "log"]
    assert [each["loss"] for each in logged] == [record["loss"] for record in done.recorder.records]
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows if row["kind"] == "log"] == [repr(each["loss"]) for each in logged]
