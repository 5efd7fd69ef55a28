"""A fit on a loader that is killed at any step, or ended by a signal, resumes to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("loader_points.py")
ENDS = {"KILL": -9, "TERM": 143}
# Inside an epoch, at its end and just after it; after one resume and after several.
SAMPLE = [
    ("function", 1, "6:KILL,9:TERM,21:KILL"),
    ("stateful", 1, "18:TERM,23:KILL"),
    ("by-epoch", 2, "5:TERM,11:KILL"),
    ("list", 2, "3:TERM"),
]
ALL = [
    (loader, window, f"{step}:{kind}")
    for loader in ("function", "stateful", "by-epoch", "list")
    for window in (1, 2)
    for step in range(1, 27 // window)
    for kind in ("KILL", "TERM")
]


@pytest.mark.parametrize(
    ("loader", "window", "cuts"), [*SAMPLE, *(pytest.param(*case, marks=pytest.mark.full) for case in ALL)]
)
def test_a_killed_run_resumes_to_the_same_bits(loader: str, window: int, cuts: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "error", str(SCRIPT), loader, str(window), cuts, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["codes"] == [0, *(ENDS[cut.partition(":")[2]] for cut in cuts.split(",")), 0], done.stderr
    assert found["steps"] > 10
    assert found["same"]
