"""Checkpoints that a thread writes while training goes on: the same files, told later, and no error or signal lost."""

from __future__ import annotations

import errno
import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import CheckpointError, PluginFailure, create_trainer, hookimpl, mx
from stepbus.fit.checkpointing import disk
from stepbus.storage.checkpoints import scan, step_of, verify, writing

Tree = Callable[..., dict[str, Any]]
SAVES = {"save_strategy": "steps", "save_steps": 4, "keep_last": 9, "keep_whole": True}


class Slow:
    """Let the writing of one checkpoint last until it is let go, or until somebody waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.step, self.begun, self.go, self.threads = step, threading.Event(), threading.Event(), list[str]()
        write, wait = disk.Taken.write, disk.checkpoints.Writer.wait

        def slowly(taken: disk.Taken) -> Path:
            self.threads.append(threading.current_thread().name)
            if taken.snapshot.step == self.step:
                self.begun.set()
                assert self.go.wait(60)
            return write(taken)

        def waiting(writer: Any, **options: Any) -> None:
            if self.begun.is_set():
                self.go.set()
            wait(writer, **options)

        monkeypatch.setattr(disk.Taken, "write", slowly)
        monkeypatch.setattr(disk.checkpoints.Writer, "wait", waiting)


class Hears:
    """Write down what is told, and do something at steps."""

    affects_result = False
    scope = "run"

    def __init__(self, **at: Callable[[Any], Any]) -> None:
        self.at = {int(name.removeprefix("step_")): work for name, work in at.items()}
        self.told: list[tuple[int, int]] = []
        self.steps: list[int] = []
        self.order: list[str] = []

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        self.steps.append(state.step)
        if state.step in self.at:
            self.at[state.step](trainer)

    @hookimpl
    def on_checkpoint(self, state: Any, checkpoint: Path) -> None:
        assert verify(checkpoint).step <= state.step
        self.told.append((step_of(checkpoint.name) or 0, state.step))
        self.order.append("on_checkpoint")

    @hookimpl
    def on_fit_end(self) -> None:
        self.order.append("on_fit_end")


def run(tiny_config: Tree, folder: Path, *plugins: Any, **sections: Any) -> Any:
    tree = tiny_config(
        **{"plugins": {"progress": False, "checkpoint": SAVES}, "environment": {"output_dir": str(folder)}, **sections}
    )
    return create_trainer(config=tree, plugins=list(plugins))


def steps_in(folder: Path, fit: str = "fit") -> list[int]:
    return [step_of(path.name) or 0 for path in scan(folder / "fits" / fit / "checkpoints")]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of all checkpoints, but for the manifests, which name the run."""
    inside = folder / "fits" / "fit" / "checkpoints"
    return {
        str(path.relative_to(inside)): path.read_bytes()
        for path in sorted(inside.glob("step-*/*"))
        if path.name != "manifest.json"
    }


def timeless(value: Any) -> Any:
    """Return a JSON value without what is measured by the clock."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if not re.search(r"seconds?$", key)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


class Grows:
    """Keep an array that is changed in place, as a plugin may, and a list of lists."""

    def __init__(self) -> None:
        self.sums, self.nested = np.zeros(3), [[0]]

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.sums += state.step
        self.nested[0][0] += 1

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "nested": self.nested}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.sums, self.nested = saved["sums"], saved["nested"]


def test_training_goes_on_and_the_files_are_those_of_the_moment(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is written while eleven updates are made; all files are equal to those that training waits for."""
    ema = {"progress": False, "checkpoint": SAVES, "ema": {"decay": 0.9}, "early_stopping": {"patience": 5}}
    with monkeypatch.context() as patch:
        patch.setattr(disk, "free_memory", lambda: 0)
        waits = Hears()
        run(tiny_config, tmp_path / "waits", waits, Grows(), plugins=ema).train()
    slow = Slow(monkeypatch, step=8)
    hears = Hears(step_11=lambda trainer: slow.begun.wait(60))
    run(tiny_config, tmp_path / "beside", hears, Grows(), plugins=ema).train()
    assert slow.threads == ["MainThread", *["stepbus-checkpoint"] * 7]  # the first one tries the disk
    # The boundary of update 11, the end of an epoch, comes while it is written: its own checkpoint is waited for.
    assert (8, 11) in hears.told
    assert [step for step, _ in hears.told] == [step for step, _ in waits.told] == [4, 8, 11, 12, 16, 20, 22]
    found, expected = contents(tmp_path / "beside"), contents(tmp_path / "waits")
    assert found.keys() == expected.keys() and len(found) > 40
    for name, content in expected.items():
        if name.endswith("state.json"):  # plugins remember records, which hold seconds
            assert timeless(json.loads(found[name])) == timeless(json.loads(content)), name
        else:
            assert found[name] == content, name


