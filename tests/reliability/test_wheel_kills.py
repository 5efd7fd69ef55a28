"""Fetching a model from an index, killed before each file operation: what is there is whole, and the next run mends."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from stepbus import import_module

made: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "made_wheels.py"))
MODEL = {"config.json": b"{}", "model.safetensors": bytes(2000), "1_Pooling/config.json": b"[]"}


def test_killed_before_each_operation(tmp_path: Path) -> None:
    wheel = made.of_model(tmp_path, MODEL)
    script = Path(__file__).with_name("wheel_points.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "error", str(script), str(wheel), "pypi:tiny-model==1.2.0/tiny_model/model"]
    done = subprocess.run(
        [*command, str(tmp_path / "caches")], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) > 40
    assert [result["killed"] for result in results] == [True] * (len(results) - 1) + [False]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for number, result in enumerate(results, 1):
        assert result["whole"], number
        assert result["wheels"] in ([], [digest]), number
        assert result["files"] == {name: len(content) for name, content in MODEL.items()}, number
        assert result["left"] == [], number
    assert results[-1]["wheels"] == [digest]
