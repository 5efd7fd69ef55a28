"""Neither README line brings PyTorch or transformers, and nothing but the kept scripts for fixtures imports them."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"torch", "transformers", "sentence-transformers", "tensorflow", "jax"}


def brought(extra: str) -> dict[str, str]:
    """Return every distribution that an extra of ours brings, with the one that wants it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ours = {name: list(lines) for name, lines in project["optional-dependencies"].items()}
    waiting = [(line, "stepbus", "") for line in [*project["dependencies"], *ours[extra]]]
    found: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    while waiting:
        line, owner, asked = waiting.pop()
        wanted = Requirement(line)
        name = wanted.name.lower().replace("_", "-")
        if wanted.marker and not wanted.marker.evaluate({"extra": asked}):
            continue
        found |= {} if name == "stepbus" else {name: found.get(name, owner)}
        for option in {"", *wanted.extras} - {option for each, option in done if each == name}:
            done.add((name, option))
            try:
                lines = ours.get(option, []) if name == "stepbus" else importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                continue  # of another machine
            waiting += [(each, name, option) for each in lines]
    return found


@pytest.mark.parametrize("extra", ["demo", "dev"])
def test_no_extra_brings_them(extra: str) -> None:
    found = brought(extra)
    assert {"mlx", "mlx-cpu", "numpy", "pandas"} <= found.keys()
    assert not {name: owner for name, owner in found.items() if name in HEAVY}


def test_only_scripts_that_make_fixtures_import_them() -> None:
    importing, looked_at = set(), 0
    for path in [path for part in ("core", "plugins", "tests", "configs") for path in (ROOT / part).rglob("*.py")]:
        looked_at += 1
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0].replace("_", "-") for name in names} & HEAVY:
                importing.add(path.relative_to(ROOT).as_posix())
    assert looked_at > 200
    assert {"tests/fixtures/make_bert_fixtures.py", "tests/fixtures/make_tokenizer_fixtures.py"} <= importing
    assert [path for path in importing if not re.fullmatch(r"tests/fixtures/(\w+/make|make_\w+)\.py", path)] == []
