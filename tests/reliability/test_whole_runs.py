"""Whole runs of a tiny model: two into one folder, and one that is killed between any two file operations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("run_points.py")


@pytest.fixture
def run_script(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that runs the script in a process that has not used MLX, and returns its lines."""

    def run(*words: object, **sections: Any) -> list[dict[str, Any]]:
        config = tmp_path / "config.json"
        config.write_text(json.dumps(tiny_config(**sections)))
        folder = tmp_path / "runs"
        folder.mkdir()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-W", "error", str(SCRIPT), *map(str, words), str(config), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


NO_SAVES: dict[str, Any] = {"progress": False, "checkpoint": {"save_strategy": "no"}}


@pytest.mark.parametrize("count", [6, pytest.param(200, marks=pytest.mark.full)])
def test_two_runs_never_lie_in_one_folder(count: int, run_script: Callable[..., list[dict[str, Any]]]) -> None:
    results = run_script("pairs", count, 20240607, training={"max_steps": 1}, plugins=NO_SAVES)
    assert len(results) == count
    for result in results:
        assert sorted(result["went"]) == ["run", "run-2"], result
        assert result["folders"] == ["run", "run-2"], result
        assert result["own"], result


@pytest.mark.parametrize(
    ("scenario", "first", "every"),
    [
        ("fresh", 3, 83),
        ("resumed", 2, 31),  # the model is written over one that is there
        pytest.param("fresh", 1, 1, marks=pytest.mark.full),
        pytest.param("resumed", 1, 1, marks=pytest.mark.full),
    ],
)
def test_a_kill_leaves_nothing_that_the_next_run_does_not_sweep_or_use(
    scenario: str, first: int, every: int, run_script: Callable[..., list[dict[str, Any]]]
) -> None:
    plugins = NO_SAVES if scenario == "resumed" else {"progress": False}
    results = run_script("kills", scenario, first, every, training={"max_steps": 1, "num_epochs": 1}, plugins=plugins)
    assert [result["killed"] for result in results] == [True] * (len(results) - 1) + [False]
    assert len(results) * every > (100 if scenario == "resumed" else 300)
    for result in results:
        assert result["siblings"] == ["run"], result
        assert result["left"] == [], result
        assert result["same"], result
    begun = [result["begun"] for result in results]
    assert begun == sorted(begun)
    assert begun[0] == (scenario == "resumed")
