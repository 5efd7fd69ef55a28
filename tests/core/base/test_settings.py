"""Structuring: no coercion, every problem collected, each with its path."""

from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from stepbus.base.components import Component, Components, Selected
from stepbus.base.errors import ConfigError
from stepbus.base.settings import component, setting, show, show_python, words
from stepbus.base.trees.structuring import structure
from stepbus.base.trees.typed_values import resolve_place
from stepbus.base.trees.yaml_tree import Mark, Node, parse


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@define(frozen=True, kw_only=True)
class Inner:
    size: int
    names: list[str] = field(factory=list)


@define(frozen=True, kw_only=True)
class Settings:
    whole: int = 1
    number: float = 1.0
    flag: bool = False
    text: str = "x"
    maybe: int | None = None
    either: str | float = "x"
    choice: Literal["a", "b", 3] = "a"
    colour: Colour = Colour.RED
    many: list[int] = field(factory=list)
    columns: str | list[str] = "x"
    pair: tuple[int, float] = (1, 1.0)
    row: tuple[int, ...] = ()
    weights: dict[str, float] = field(factory=dict)
    by_number: dict[int, str] = field(factory=dict)
    inner: Inner | None = None
    inners: list[Inner] = field(factory=list)
    folder: Path | None = None
    anything: Any = None
    noted: Annotated[int, "a note"] = 1
    day: datetime.date | None = None
    flag_or_text: bool | str = True


# The value is long: one id for it.
HUGE = pytest.param("number", 10**400, "expected a finite number, got 1", id="huge")


def problems(cls: type, tree: dict[str, Any] | Node, **keywords: Any) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        structure(cls, tree, **keywords)
    return [(problem.path, problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "value", "made"),
    [
        ("number", 3, 3.0),
        ("number", 2e-5, 2e-5),
        ("maybe", None, None),
        ("maybe", 3, 3),
        ("either", 3, 3.0),
        ("either", "y", "y"),
        ("choice", 3, 3),
        ("colour", "blue", Colour.BLUE),
        ("many", [1, 2], [1, 2]),
        ("columns", "a", "a"),
        ("columns", ["a", "b"], ["a", "b"]),
        ("pair", [2, 3], (2, 3.0)),
        ("row", [1, 2, 3], (1, 2, 3)),
        ("weights", {"a": 1}, {"a": 1.0}),
        ("by_number", {"1": "a"}, {1: "a"}),
        ("inner", {"size": 3}, Inner(size=3)),
        ("inners", [{"size": 3, "names": ["a"]}], [Inner(size=3, names=["a"])]),
        ("folder", "/x/../y", Path("/y")),
        ("anything", {"a": [1, None]}, {"a": [1, None]}),
        ("noted", 2, 2),
        ("day", "2024-02-29", datetime.date(2024, 2, 29)),
        ("flag_or_text", "folder", "folder"),
        ("flag_or_text", False, False),
    ],
)
def test_what_fits_is_taken(name: str, value: Any, made: Any) -> None:
    found = getattr(structure(Settings, {name: value}), name)
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("whole", "three", "expected int, got 'three'"),
        ("whole", 3.7, "expected int, got 3.7"),
        ("whole", 3.0, "expected int, got 3.0"),
        ("whole", True, "expected int, got true"),
        ("whole", None, "expected int, got null"),
        ("whole", [1], "expected int, got a list"),
        ("number", "2e-5x", "expected number, got '2e-5x'"),
        ("number", False, "expected number, got false"),
        ("number", float("nan"), "expected a finite number, got .nan"),
        ("number", float("inf"), "expected a finite number, got .inf"),
        ("flag", "no", "expected true or false, got 'no'"),
        ("flag", 0, "expected true or false, got 0"),
        ("text", 3, "expected text, got 3"),
        ("text", None, "expected text, got null"),
        ("maybe", "x", "expected int, got 'x'"),
        ("either", [], "expected text or number, got a list"),
        ("either", True, "expected text or number, got true"),
        ("choice", "A", "expected one of 'a', 'b', 3, got 'A'"),
        ("choice", 3.0, "expected one of 'a', 'b', 3, got 3.0"),
        ("colour", "blu", "expected one of 'red', 'blue', got 'blu' (did you mean 'blue'?)"),
        ("many", "12", "expected a list of int, got '12'"),
        ("many", {"1": 2}, "expected a list of int, got a mapping"),
        ("columns", 3, "expected text or a list of text, got 3"),
        ("pair", [1], "expected a list of 2, got one of 1"),
        ("weights", [1], "expected a mapping, got a list"),
        ("inner", 3, "expected a mapping of settings, got 3"),
        ("folder", 3, "expected a path, got 3"),
        HUGE,
    ],
)
def test_nothing_is_coerced(name: str, value: Any, message: str) -> None:
    ((path, found),) = problems(Settings, {name: value}, path="plugins.x")
    assert path == f"plugins.x.{name}"
    assert found.startswith(message)


