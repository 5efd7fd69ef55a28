"""JSON for other programs."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np

import stepbus
from stepbus.base.json_output import strict_json


def test_a_number_that_is_not_finite_is_null() -> None:
    value = {"a": float("nan"), "b": [float("inf"), -float("inf"), 1.5], "c": {"d": (np.float64("nan"), "NaN")}, "e": 1}
    assert json.loads(strict_json(value), parse_constant=lambda name: 1 / 0) == {
        "a": None,
        "b": [None, None, 1.5],
        "c": {"d": [None, "NaN"]},
        "e": 1,
    }
    assert "ö" in strict_json({"name": "ö"})


def test_no_command_prints_json_in_another_way() -> None:
    """What a command prints as JSON goes through `strict_json`."""
    for file in (Path(stepbus.__file__).parent / "commands").glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & {"dumps", "dump"}, file.name
