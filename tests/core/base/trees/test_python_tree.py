"""Settings as plain values, and that they load again as the same settings in every process."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pandas as pd
import pytest
from attrs import define, field

from stepbus.base.components import Component, Selected
from stepbus.base.errors import ConfigError
from stepbus.base.settings import setting
from stepbus.base.trees.python_tree import from_python, plain
from stepbus.base.trees.structuring import structure
from stepbus.base.trees.yaml_tree import MAX_DEPTH, Mark, Node


class Level(enum.Enum):
    LOW = 1
    HIGH = 2


class Shade(enum.IntEnum):
    DARK = 3


@define(frozen=True, kw_only=True)
class Inner:
    level: Level = Level.LOW
    length: int = field(init=False, default=7)
    kept_as: str = field(default="x", alias="keep")


@dataclasses.dataclass
class Box:
    size: int
    inner: Box | None = None


@define(frozen=True, kw_only=True)
class Settings:
    level: Level = Level.LOW
    shade: Shade = Shade.DARK
    tags: frozenset[str] = frozenset()
    by_level: dict[Level, float] = field(factory=dict)
    inner: Inner = field(factory=Inner)
    pair: tuple[int, float] = (1, 2.0)
    folder: Path | None = None
    day: datetime.date | None = None
    anything: Any = None
    box: Box | None = None
    recent: deque[int] = field(factory=deque)


MADE = Settings(
    level=Level.HIGH,
    tags=frozenset({"b", "c", "a"}),
    by_level={Level.HIGH: 1.5},
    inner=Inner(level=Level.HIGH, keep="y"),
    folder=Path("/x"),
    day=datetime.date(2024, 2, 29),
    anything=[math.inf, {"a": (1,)}],
    box=Box(3, Box(4)),
    recent=deque([1, 2]),
)


def test_plain_settings_load_again_as_the_same_settings() -> None:
    values = plain(MADE)
    assert values == {
        "level": 2,
        "shade": 3,
        "tags": ["a", "b", "c"],
        "by_level": {"2": 1.5},
        "inner": {"level": 2, "keep": "y"},
        "pair": [1, 2.0],
        "folder": "/x",
        "day": "2024-02-29",
        "anything": [math.inf, {"a": [1]}],
        "box": {"size": 3, "inner": {"size": 4, "inner": None}},
        "recent": [1, 2],
    }
    again = structure(Settings, values)
    assert plain(again) == values
    assert attrs.evolve(again, anything=MADE.anything) == MADE  # what is of any type comes back as lists


def test_a_set_stands_in_one_order_in_every_process() -> None:
    code = "from stepbus.base.trees.python_tree import plain; print(plain(frozenset('abcdefgh')))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        )
        for seed in ("1", "2")
    ]
    assert {run.stdout for run in runs} == {"['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']\n"}


def test_mere_places_can_be_left_out() -> None:
    @define(frozen=True, kw_only=True)
    class Places:
        data: str | None = setting(None, location="file")
        model: str = setting("org/name", location="source")
        out: str = setting("runs", location="output")
        rate: float = 0.1

    part = Component("data", "table", Places, lambda settings: settings)
    made = Selected(part, Places(data="/data/train.csv"))
    assert plain(made) == {"type": "table", "data": "/data/train.csv", "model": "org/name", "out": "runs", "rate": 0.1}
    assert plain([made], places=False) == [{"type": "table", "model": "org/name", "rate": 0.1}]


@pytest.mark.parametrize(
    ("value", "said"), [(math.inf, ".inf"), (-math.inf, "-.inf"), (math.nan, ".nan"), (np.float64(0.5), 0.5)]
)
def test_numbers_that_json_cannot_write_are_text_where_that_is_asked(value: float, said: object) -> None:
    found = plain({"a": [value]}, finite=True)
    assert found == {"a": [said]}
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert type(plain(value)) is float and np.array_equal(plain(value), value, equal_nan=True)


def test_settings_objects_give_what_differs_from_their_defaults() -> None:
    assert from_python(MADE.inner, Mark()).plain() == {"level": 2, "keep": "y"}
    assert from_python(Settings(), Mark()).plain() == {}
    part = Component("pooling", "mean", Inner, lambda settings: settings)
    picked = from_python({"pooling": Selected(part, Inner(keep="z"))}, Mark())
    assert picked.plain() == {"pooling": {"type": "mean", "keep": "z"}}


def test_depth_is_bounded_and_marked_values_stay() -> None:
    value: Any = Node(1, Mark("run.yaml", 3))
    for _ in range(MAX_DEPTH):
        value = [value]
    *_, (path, node) = from_python(value, Mark()).walk()
    assert len(path) == MAX_DEPTH and node.mark.line == 3
    with pytest.raises(ConfigError, match="at most 20 levels"):
        from_python([value], Mark())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (np.float64(1e-5), 1e-5),
        (np.float32(0.5), 0.5),
        (np.int64(8), 8),
        (np.bool_(False), False),
        (np.str_("text"), "text"),
        (np.array(["a", "b"]), ["a", "b"]),
        (np.array([[1, 2]]), [[1, 2]]),
        ([np.int32(1), np.float64(2.0)], [1, 2.0]),
        (pd.Index(["a", "b"]), ["a", "b"]),
        (pd.Series([1.5, 2.5]), [1.5, 2.5]),
    ],
)
def test_numbers_and_columns_of_numpy_and_pandas_are_what_they_hold(given: Any, expected: Any) -> None:
    found = from_python(given, Mark()).plain()
    assert found == expected
    assert type(found) is type(expected)


def test_what_an_array_holds_is_checked_as_well() -> None:
    with pytest.raises(ConfigError, match=r"dates\[0\]: expected a number, text, .* got datetime"):
        from_python({"dates": np.array(["2024-01-01"], dtype="datetime64[s]")}, Mark())