def test_inner_paths_are_named() -> None:
    assert problems(Settings, {"many": [1, "a", 2.5]}) == [
        ("many[1]", "expected int, got 'a'"),
        ("many[2]", "expected int, got 2.5"),
    ]
    assert problems(Settings, {"columns": ["a", 1]}) == [("columns[1]", "expected text, got 1")]
    assert problems(Settings, {"weights": {"a": "x", "b": 1}}) == [("weights.a", "expected number, got 'x'")]
    assert problems(Settings, {"by_number": {"x": "a"}}) == [("by_number.x", "expected int, got 'x'")]
    assert problems(Settings, {"inners": [{"size": 1}, {"sise": 2}]}) == [
        ("inners[1].sise", "expected a known setting, got 'sise' (did you mean 'size'?)"),
        ("inners[1].size", "expected a value, got none; it has no default"),
    ]


def test_every_problem_at_once_with_lines_and_label() -> None:
    tree = parse("patience: three\n\nmin_delt: 1\nmode: down\n", Mark("run.yaml", 1))
    assert tree is not None

    @define(frozen=True, kw_only=True)
    class Config:
        target: str = setting(meaning="what to aim at")
        patience: int = 3
        min_delta: float = 0.0
        mode: Literal["min", "max"] = "min"

    with pytest.raises(ConfigError) as caught:
        structure(Config, tree, path="plugins.stop", label="stop, mine 1.0")
    assert sorted(str(problem) for problem in caught.value.problems) == [
        "run.yaml:1: plugins.stop.patience: expected int, got 'three' (stop, mine 1.0)",
        "run.yaml:1: plugins.stop.target: expected a value (what to aim at), got none; it has no default"
        " (stop, mine 1.0)",
        "run.yaml:3: plugins.stop.min_delt: expected a known setting, got 'min_delt' (did you mean 'min_delta'?)"
        " (stop, mine 1.0)",
        "run.yaml:4: plugins.stop.mode: expected one of 'min', 'max', got 'down' (stop, mine 1.0)",
    ]


def test_checks_and_checks_across() -> None:
    @define(frozen=True, kw_only=True)
    class Config:
        rate: float = setting(1.0, check=lambda value: value > 0, expected="a number above 0")
        steps: int | None = setting(None, check=lambda value: value > 0, expected="a number above 0")
        broken: int = setting(1, check=lambda value: value.nothing, expected="something")

        def problems(self) -> list[tuple[str, str]]:
            return [("steps", "expected no steps at rate 2, got some")] if self.rate == 2 and self.steps else []

    assert structure(Config, {"steps": None}) == Config(steps=None)
    assert problems(Config, {"rate": -2e-5, "steps": 0}) == [
        ("rate", "expected a number above 0, got -2e-5"),
        ("steps", "expected a number above 0, got 0"),
    ]
    assert problems(Config, {"rate": 2, "steps": 3}) == [("steps", "expected no steps at rate 2, got some")]
    ((path, message),) = problems(Config, {"broken": 1})
    assert path == "broken" and message.startswith("its check raised AttributeError")


def test_a_class_that_refuses_its_settings_or_cannot_be_read() -> None:
    @define(frozen=True, kw_only=True)
    class Refusing:
        size: int = 1

        def __attrs_post_init__(self) -> None:
            raise ValueError("size is never right")

    ((_, message),) = problems(Refusing, {}, path="plugins.x")
    assert message.endswith("refuses its settings: size is never right")

    @define(frozen=True, kw_only=True)
    class Unreadable:
        size: Missing = 1  # type: ignore[name-defined]  # noqa: F821

    ((_, message),) = problems(Unreadable, {}, path="plugins.x")
    assert "cannot be looked up" in message and "Missing" in message


@define(frozen=True, kw_only=True)
class Width:
    width: int = 1


@define(frozen=True, kw_only=True)
class Pooled:
    pooling: Selected = component("pooling", "mean")
    score: Selected | None = component("metric", None)


@pytest.fixture
def parts() -> Components:
    registry = Components()
    registry.add(Component("pooling", "mean", Inner, lambda settings: settings), "heads, stepbus 0.1.0")
    registry.add(Component("pooling", "wide", Width, lambda settings: settings.width), "heads, stepbus 0.1.0")
    return registry


