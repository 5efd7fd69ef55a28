"""The public names: listed, importable, and none of them slow by accident."""

from __future__ import annotations

import subprocess
import sys

import pytest

import stepbus


def test_all_names_can_be_imported() -> None:
    for name in stepbus.__all__:
        assert getattr(stepbus, name) is not None, name


def test_type_checkers_see_the_same_names() -> None:
    from pathlib import Path

    source = Path(stepbus.__file__).read_text(encoding="utf-8")
    shown = {line.split(" as ")[1] for line in source.splitlines() if line.startswith("    from stepbus.")}
    assert shown == set(stepbus.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trainer_of_mine'"):
        _ = stepbus.trainer_of_mine


# One name of each module that imports MLX.
@pytest.mark.parametrize(
    "name", ["Trainer", "create_model", "open_trainer", "Retention", "Optimizer", "find_folder", "compose"]
)
def test_the_fast_blas_comes_before_mlx(name: str) -> None:
    """Whichever public name is imported first: a warning (an error here) says that MLX came first."""
    script = f"from stepbus import {name}\nimport stepbus.device.backend"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
