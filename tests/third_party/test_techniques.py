"""stepbus-techniques, a stranger's three plugins that change the computation, with the kit alone to test them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
TECHNIQUES = HERE / "stepbus-techniques"


def module(*words: str) -> str:
    """Run a module in the package's folder; it has to succeed."""
    # Where the plugin compiled_header is, by which g++ takes less time.
    variables = {**os.environ, "PYTHONPATH": str(HERE.parent / "fixtures")} if words[0] == "pytest" else None
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=TECHNIQUES, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass() -> None:
    assert "13 passed" in module("pytest", "-q", "-p", "no:cacheprovider", "-p", "compiled_header")


def test_it_reaches_for_public_names_alone() -> None:
    for path in (TECHNIQUES / "src").rglob("*.py"):
        lines = [line.strip() for line in path.read_text().splitlines() if "stepbus" in line and "import" in line]
        assert all(line.startswith("from stepbus import ") for line in lines), path


def test_it_keeps_the_rules_of_this_project(mypy_cache: str) -> None:
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    module("ruff", "check", "--no-cache", "--extend-select", ",".join(project["select"]), ".")
    module("ruff", "format", "--no-cache", "--check", ".")
    module("mypy", "--cache-dir", mypy_cache)