def test_training_has_the_memory_of_what_is_in_a_file_before_the_checkpoint_is_durable(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The update after a snapshot makes its weights where those of the snapshot lay, as any other update does."""
    in_files, go, active = threading.Event(), threading.Event(), dict[int, int]()
    start, sync = disk.checkpoints.Writer.start, writing.fsync_folder

    def syncs(path: Path) -> None:
        if path.name.startswith(".tmp-4-") and not in_files.is_set():
            in_files.set()
            assert go.wait(60)
        sync(path)

    def starts(writer: Any, write: Callable[[], Path], **options: Any) -> None:
        start(writer, write, **options)
        if write.__self__.snapshot.step == 4:  # type: ignore[attr-defined]
            assert in_files.wait(60)

    def looks(trainer: Any) -> None:
        mx.synchronize()
        active[trainer.state.step] = mx.get_active_memory()
        if trainer.state.step == 5:
            assert not go.is_set()
            go.set()

    monkeypatch.setattr(writing, "fsync_folder", syncs)
    monkeypatch.setattr(disk.checkpoints.Writer, "start", starts)
    trainer = run(tiny_config, tmp_path / "run", Hears(step_3=looks, step_5=looks))
    trainer.train()
    weights = sum(array.nbytes for _, array in tree_flatten(trainer.model.parameters()))
    assert abs(active[5] - active[3]) < 0.1 * weights  # batches differ; kept, it would be three times the weights


def test_nobody_waits_before_the_next_one(tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, step=4)
    plugins = {"progress": False, "checkpoint": {**SAVES, "save_steps": 4}}
    hears = Hears(step_7=lambda trainer: hears.told.append((-1, len(scan(trainer.directory / "checkpoints")))))
    trainer = run(tiny_config, tmp_path / "run", hears, plugins=plugins, training={"eval_strategy": "no"})
    trainer.train()
    assert slow.begun.is_set()
    assert hears.told[:2] == [(-1, 0), (4, 8)]  # updates 5 to 7 were done while it was written


def test_a_disk_that_is_full_ends_the_run_within_a_step_and_older_checkpoints_stand(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.open

    def full(path: Any, *options: Any, **more: Any) -> int:
        if ".tmp-12-" in str(path) and options[0] & os.O_CREAT:
            failed.set()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, *options, **more)

    failed = threading.Event()

    def look(trainer: Any) -> None:
        assert failed.wait(60)
        while not trainer.disk.failed:
            pass

    hears = Hears(step_13=look)
    monkeypatch.setattr(os, "open", full)
    trainer = run(tiny_config, tmp_path / "run", hears)
    with pytest.raises(CheckpointError, match=r"cannot write the checkpoint of step 12: No space left on device .*MB"):
        trainer.train()
    assert hears.steps[-1] == 13  # no checkpoint is due there, and no evaluation
    assert steps_in(tmp_path / "run") == [4, 8, 11]
    assert sorted(path.name for path in (tmp_path / "run" / "fits" / "fit" / "checkpoints").iterdir()) == [
        "BEST", "LATEST", "best", "step-00000004", "step-00000008", "step-00000011",
    ]  # fmt: skip
    monkeypatch.undo()
    whole = run(tiny_config, tmp_path / "whole", Hears()).train()
    resumed = run(tiny_config, tmp_path / "run", Hears()).train(resume=True)
    assert (resumed.metrics, resumed.history) == (whole.metrics, whole.history)


def test_a_plugin_that_fails_meanwhile_is_the_error_and_the_checkpoint_is_told(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, step=8)

    def fails(trainer: Any) -> None:
        assert slow.begun.wait(60)
        raise ZeroDivisionError("mine")

    hears = Hears(step_9=fails)
    with pytest.raises(PluginFailure, match="mine"):
        run(tiny_config, tmp_path / "run", hears).train()
    assert hears.told == [(4, 8), (8, 9)]
    assert hears.order == ["on_checkpoint", "on_checkpoint", "on_fit_end"]
    assert steps_in(tmp_path / "run") == [4, 8]


def test_of_two_errors_the_first_is_raised_and_the_other_noted(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, step=8)
    write = disk.checkpoints.write_checkpoint

    def refused(folder: Path, snapshot: Any) -> Any:
        if snapshot.step == 8:
            raise CheckpointError("refused: step 8")
        return write(folder, snapshot)

    monkeypatch.setattr(disk.checkpoints, "write_checkpoint", refused)

    def fails(trainer: Any) -> None:
        assert slow.begun.wait(60)
        raise ZeroDivisionError("mine")

    with pytest.raises(PluginFailure, match="mine") as raised:
        run(tiny_config, tmp_path / "run", Hears(step_9=fails)).train()
    assert "refused: step 8" in raised.value.__notes__


@pytest.mark.parametrize("step", [5, 7])
def test_saved_and_loaded_by_a_hook_meanwhile(
    step: int, tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads or writes checkpoints waits for the one that is being written."""
    slow, found = Slow(monkeypatch, step=4), dict[str, Any]()

    def saves(trainer: Any) -> None:
        assert slow.begun.wait(60)
        assert not slow.go.is_set()
        found["saved"] = trainer.save_checkpoint(tmp_path / "mine")
        found["there"] = steps_in(tmp_path / "run")

    hears = Hears(**{f"step_{step}": saves})
    run(tiny_config, tmp_path / "run", hears).train()
    assert found["there"] == [4]
    assert verify(found["saved"]).step == step
    assert hears.told[:2] == [(4, 8), (8, 11)]  # told at a boundary, and once


def test_a_hook_goes_back_to_the_one_that_is_being_written(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, step=4)

    class GoesBack(Hears):
        affects_result = True
        scope = "fit"

    def back(trainer: Any) -> None:
        if not slow.go.is_set():
            assert slow.begun.wait(60)
            trainer.load_checkpoint(trainer.directory / "checkpoints" / "step-00000004")

    hears = GoesBack(step_6=back)
    run(tiny_config, tmp_path / "run", hears, training={"num_epochs": 1}).train()
    assert hears.steps[:8] == [1, 2, 3, 4, 5, 6, 5, 6]


def test_a_failure_that_a_hook_swallowed_still_ends_the_run(
    tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path, snapshot: Any) -> Any:
        raise CheckpointError(f"refused: step {snapshot.step}")

    def saves(trainer: Any) -> None:
        monkeypatch.setattr(disk.checkpoints, "write_checkpoint", write)
        trainer.save_checkpoint(tmp_path / "mine")

    write = disk.checkpoints.write_checkpoint
    hears = Hears(
        step_1=lambda trainer: monkeypatch.setattr(disk.checkpoints, "write_checkpoint", refused), step_5=saves
    )
    with pytest.raises(CheckpointError, match=r"^refused: step 4$"):
        run(tiny_config, tmp_path / "run", hears).train()


@pytest.mark.parametrize("folds", [False, True])
def test_where_memory_is_tight_training_waits_and_says_so_once(
    folds: bool, tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Listens:
        affects_result = False
        scope = "run"

        @hookimpl
        def on_message(self, text: str) -> None:
            said.append(text)

    slow = Slow(monkeypatch, step=-1)
    monkeypatch.setattr(disk, "free_memory", lambda: 7_000_000)
    monkeypatch.setattr(disk.checkpoints.Snapshot, "size", 4_000_000)
    sections: dict[str, Any] = {"plugins": {"progress": False, "checkpoint": {**SAVES, "keep_finished": True}}}
    if folds:
        sections["plugins"]["cross_validation"] = {"folds": 2}
        sections |= {"data": {"validation": None}, "training": {"num_epochs": 1}}
    run(tiny_config, tmp_path / "run", Listens(), **sections).train()
    assert set(slow.threads) == {"MainThread"}
    assert [text for text in said if "memory" in text] == [
        "training waits while a checkpoint is written, because memory is tight: keeping weights and optimizer twice "
        "takes 4 MB, and 7 MB are free"
    ]


def test_folds_wait_for_theirs(tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, step=6)  # the last one of each fold
    plugins = {"progress": False, "checkpoint": {**SAVES, "keep_finished": True}, "cross_validation": {"folds": 2}}
    hears = Hears()
    run(
        tiny_config, tmp_path / "run", hears,
        plugins=plugins, data={"validation": None}, training={"num_epochs": 1},
    ).train()  # fmt: skip
    assert slow.begun.is_set()
    assert hears.order == ["on_checkpoint", "on_checkpoint", "on_fit_end"] * 2
    assert not [thread for thread in threading.enumerate() if thread.name == "stepbus-checkpoint"]
