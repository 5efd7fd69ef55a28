"""`stepbus profile`: where the time of the first updates goes, with nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
import yaml
from mlx.utils import tree_flatten

from stepbus import BadInput, Trainer, hookimpl, load_config
from stepbus.compute.timing import time_parts
from stepbus.compute.timing.parts import Part
from stepbus.plan import profile, render_profile
from stepbus.plan.profiling import Profiler

STEP = ["whole", "data", "forward", "backward", "update", "hooks"]


def test_the_parts_of_an_update_and_what_comes_now_and_then(tiny_config: Any, tmp_path: Path) -> None:
    found = profile(tiny_config(), steps=3)
    assert found["steps"] == 3
    assert list(found["step"]) == STEP
    assert found["step"]["forward"] > 0
    assert [(each["name"], each["rows"] > 0) for each in found["evaluations"]] == [("validation", True)]
    assert found["checkpoint"] > 0
    assert found["traces"] >= 1
    assert "profiler" not in found["hooks"]
    assert "checkpoint" in found["hooks"]
    assert found["step"]["hooks"] == sum(found["hooks"].values()) > 0
    assert not list(tmp_path.glob("runs*"))


def test_an_update_is_told_apart_window_by_window() -> None:
    profiler = Profiler(3)
    profiler.waits = [0.1, 0.3, 0.2]
    profiler.found["hooks"] = {"one": 0.015, "other": 0.005}
    profiler.parts = [Part(1.0, 3.0, 3.5, 9.0), Part(2.0, 5.0, 5.25, 9.0), Part(4.0, 9.0, 10.0, 9.0)]
    assert profiler.step() == {
        "whole": 5.25, "data": 0.2, "forward": 2.0, "backward": 3.0, "update": 0.5, "hooks": 0.02,
    }  # fmt: skip
    profiler.parts = [Part(None, None, 3.5, 9.0)]
    assert profiler.step() | {"data": 0, "hooks": 0} == dict.fromkeys(STEP) | {"whole": 3.5, "data": 0, "hooks": 0}
    found = profiler.found | {"step": profiler.step(), "steps": 3, "traces": 1, "tracing": 9.0, "checkpoint": None}
    assert "the plugin's own step      3,500.0 ms" in render_profile(
        found | {"before": {"rows": 1.0, "model": 2.0}, "hooks": {}}
    )


def test_a_run_of_many_fits_is_measured_by_its_first(tiny_config: Any) -> None:
    found = profile(tiny_config(data={"validation": None}, plugins={"cross_validation": {"folds": 3}}), steps=2)
    assert found["steps"] == 2
    assert set(found["rows"]) == {"train", "validation"}


def test_fewer_updates_than_were_asked_for(tiny_config: Any) -> None:
    found = profile(tiny_config(training={"max_steps": 2}), steps=50)
    assert found["steps"] == 2
    assert "AN UPDATE, median of 2" in render_profile(found)


def test_what_is_wrong_is_said_before(tiny_config: Any) -> None:
    with pytest.raises(BadInput, match="learning_rat"):
        profile(tiny_config(optimizer={"learning_rat": 1}))


def test_timing_changes_nothing_of_the_fit(tiny_config: Any) -> None:
    kept: dict[str, Any] = {}

    class Times:
        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            before = [value.tolist() for _, value in tree_flatten([trainer.model.state, trainer.optimizer.state])]
            with trainer.data.windows(0, 0) as windows:
                kept["parts"] = time_parts(trainer.steps, [next(windows)])
            after = [value.tolist() for _, value in tree_flatten([trainer.model.state, trainer.optimizer.state])]
            kept["same"] = before == after

    def weights(*plugins: Any) -> dict[str, mx.array]:
        trainer = Trainer(load_config(tiny_config(training={"max_steps": 3})), plugins=plugins)
        trainer.train()
        return dict(tree_flatten(trainer.model.parameters()))

    timed, plain = weights(Times()), weights()
    assert kept["same"]
    assert 0 < kept["parts"][0].forward < kept["parts"][0].whole * 10
    assert all(mx.array_equal(timed[name], plain[name]) for name in plain)


def test_the_command(tiny_config: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(tiny_config()))
    command = [sys.executable, "-m", "stepbus.cli", "profile", str(file), "--steps", "2"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["steps"]) == (0, 2), done.stderr
    refused = subprocess.run([*command[:-1], "0"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert "expected a whole number of at least 1, got '0'" in refused.stderr
