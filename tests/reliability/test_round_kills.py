"""A plan of two rounds, with overrides, predecessors and filled rows: killed, and resumed to the same bytes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("round_points.py")
ROUNDS = Path(__file__).parents[1] / "fixtures" / "rounds.py"


@pytest.fixture
def killed(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that kills a run of rounds at some moments, each time resumed, and says what came out."""

    def run(*moments: tuple[str, str, int], folds: bool = False) -> dict[str, Any]:
        (tmp_path / "test.csv").write_text((tmp_path / "dev.csv").read_text().replace("label", "unused"))
        plugins: dict[str, Any] = {
            "progress": False,
            "checkpoint": {"save_strategy": "steps", "save_steps": 4},
            "rounds": {"use": f"{ROUNDS}:Rounds", "confidence": 0.5},
        }
        data: dict[str, Any] = {"test": str(tmp_path / "test.csv")}
        if folds:
            plugins["cross_validation"] = {"folds": 2}
            data["validation"] = None
        config = tmp_path / "config.json"
        config.write_text(json.dumps(tiny_config(plugins=plugins, data=data, training={"num_epochs": 1})))
        words = [str(word) for moment in moments for word in moment]
        (tmp_path / "runs").mkdir()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-W", "error", str(SCRIPT), str(config), str(tmp_path / "runs"), *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert found["codes"] == [-signal.SIGKILL] * len(moments)
        assert found["last"] == 0
        return found

    return run


def test_killed_in_round_two_it_resumes_to_the_same_bytes(killed: Callable[..., dict[str, Any]]) -> None:
    found = killed(
        ("round-1", "on_step_end", 6),
        ("round-1", "on_fit_end", 11),
        ("round-2", "on_fit_start", 0),
        ("round-2", "on_step_end", 3),  # before its first checkpoint that holds an update
        ("round-2", "on_checkpoint", 8),
        ("round-2", "on_step_end", 11),
        ("", "on_run_end", 0),
    )
    assert found["killed"] == found["whole"]
    assert sorted(name for name in found["whole"] if name.endswith(".safetensors")) == [
        "fits/round-1/model/model.safetensors",
        "fits/round-2/model/model.safetensors",
    ]
    assert json.loads(found["whole"]["result"])["rows"] == {"round-1": 44, "round-2": 64}


def test_rounds_of_folds_too(killed: Callable[..., dict[str, Any]]) -> None:
    found = killed(
        ("round-1-fold-2", "on_step_end", 2),
        ("round-2-fold-1", "on_step_end", 5),
        ("round-2-fold-2", "on_checkpoint", 8),
        folds=True,
    )
    assert found["killed"] == found["whole"]
    rows = json.loads(found["whole"]["result"])["rows"]
    assert rows == {f"round-{number}-fold-{fold}": 22 + 20 * (number - 1) for fold in (1, 2) for number in (1, 2)}