def test_components_are_picked_by_name_or_type(parts: Components) -> None:
    made = structure(Pooled, {"pooling": "wide"}, components=parts)
    assert (made.pooling.name, made.pooling.build(), made.score) == ("wide", 1, None)
    made = structure(Pooled, {"pooling": {"type": "wide", "width": 4}, "score": None}, components=parts)
    assert made.pooling.build() == 4
    # Without a registry the bare name stays: a Config class can be tested alone.
    assert structure(Pooled, {"pooling": "wide"}).pooling == "wide"


@pytest.mark.parametrize(
    ("value", "path", "message"),
    [
        ("wid", "pooling", "expected a known pooling, got 'wid' (did you mean 'wide'?); known: mean, wide"),
        ({"type": "wid"}, "pooling.type", "expected a known pooling, got 'wid'"),
        ({"width": 3}, "pooling", "expected a name, or a mapping with type:, for the pooling, got none"),
        (3, "pooling", "expected a name, or a mapping with type:, for the pooling, got 3"),
        (None, "pooling", "expected a name, or a mapping with type:, for the pooling, got none"),
        ({"type": "wide", "width": "x"}, "pooling.width", "expected int, got 'x' (heads, stepbus 0.1.0)"),
        ({"type": "wide", "size": 1}, "pooling.size", "expected a known setting, got 'size'; known: width"),
        ("mean", "pooling.size", "expected a value, got none; it has no default"),
    ],
)
def test_components_that_cannot_be_picked(parts: Components, value: Any, path: str, message: str) -> None:
    ((found, text),) = problems(Pooled, {"pooling": value}, components=parts)
    assert found == path
    assert text.startswith(message)


@pytest.mark.parametrize(
    ("text", "location", "expected"),
    [
        ("train.csv", "file", "/data/train.csv"),
        ("../train.csv", "file", "/train.csv"),
        ("/x/train.csv", "file", "/x/train.csv"),
        ("sklearn:breast_cancer", "file", "sklearn:breast_cancer"),
        ("https://host/x.csv", "file", "https://host/x.csv"),
        ("org/model", "source", "org/model"),
        ("./model", "source", "/data/model"),
        ("package:name/model", "source", "package:name/model"),
        ("runs/x", "output", "runs/x"),
    ],
)
def test_places_start_from_the_file_that_names_them(text: str, location: Any, expected: str) -> None:
    assert resolve_place(text, Mark("/data/run.yaml", 1, Path("/data")), location) == expected


def test_a_source_that_is_a_folder_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert resolve_place("org/model", Mark(None, None, tmp_path), "source") == str(tmp_path / "org" / "model")


def test_words_for_types() -> None:
    assert words(int | None) == "int or null"
    assert words(list[str]) == "a list of text"
    assert words(dict[str, int]) == "a mapping"
    assert words(Path) == "a path"
    assert words(Literal["a", True]) == "one of 'a', true"
    assert words(Any) == "anything"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=6,
)


@hypothesis_settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([*Settings.__annotations__, "unknown"]), values, max_size=6))
def test_anything_is_settings_or_a_config_error(tree: dict[str, Any]) -> None:
    try:
        made = structure(Settings, tree)
    except ConfigError as error:
        assert {problem.path.split(".")[0].split("[")[0] for problem in error.problems} <= set(tree)
        return
    for name in ("whole", "flag", "text"):
        if name in tree:
            assert getattr(made, name) == tree[name] and type(getattr(made, name)) is type(tree[name])


@pytest.mark.parametrize(
    ("value", "yaml", "python"),
    [
        (None, "null", "None"),
        (True, "true", "True"),
        (float("nan"), ".nan", "nan"),
        (float("-inf"), "-.inf", "-inf"),
        (np.float64("nan"), ".nan", "nan"),
        (2e-5, "2e-5", "2e-05"),
        ("a", "'a'", "'a'"),
        ([1], "a list", "a list"),
        ({}, "a mapping", "a mapping"),
        (np.zeros((2, 2)), "array([[0., 0.], [0., 0.]])", "array([[0., 0.], [0., 0.]])"),
    ],
)
def test_a_value_is_said_as_who_wrote_it_writes_it(value: Any, yaml: str, python: str) -> None:
    assert (show(value), show_python(value)) == (yaml, python)


def test_what_cannot_be_written_as_text_is_named_by_its_kind() -> None:
    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no values yet")

    class Array(Silent):
        shape = (2, 3)

    assert show_python(Silent()) == "a Silent"
    assert show_python(Array()) == "an array [2, 3]"
