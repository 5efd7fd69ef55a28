"""`stepbus plan` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml


def plan(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stepbus.cli", "plan", *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def config(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tiny_config(), sort_keys=False))
    return path


def test_a_good_plan(config: Path, tmp_path: Path) -> None:
    found = plan(config, folder=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert "on_step_end" in found.stdout
    assert "22 = 2 x 11" in found.stdout
    assert found.stdout.endswith("No problem was found.\n")
    assert not (tmp_path / "run").exists()


def test_json_stays_json_whatever_a_plugin_prints(config: Path, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "from stepbus import hookimpl\nprint('imported')\n\n\n@hookimpl\ndef validate_plan(plan): print('asked')\n"
    )
    with config.open("a") as file:
        file.write("hooks: [./loud.py]\n")
    found = plan(config, "--json", folder=tmp_path)
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["fits"][0]["steps"] == 22
    assert found.stderr.split() == ["imported", "asked"]


def test_problems_have_file_and_line_and_exit_code_2(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace("log_steps: 3", "log_steps: 3\n  monitor: eval_los"))
    with config.open("a") as file:
        file.write("scheduler:\n  warmup_steps: 22\n")
    written = config.read_text().splitlines()
    found = plan(config, folder=tmp_path)
    assert found.returncode == 2
    warmup, monitor = written.index("  warmup_steps: 22") + 1, written.index("  monitor: eval_los") + 1
    assert found.stdout.splitlines()[-3:] == [
        "2 PROBLEMS",
        f"{config}:{warmup}: scheduler.warmup_steps: expected a warm-up shorter than the run of 22 updates, got 22",
        f"{config}:{monitor}: training.monitor: expected a metric that this run computes, got 'eval_los' (did you mean "
        "'eval_loss'?); computed are eval_accuracy, eval_auc_pr, eval_auc_roc, eval_f1, eval_loss, eval_precision, "
        "eval_recall, train_loss",
    ]


def test_a_configuration_that_cannot_be_read(config: Path, tmp_path: Path) -> None:
    config.write_text("training: {num_epoch: 2}\n")
    found = plan(config, "--json", folder=tmp_path)
    assert found.returncode == 2
    (problem,) = json.loads(found.stdout)["problems"]
    assert (problem["file"], problem["line"], problem["path"]) == (str(config), 1, "training.num_epoch")
