"""All techniques that go together: killed in the middle, resumed on the command line, the same to the last bit."""

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

from stepbus import import_module

techniques = import_module(str(Path(__file__).parents[1] / "fixtures" / "techniques.py"))
exact = import_module(str(Path(__file__).with_name("test_exact_resume.py")))

HOOKS = """
import os, signal
from stepbus import hookimpl

@hookimpl
def on_step_end(state):
    if state.step == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
"""
GROUPS: dict[str, tuple[str, ...]] = {
    "together": techniques.TOGETHER,
    "others": ("last_four", "lora", "layerwise_decay", "focal", "rdrop", "awp", "swa", "float16"),
    "schedule_free": ("freeze", "schedule_free", "multi_sample_dropout", "accumulation", "float16"),
}


def train(config: Path, kill_at: int, *words: str) -> int:
    command = [sys.executable, "-W", "error", "-m", "stepbus.cli", "train", str(config), *words]
    done = subprocess.run(
        command, env=os.environ | {"KILL_AT": str(kill_at)}, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("group", GROUPS)
def test_a_killed_run_of_all_techniques_ends_with_the_same_bits(
    group: str, depth: int, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "hooks.py").write_text(HOOKS)
    saves = {"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 2}, "early_stopping": {}}
    tree = techniques.together(tiny_config(plugins=saves), *GROUPS[group])
    tree["training"] = {**tree["training"], "pipeline_depth": depth, "eval_strategy": "steps", "eval_steps": 3}
    tree |= {"hooks": [str(tmp_path / "hooks.py")]}
    runs = {}
    for name, kills in (("whole", ()), ("killed", (4, 9))):
        runs[name] = tmp_path / name
        config = tmp_path / f"{name}.json"
        config.write_text(json.dumps({**tree, "environment": {"output_dir": str(runs[name])}}))
        resume: list[str] = []
        for kill in kills:
            assert train(config, kill, *resume) == -signal.SIGKILL
            resume = ["--resume"]
        assert train(config, -1, *resume) == 0
    exact.assert_same(runs["whole"], runs["killed"])
