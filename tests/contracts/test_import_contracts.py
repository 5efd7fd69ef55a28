"""The import contracts of pyproject.toml refuse what they are for: a copy of the sources is broken on purpose."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = "the packages of core lie in layers: each imports only those below it"
TEXT = "so do the packages of text"
NO_ROOT = "no package of core imports the root, which leads everywhere"
NO_CIRCLE = "no circle"
NO_FEATURE = "core never imports a feature"
ONLY_ROOT = "plugins import stepbus itself, and nothing inside it"
INDEPENDENT = "plugins never import each other"
CONTRACTS = {LAYERS, TEXT, NO_ROOT, NO_CIRCLE, NO_FEATURE, ONLY_ROOT, INDEPENDENT}

FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
LATER = "def later():\n    "
KERNEL, PLUGIN = "core/stepbus/kernel/engine.py", "plugins/stepbus_plugins/costs.py"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for part in ("core", "plugins"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def linted(folder: Path) -> tuple[set[str], str]:
    """Return the contracts that a copy breaks, and all that was said; files that did not change are read once."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    paths = os.pathsep.join(str(folder / part) for part in ("core", "plugins"))
    ran = subprocess.run(
        [sys.executable, "-c", program, "--cache-dir", str(folder / "cache")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", ran.stdout, re.MULTILINE))
    broken = {name for name, word in told.items() if word == "BROKEN"}
    if ran.returncode == 0 or broken:
        assert told.keys() == CONTRACTS, ran.stdout + ran.stderr
    return broken, ran.stdout + ran.stderr


def test_the_sources_keep_every_contract(copy: Path) -> None:
    broken, said = linted(copy)
    assert not broken
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in said


@pytest.mark.parametrize(
    ("file", "line", "contract", "shown"),
    [
        (KERNEL, "from stepbus.fit import FitSession", LAYERS, "stepbus.kernel.engine -> stepbus.fit"),
        (KERNEL, FOR_TYPES + "from stepbus.run import Run", LAYERS, "stepbus.kernel.engine -> stepbus.run"),
        (KERNEL, LATER + "from stepbus.cli.main import main", LAYERS, "stepbus.kernel.engine -> stepbus.cli.main"),
        (KERNEL, "from stepbus.config import Config", LAYERS, "stepbus.kernel.engine -> stepbus.config"),
        ("core/stepbus/base/wording.py", "from stepbus.device import backend", LAYERS, "stepbus.device.backend"),
        ("core/stepbus/text/rows/cells.py", "from stepbus.text.labels import Column", TEXT, "stepbus.text.labels"),
        ("core/stepbus/text/sets.py", FOR_TYPES + "from stepbus.text.data import TextData", TEXT, "stepbus.text.data"),
        ("core/stepbus/api/opening.py", "from stepbus import Trainer", NO_ROOT, "stepbus.api.opening -> stepbus"),
        ("core/stepbus/run/files.py", LATER + "import stepbus", NO_ROOT, "stepbus.run.files -> stepbus"),
        ("core/stepbus/kernel/state.py", FOR_TYPES + "from stepbus.kernel.bus import Bus", NO_CIRCLE, "stepbus.kernel"),
        (KERNEL, LATER + "from stepbus_plugins.costs import Costs", NO_FEATURE, "stepbus_plugins.costs"),
        (PLUGIN, "from stepbus.kernel import Bus", ONLY_ROOT, "stepbus_plugins.costs -> stepbus.kernel"),
        (PLUGIN, FOR_TYPES + "from stepbus.fit import FitSession", ONLY_ROOT, "stepbus_plugins.costs -> stepbus.fit"),
        (PLUGIN, LATER + "import stepbus.device.backend", ONLY_ROOT, "stepbus_plugins.costs -> stepbus.device.backend"),
        (PLUGIN, "from stepbus_plugins.progress import Progress", INDEPENDENT, "stepbus_plugins.progress"),
    ],
)
def test_an_import_that_is_not_allowed(copy: Path, file: str, line: str, contract: str, shown: str) -> None:
    place = copy / file
    before = place.read_text(encoding="utf-8")
    place.write_text(f"{before}\n\n{line}\n", encoding="utf-8")
    try:
        broken, said = linted(copy)
    finally:
        place.write_text(before, encoding="utf-8")
    assert contract in broken
    assert shown in said


def test_a_package_that_has_no_layer(copy: Path) -> None:
    place = copy / "core" / "stepbus" / "helpers"
    place.mkdir()
    (place / "__init__.py").write_text('"""Anything."""\n', encoding="utf-8")
    try:
        _, said = linted(copy)
    finally:
        shutil.rmtree(place)
    assert "helpers" in said
