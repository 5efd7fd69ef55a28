"""One value at a time: what --set may mean, what unions take, foreign types, and what is said of a value."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import pytest

from stepbus.base.trees.python_tree import from_python
from stepbus.base.trees.structuring import typed
from stepbus.base.trees.typed_values import Given, Invalid, collecting, show_path
from stepbus.base.trees.yaml_tree import Mark, Node, parse


def written(value: Any, folder: Path | None = None) -> Given:
    """Return a value as a file has it."""
    return Given(from_python(value, Mark("run.yaml", 3, folder)), ("training", "x"))


def typed_in(text: str) -> Given:
    """Return a value as --set has it."""
    tree = parse(text, Mark("--set"))
    assert tree is not None
    return Given(Node(tree.value, Mark("--set", text=text)), ("training", "x"))


def said(given: Given, hint: Any) -> list[str]:
    with pytest.raises(Invalid) as caught:
        typed(given, hint)
    return [str(problem) for problem in caught.value.problems]


class Left(TypedDict):
    left: int


class Pair(Left, total=False):
    right: str


Odd = TypedDict("Odd", {"from": int}, total=False)
Other = TypedDict("Other", {"a-b": int})


class Span(NamedTuple):
    start: int
    name: str


@dataclasses.dataclass
class Box:
    size: int
    inner: Box | None = None

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("no box is smaller than nothing")


@pytest.mark.parametrize(
    ("text", "hint", "made"),
    [
        ("5", str, "5"),
        ("5", int, 5),
        ("5", int | str, 5),
        ("5", str | int, 5),
        ("010", int | str, "010"),
        ("null", str | None, None),
        ("true", str, "true"),
        ("true", bool | str, True),
        ("1.50", str | list[str], "1.50"),
        ("[1]", list[int] | str, [1]),
        ("[a]", list[int] | str, "[a]"),
        ("{a: b}", dict[str, int] | str, "{a: b}"),
    ],
)
def test_what_was_typed_is_text_only_where_nothing_else_fits(text: str, hint: Any, made: Any) -> None:
    found = typed(typed_in(text), hint)
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        (True, int | str, "expected int or text, got true"),
        ([1, "a"], list[int] | int, "[1]: expected int, got 'a'"),
        ([1, "a"], list[int] | list[bool], "expected a list of int or a list of true or false, got a list"),
        ({"a": "b"}, dict[str, int] | list[int] | None, ".a: expected int, got 'b'"),
        ({"a": 1, "b": 2.5}, Mapping[str, int], ".b: expected int, got 2.5"),
        ([1.5, "x"], Sequence[float], "[1]: expected number, got 'x'"),
        ([1, 2], tuple[int, str], "[1]: expected text, got 2"),
        ([[1], [[2]]], list[list[int]], "[1][0]: expected int, got a list"),
        ("x", None, "expected null, got 'x'"),
        ("2024-13-01", datetime.date, "expected date, got '2024-13-01': "),
        ("x", uuid.UUID, "expected UUID, got 'x': "),
        (3, Pair, "expected a mapping, got 3"),
        ({"left": 3.7}, Pair, ".left: expected int, got 3.7"),
        ({}, Pair, ".left: expected a value, got none; it has no default"),
        ({"left": 1, "leff": 1}, Pair, ".leff: expected a known setting, got 'leff' (did you mean 'left'?)"),
        ([3.7, "x"], Span, "[0]: expected int, got 3.7"),
        ([3], Span, "expected a list of 2, got one of 1"),
        ({"start": 3}, Span, "expected a list, got a mapping"),
        ([[1], [2]], set[Any], "expected a list of anything, got a list: unhashable type: 'list'"),
        (["3"], collections.deque[int], "[0]: expected int, got '3'"),
        ({"size": "3"}, Box, ".size: expected int, got '3'"),
        ({"size": "3"}, int | Box | list[int], ".size: expected int, got '3'"),
        (["3", "x"], int | Span | Box, "[0]: expected int, got '3'"),
        ({"left": "3"}, int | Pair | None, ".left: expected int, got '3'"),
        ({"size": 1, "inner": {"size": True}}, Box, ".inner.size: expected int, got true"),
        ({"size": -1}, Box, "Box refuses its settings: no box is smaller than nothing"),
        ([1], Box, "expected Box, got a list"),
        ({"from": 1.5}, Odd, ".from: expected int, got 1.5"),
        ({"a-b": "x"}, Other, ".a-b: expected int, got 'x'"),
    ],
)
def test_what_does_not_fit_is_told_where_it_stands(value: Any, hint: Any, message: str) -> None:
    (found,) = said(written(value), hint)
    place, _, rest = message.partition(": ") if message[0] in "[." else ("", "", message)
    assert found.startswith(f"run.yaml:3: training.x{place}: {rest}")


@pytest.mark.parametrize(
    ("value", "hint", "made"),
    [
        (["b", "a", "b"], set[str], {"a", "b"}),
        (["b"], frozenset[str], frozenset({"b"})),
        ([1, "x", None], list, [1, "x", None]),
        ([1, "x"], tuple, (1, "x")),
        ([[1], {"a": 2}], list[Any], [[1], {"a": 2}]),
        ({"a": [1]}, dict, {"a": [1]}),
        ({"1": 2, "2": 3}, dict[int, float], {1: 2.0, 2: 3.0}),
        (None, None, None),
        ("2024-02-29", datetime.date, datetime.date(2024, 2, 29)),
        (["x"], collections.deque[str], collections.deque(["x"])),
        ({"left": 1}, Pair, {"left": 1}),
        ({"left": 1, "right": "x"}, Pair, {"left": 1, "right": "x"}),
        ({}, Odd, {}),
        ({"from": 3}, Odd, {"from": 3}),
        ({"a-b": 3}, Other, {"a-b": 3}),
        ([3, "x"], Span, Span(3, "x")),
        ({"size": 3, "inner": {"size": 4}}, Box, Box(3, Box(4))),
    ],
)
def test_what_fits_is_made_without_marks(value: Any, hint: Any, made: Any) -> None:
    found = typed(written(value), hint)
    assert found == made
    assert type(found) is type(made)


def test_a_place_that_can_be_none_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    assert typed(written(["a/../b"], tmp_path), list[Path]) == [tmp_path / "b"]
    assert said(written(["a", "b\0"]), list[Path]) == [
        "run.yaml:3: training.x[1]: expected a path, got 'b\\x00': it holds a NUL character"
    ]


def test_a_problem_says_path_alias_owner_file_and_line() -> None:
    mark = Mark("run.yaml", 4, written="lr")
    problem = Given(Node(1, mark), ("optimizer", "learning_rate"), label="adamw, stepbus 1").problem("expected less")
    assert str(problem) == "run.yaml:4: optimizer.learning_rate (written lr): expected less (adamw, stepbus 1)"
    assert show_path(("training", "metrics", 1, "average")) == "training.metrics[1].average"
    assert show_path(()) == ""


def test_collecting_goes_on_after_what_was_refused() -> None:
    problems: list[Any] = []
    for value in (1, "x", 2, "y"):
        with collecting(problems):
            typed(written(value), int)
    assert [problem.message for problem in problems] == ["expected int, got 'x'", "expected int, got 'y'"]
    with pytest.raises(ZeroDivisionError), collecting(problems):
        raise ZeroDivisionError


def test_an_item_refused_in_silence_is_refused_all_the_same() -> None:
    def make(item: Given) -> int:
        if item.node.value == 2:
            raise Invalid([])
        return 1

    with pytest.raises(Invalid) as caught:
        written([1, 2, 3]).each(make)
    assert caught.value.problems == []
