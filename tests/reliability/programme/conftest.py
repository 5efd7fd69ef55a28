"""What the tests of the resume programme share: its modules, and a fixed sample of its cases."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

SEED = 20240607


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether all cases are asked for, with `-m full`, and not a sample."""
    return bool(request.config.option.markexpr == "full")


@pytest.fixture
def chosen(full: bool) -> Callable[..., list[Any]]:
    """Return a function that gives all cases, or a fixed sample of some; in their own order."""

    def choose(cases: Sequence[Any], most: int) -> list[Any]:
        if full:
            return list(cases)
        places = random.Random(SEED).sample(range(len(cases)), min(most, len(cases)))
        return [cases[place] for place in sorted(places)]

    return choose


@pytest.fixture
def run_points(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that does cases in a process which has not used MLX, and returns what came of each."""

    def run(configurations: dict[str, dict[str, Any]], cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        file, folder = tmp_path / "cases.json", tmp_path / "runs"
        trees = {name: tiny_config(**sections) for name, sections in configurations.items()}
        file.write_text(json.dumps({"configs": trees, "cases": cases}))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-W", "error", str(Path(__file__).with_name("points.py")), str(file), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
        assert done.returncode == 0, done.stderr
        print(done.stderr)  # what a child said before it ended, shown where a case went wrong
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run
