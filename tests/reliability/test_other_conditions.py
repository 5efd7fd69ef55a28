"""A run that goes on with other cores or another BLAS says so, or refuses where the same bits were asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus.device import backend, machine

pytestmark = pytest.mark.skipif(
    not machine.on_linux_cpu() or not backend.blas.name.startswith("OpenBLAS"), reason="another BLAS to change to"
)

SAY = """
from stepbus import hookimpl
affects_result = False


@hookimpl
def on_message(text, level):
    print(f"{level}: {text}")
"""
START = """
import os, sys
if sys.argv[1]:
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: int(sys.argv[1])]))
from stepbus.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture
def begun(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Path:
    """A configuration whose run was killed after two of three updates."""
    plugins = {"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 1, "keep_last": 9}}
    tree = tiny_config(plugins=plugins, training={"max_steps": 3, "eval_strategy": "no"}, hooks=["./say.py"])
    (tmp_path / "say.py").write_text(SAY)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    began = start(tmp_path, "train", "run.yaml")
    assert (began.returncode, began.stderr) == (0, "")
    run = tmp_path / "run"
    (run / "fits" / "fit" / "result.json").unlink()
    (run / "fits" / "fit" / "model").rename(tmp_path / "whole")
    shutil.rmtree(run / "fits" / "fit" / "checkpoints" / "step-00000003")
    return tmp_path


def start(folder: Path, *words: str, cores: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "STEPBUS_BLAS"))}
    paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    return subprocess.run(
        [sys.executable, "-c", START, cores, *words], cwd=folder, env={**kept, "PYTHONPATH": paths, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


RESUME = ("train", "run.yaml", "--resume")
EXACT = ("--set", "training.exact=true")


def test_the_same_conditions_give_the_same_bits_and_no_warning(begun: Path) -> None:
    went_on = start(begun, *RESUME, *EXACT)
    assert (went_on.returncode, went_on.stderr) == (0, "")
    assert "warning" not in went_on.stdout
    names = ("model.safetensors", "config.json")
    assert [(begun / "run" / "model" / name).read_bytes() for name in names] == [
        (begun / "whole" / name).read_bytes() for name in names
    ]


@pytest.mark.skipif(backend.cores() < 2, reason="one core is all there is")
def test_fewer_cores(begun: Path) -> None:
    refused = start(begun, *RESUME, *EXACT, cores="1")
    assert refused.returncode == 2
    assert f"resumed with 1 core, began with {backend.cores()} cores" in refused.stderr
    assert "Traceback" not in refused.stderr
    went_on = start(begun, *RESUME, cores="1")
    assert went_on.returncode == 0, went_on.stderr
    assert f"warning: resumed with 1 core, began with {backend.cores()} cores: results may differ" in went_on.stdout
    assert "warning: resumed with 0 CPU streams, began with 2 CPU streams" in went_on.stdout
    assert went_on.stdout.count("1 core,") == 1


def test_another_blas(begun: Path) -> None:
    refused = start(begun, *RESUME, *EXACT, STEPBUS_BLAS="mlx")
    assert refused.returncode == 2
    assert "resumed with BLAS MLX's own, began with BLAS OpenBLAS" in refused.stderr
    allowed = start(begun, *RESUME, *EXACT, "--allow-changed", STEPBUS_BLAS="mlx")
    assert allowed.returncode == 0, allowed.stderr
    assert "warning: resumed with BLAS MLX's own, began with BLAS OpenBLAS" in allowed.stdout


@pytest.mark.skipif(machine.version("scipy-openblas32") is None, reason="its kernels can be chosen")
def test_other_kernels_of_the_same_blas(begun: Path) -> None:
    other = "Sandybridge" if os.uname().machine == "x86_64" else "ARMV8"
    refused = start(begun, *RESUME, *EXACT, OPENBLAS_CORETYPE=other)
    if refused.returncode == 0:
        pytest.skip(f"{other} are the kernels of this machine")
    assert refused.returncode == 2
    assert f"({other.upper()} kernels)" in refused.stderr.upper().replace("KERNELS", "kernels")
    assert "began with BLAS OpenBLAS" in refused.stderr
