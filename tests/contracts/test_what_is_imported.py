"""What commands import: the help next to nothing, the list no plugin, and a configuration is checked without MLX."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from stepbus.config.discovery import configs_folder
from stepbus.device import backend, machine

NO_CONFIGS = ("aliases", "suggestions", "original")
CONFIGS = sorted(path for path in configs_folder().rglob("*.yaml") if path.stem not in NO_CONFIGS)
HEAVY = {"mlx", "pandas", "sklearn", "tokenizers", "safetensors", "rich", "pyarrow", "huggingface_hub"}


def run(code: str, folder: Path, *options: str) -> Any:
    """Run code in a process of its own, and return what it printed last, as JSON."""
    ran = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def imported_by(words: list[str], folder: Path) -> set[str]:
    """Return the modules that are there after a command."""
    return set(
        run(
            "import sys\nfrom stepbus.cli.main import main\n"
            f"try:\n    code = main({words!r})\nexcept SystemExit as end:\n    code = end.code\n"
            "assert not code, code\nimport json\nprint(json.dumps(sorted(sys.modules)))\n",
            folder,
        )
    )


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"], ["plugins", "--help"], ["--version"]])
def test_help_imports_no_library(words: list[str], tmp_path: Path) -> None:
    found = imported_by(words, tmp_path)
    assert "stepbus.cli.arguments" in found
    assert not found & {"attr", "attrs", "cattrs", "pluggy", "numpy", "yaml", "inspect", *HEAVY}


def test_the_list_imports_no_plugin(tmp_path: Path) -> None:
    found = imported_by(["plugins", "list"], tmp_path)
    assert "stepbus.author.listing" in found
    assert not found & {"numpy", "pluggy", *HEAVY}
    assert not [name for name in found if name.startswith("stepbus_plugins")]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_checked_without_mlx(config: Path, tmp_path: Path) -> None:
    found = imported_by(["config", "show", str(config)], tmp_path)
    assert "stepbus_plugins.heads" in found
    assert not found & HEAVY


def test_no_plugin_of_ours_imports_mlx(tmp_path: Path) -> None:
    names = [point.name for point in entry_points(group="stepbus.plugins") if point.value.startswith("stepbus_plugins")]
    code = f"from stepbus.config.discovery import load_class\nfor name in {names}:\n    load_class(name)\n"
    found = set(run(code + "import json, sys\nprint(json.dumps(sorted(sys.modules)))", tmp_path))
    assert {"stepbus_plugins.heads", "stepbus_plugins.cross_validation"} <= found
    assert not found & HEAVY


@pytest.mark.skipif(not machine.on_linux_cpu(), reason="only MLX's CPU wheel for Linux needs another BLAS")
def test_the_fast_blas_comes_before_a_plugin_that_imports_mlx(tmp_path: Path) -> None:
    """Its import comes from the configuration, before any module of ours that computes; a warning would be an error."""
    (tmp_path / "mine.py").write_text(
        "import mlx.core as mx\nfrom stepbus import hookimpl\n\n\nclass Mine:\n    @hookimpl\n"
        "    def on_step_end(self):\n        mx.eval()\n"
    )
    code = (
        "import sys\nfrom stepbus import load_config\n"
        "load_config({'plugins': {'mine': {'use': './mine.py:Mine'}}})\n"
        "assert 'mlx.core' in sys.modules and 'stepbus.device.backend' not in sys.modules\n"
        "from stepbus.device import backend\nimport json\n"
        "print(json.dumps([backend.blas.name, backend.kernels is not None]))"
    )
    assert run(code, tmp_path, "-W", "error") == [backend.blas.name, backend.kernels is not None]


def test_the_program_is_a_module_too(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "stepbus.cli", "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("stepbus 0.")


def test_names_that_packages_add_are_imported_when_they_are_asked_for(tmp_path: Path) -> None:
    """So the module of such a name may import scikit-learn at its top, whose classes its own extend: no plugin of a
    run, no command and no list of names leads there.
    """
    points = entry_points(group="stepbus.names")
    homes = {point.value.partition(":")[0] for point in points if point.value.startswith("stepbus_plugins")}
    assert "stepbus_plugins.scikit_learn" in homes
    plugins = {point.value.partition(":")[0] for point in entry_points(group="stepbus.plugins")}
    assert not [home for home in homes if any(f"{home}.".startswith(f"{plugin}.") for plugin in plugins)]
    code = (
        "import json, sys\nimport stepbus\nassert 'StepbusClassifier' in dir(stepbus)\nlisted = sorted(sys.modules)\n"
    )
    listed, asked = run(
        code + "stepbus.StepbusClassifier\nprint(json.dumps([listed, sorted(sys.modules)]))", tmp_path, "-W", "error"
    )
    assert not set(listed) & {"numpy", "mlx", *HEAVY, *homes}
    assert {"sklearn", "stepbus_plugins.scikit_learn"} <= set(asked)
    assert not set(asked) & {"matplotlib", "torch"}
