"""A run that is cut at any boundary and resumed ends with the same bits as one that was not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from stepbus import create_trainer

EVERY_STEP = {"save_strategy": "steps", "save_steps": 1, "keep_last": 100}
PLATEAU = {"type": "reduce_on_plateau", "patience": 1, "monitor": "eval_loss", "factor": 0.5}
BASE = {"progress": False, "checkpoint": EVERY_STEP}

# The best evaluation is an early one, and two more come after it.
STALLS: dict[str, Any] = {
    "training": {"eval_strategy": "steps", "eval_steps": 2, "max_steps": 14, "monitor": "eval_loss",
                 "greater_is_better": None},
    "optimizer": {"learning_rate": 5e-2},
    "scheduler": {"type": "constant"},
}  # fmt: skip

CASES: dict[str, dict[str, Any]] = {
    "dropout": {},
    "accumulation": {"training": {"gradient_accumulation_steps": 3, "num_epochs": 3}},
    "early_stopping": {
        "plugins": {**BASE, "early_stopping": {"patience": 2}},
        "training": {"eval_strategy": "steps", "eval_steps": 2, "num_epochs": 3},
        "optimizer": {"learning_rate": 3e-2},
    },
    "ema": {
        "plugins": {**BASE, "early_stopping": {"patience": 2}, "ema": {"decay": 0.8, "from_step": 1}},
        **STALLS,
    },
    "ema_ahead_of_the_host": {
        "plugins": {**BASE, "early_stopping": {"patience": 2}, "ema": {"decay": 0.8}},
        **STALLS,
        "training": {**STALLS["training"], "pipeline_depth": 1},
    },
    "swa": {"plugins": {**BASE, "swa": {"from_step": 2, "every": 2}}, "training": {"max_steps": 7}},
    "schedule_free": {
        "plugins": {**BASE, "early_stopping": {"patience": 2}},
        **STALLS,
        "optimizer": {"type": "schedule_free", "learning_rate": 5e-2},
        "scheduler": {"type": "constant", "warmup_steps": 2},
        "training": {**STALLS["training"], "pipeline_depth": 1},
    },
    "plateau": {"scheduler": PLATEAU, "training": {"eval_strategy": "steps", "eval_steps": 2}},
    "bfloat16": {"training": {"precision": "bfloat16", "max_steps": 8}},
    "last_batch_partial": {"data": {"batch_size": 5}, "training": {"num_epochs": 2, "log_steps": 4}},
}


def config(
    name: str, tiny_config: Callable[..., dict[str, Any]], output: Path, *, saves: bool = True
) -> dict[str, Any]:
    sections = {"plugins": BASE, **CASES[name]}
    tree = tiny_config(**sections)
    tree["environment"] = {"output_dir": str(output)}
    if not saves:  # a resume may change when checkpoints are written, and without them the test is quick
        tree["plugins"] = {**tree["plugins"], "checkpoint": {"save_strategy": "no"}}
    return tree


def outcome(directory: Path) -> tuple[dict[str, np.ndarray], list[dict[str, Any]], dict[str, Any]]:
    """Return what a run left: weights, the log without the clock, and the result."""
    weights = load_file(directory / "model" / "model.safetensors")
    log = [json.loads(line) for line in (directory / "fits" / "fit" / "history.jsonl").read_text().splitlines()]
    for record in log:
        record.pop("timing", None)
    result = json.loads((directory / "fits" / "fit" / "result.json").read_text())
    return weights, log, {key: result[key] for key in ("metrics", "steps", "best", "history", "status")}


def assert_same(one: Path, other: Path) -> None:
    weights, log, result = outcome(one)
    weights_2, log_2, result_2 = outcome(other)
    assert weights.keys() == weights_2.keys()
    for name in weights:
        assert weights[name].tobytes() == weights_2[name].tobytes(), name
    assert log == log_2
    assert result == result_2


def cut(whole: Path, step: int, into: Path) -> None:
    """Copy a run as it was when the checkpoint of one step had just become durable."""
    shutil.copytree(whole, into)
    shutil.rmtree(into / "fits" / "fit" / "model")
    (into / "fits" / "fit" / "result.json").unlink()
    (into / "fits" / "fit" / "predictions.npz").unlink()
    for folder in (into / "fits" / "fit" / "checkpoints").glob("step-*"):
        if int(folder.name.removeprefix("step-")) > step:
            shutil.rmtree(folder)


def boundaries(directory: Path) -> list[int]:
    return sorted(
        int(folder.name.removeprefix("step-")) for folder in (directory / "fits" / "fit" / "checkpoints").glob("step-*")
    )


@pytest.mark.parametrize("name", CASES)
def test_resume_at_every_boundary(name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    create_trainer(config=config(name, tiny_config, whole)).train()
    steps = boundaries(whole)
    assert steps == list(range(steps[-1] + 1))
    assert steps[-1] >= 5
    for step in steps:
        resumed = tmp_path / f"cut-{step}"
        cut(whole, step, resumed)
        create_trainer(config=config(name, tiny_config, resumed, saves=False)).train(resume=True)
        assert_same(whole, resumed)
        shutil.rmtree(resumed)


@pytest.mark.parametrize("name", ["ema", "ema_ahead_of_the_host", "schedule_free"])
def test_averages_are_cut_before_at_and_after_their_best(
    name: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    """The fits above stop early, and what they export scores what the best evaluation scored."""
    create_trainer(config=config(name, tiny_config, tmp_path / "whole")).train()
    weights, _, result = outcome(tmp_path / "whole")
    best = result["best"]
    assert result["status"] == "stopped"
    assert 2 <= best["step"] < result["steps"]
    assert result["metrics"]["eval_loss"] == best["value"]
    checkpoint = tmp_path / "whole" / "fits" / "fit" / "checkpoints" / f"step-{best['step']:08d}"
    kept = load_file(checkpoint / "averaged.safetensors")
    assert all(weights[key].tobytes() == kept[key].tobytes() for key in weights)
    training = load_file(checkpoint / "model.safetensors")
    assert any(weights[key].tobytes() != training[key].tobytes() for key in weights)


def test_resuming_again_and_again(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    create_trainer(config=config("dropout", tiny_config, whole)).train()
    cut(whole, 3, resumed)
    for step in (7, 11, 12, 20):
        create_trainer(config=config("dropout", tiny_config, resumed)).train(resume=True)
        assert_same(whole, resumed)
        again = tmp_path / f"again-{step}"
        cut(resumed, step, again)
        resumed = again


@pytest.mark.parametrize("part", ["optimizer.safetensors", "state", "plugins", "control"])
def test_a_checkpoint_without_one_part_does_not_resume_exactly(
    part: str, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative controls: the comparison above can fail."""
    from stepbus.fit import persistence

    name = "early_stopping" if part in ("plugins", "control") else "dropout"
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    create_trainer(config=config(name, tiny_config, whole)).train()
    steps = boundaries(whole)
    cut(whole, steps[-1] if part == "control" else steps[-3], resumed)  # in the middle of a log interval
    load, read = persistence.load, persistence.checkpoints.read_document

    def forgetful(checkpoint: Any, document: str) -> Any:
        saved = read(checkpoint, document)
        if part == "state":
            saved["state"]["interval"] = {}
        elif part == "control" and part in saved:
            saved[part] = {kind: [] for kind in saved[part]}
        elif part in saved:
            saved[part] = {}
        return saved

    monkeypatch.setattr(persistence.checkpoints, "read_document", forgetful)
    if part == "optimizer.safetensors":
        monkeypatch.setattr(persistence, "load", lambda trainer, path: load(trainer, path, optimizer=False))
    try:
        create_trainer(config=config(name, tiny_config, resumed)).train(resume=True)
    except Exception:
        return  # it noticed by itself, which is as good
    with pytest.raises(AssertionError):
        assert_same(whole, resumed)
