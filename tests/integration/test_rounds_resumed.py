"""Two rounds, the second with rows, weights and settings that follow from the first: cut, resumed, changed between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus import CheckpointError, create_trainer, hookimpl

ROUNDS = Path(__file__).parents[1] / "fixtures" / "rounds.py"


class Falls:
    """Ends the run at an update."""

    scope = "run"
    affects_result = False

    def __init__(self, at: int = 0) -> None:
        self.done, self.at = 0, at

    @hookimpl
    def on_step_end(self) -> None:
        self.done += 1
        if self.done == self.at:
            raise KeyboardInterrupt


@pytest.fixture
def make(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that makes a configuration of 11 updates, and then 16."""

    def tree(run: str = "run", **settings: Any) -> dict[str, Any]:
        if not (tmp_path / "test.csv").exists():
            (tmp_path / "test.csv").write_text((tmp_path / "dev.csv").read_text().replace("label", "unused"))
        saves = {"save_strategy": "steps", "save_steps": 4}
        plugins = {"progress": False, "checkpoint": saves, "rounds": {"use": f"{ROUNDS}:Rounds", **settings}}
        return tiny_config(
            plugins=plugins,
            data={"test": str(tmp_path / "test.csv")},
            training={"num_epochs": 1},
            environment={"output_dir": str(tmp_path / run)},
        )

    return tree


def train(tree: dict[str, Any], falls_at: int = 0, **options: Any) -> Any:
    return create_trainer(config=tree, plugins=[Falls(falls_at)]).train(**options)


def bits(run: Path) -> dict[str, bytes]:
    """Return the weights and the predictions of both rounds."""
    fits, names = (
        ("round-1", "round-2"),
        ("predictions.npz", "rows.npz", "model/model.safetensors", "model/lineage.npz"),
    )
    return {f"{fit}/{name}": (run / "fits" / fit / name).read_bytes() for fit in fits for name in names}


@pytest.fixture
def whole(make: Callable[..., dict[str, Any]], tmp_path: Path) -> dict[str, bytes]:
    train(make("whole"))
    return bits(tmp_path / "whole")


def test_a_kill_in_the_second_round(
    make: Callable[..., dict[str, Any]], whole: dict[str, bytes], tmp_path: Path
) -> None:
    for at in (12, 18, 27):  # before its first checkpoint, after one, at its last update
        run = f"at-{at}"
        with pytest.raises(KeyboardInterrupt):
            train(make(run), at)
        train(make(run), resume=True)
        assert bits(tmp_path / run) == whole


def test_the_first_round_is_done_again_to_the_same_bits(
    make: Callable[..., dict[str, Any]], whole: dict[str, bytes], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(make(), 18)
    shutil.rmtree(tmp_path / "run" / "fits" / "round-1")
    train(make(), resume=True)
    assert bits(tmp_path / "run") == whole
    shutil.rmtree(tmp_path / "run" / "fits" / "round-1")
    train(make(), resume=True)  # the second one is done, and what it took over is what it was
    assert bits(tmp_path / "run") == whole


@pytest.mark.parametrize("done", [False, True])
def test_another_first_round_is_not_taken_for_the_one_before(
    done: bool, make: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    if done:
        train(make())
    else:
        with pytest.raises(KeyboardInterrupt):
            train(make(), 18)
    train(make("other"), falls_at=0)
    run = tmp_path / "run"
    said = json.loads((run / "fits" / "round-2" / "fit.json").read_text())
    assert said["needs"].keys() == {"round-1"}
    shutil.rmtree(run / "fits" / "round-1")
    tree = make()
    tree["optimizer"] = {"learning_rate": 1e-2}  # so that round 1 comes out otherwise
    with pytest.raises(CheckpointError, match=r"round-2: round-2 was begun with another result of round-1 than there"):
        train(tree, resume=True, allow_changed=True)
    assert not (run / "fits" / "round-2" / "model").exists() or done
    shutil.rmtree(run / "fits" / "round-2")
    assert train(tree, resume=True, allow_changed=True).status == "ok"


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "dev.csv"])
@pytest.mark.parametrize("done", [False, True])
def test_changed_rows_are_refused_by_name(
    done: bool, name: str, make: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    if done:
        train(make())
    else:
        with pytest.raises(KeyboardInterrupt):
            train(make(), 18)
    lines = (tmp_path / name).read_text().splitlines()
    (tmp_path / name).write_text("\n".join([*lines[:6], f"good {lines[6]}", *lines[7:]]) + "\n")
    with pytest.raises(CheckpointError, match=rf"(?s)other rows.*round-1: {tmp_path}/{name}:7 is another row than bef"):
        train(make(), resume=True)


def test_another_setting_of_the_second_round(make: Callable[..., dict[str, Any]]) -> None:
    train(make())
    with pytest.raises(CheckpointError, match=r"round-2: overrides.optimizer.learning_rate was 0.001, is 0.1"):
        train(make(learning_rate=0.1), resume=True)
