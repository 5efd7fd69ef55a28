"""Settings of any class: what is right comes back as it was, and what is wrong is told once, each with its line."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
import types
import typing
from typing import Any, Literal, NewType, Optional

import attrs
import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base.components import Component, Components, Selected
from stepbus.base.errors import ConfigError
from stepbus.base.settings import component, setting
from stepbus.base.trees.python_tree import plain
from stepbus.base.trees.structuring import select, structure
from stepbus.base.trees.typed_values import Given, Invalid, show_path
from stepbus.base.trees.yaml_tree import Keys, Mark, Node, parse
from stepbus.base.trees.yaml_writer import to_yaml


class Colour(enum.Enum):
    RED = "red"
    ONE = 1


CHOICE = Literal["a", "b", 3]
NAMES = ("first", "second", "third")
RIGHT: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(),
    float: st.floats(allow_nan=False, allow_infinity=False, width=32, allow_subnormal=False),
    bool: st.booleans(),
    str: st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    CHOICE: st.sampled_from(["a", "b", 3]),
    Colour: st.sampled_from(Colour),
}
# Nothing of these may be taken for the type: neither 3.7 nor true for an int, nor "no" for false.
WRONG: dict[Any, list[Any]] = {
    int: [3.7, 3.0, "3", True, None, [1], {"first": 1}],
    float: ["1.5", True, None, [1.0], float("inf"), 10**400],
    bool: ["no", "true", 0, 1, None, []],
    str: [1, 1.5, True, None, ["x"], {}],
    CHOICE: ["c", 3.0, True, None, ["a"]],
    Colour: ["RED", "blue", 1.0, True, None, {}],
}
leaves = st.sampled_from(list(RIGHT))


def class_of(hints: list[Any]) -> Any:
    """Return a settings class with one required setting of each type."""
    fields = {name: field(type=hint) for name, hint in zip(NAMES, hints, strict=False)}
    return attrs.make_class("Config", fields, kw_only=True, frozen=True)


hints = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: tuple[hint, ...]),  # type: ignore[valid-type]
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),  # type: ignore[name-defined]
        inner.map(lambda hint: dict[str, hint]),  # type: ignore[valid-type]
        leaves.map(lambda hint: frozenset[hint]),  # type: ignore[valid-type]
        inner.map(lambda hint: Optional[hint]),  # noqa: UP045 - of a type made at run time
        st.lists(inner, min_size=1, max_size=3).map(class_of),
    ),
    max_leaves=5,
)
classes = st.lists(hints, min_size=1, max_size=3).map(class_of)


def parts_of(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    return typing.get_origin(hint) or hint, typing.get_args(hint)


def right(hint: Any) -> st.SearchStrategy[Any]:
    """Return values of a type."""
    kind, inner = parts_of(hint)
    if hint in RIGHT:
        return RIGHT[hint]
    if attrs.has(kind):
        return st.builds(kind, **{each.name: right(each.type) for each in attrs.fields(kind)})
    if kind in (typing.Union, types.UnionType):
        return st.none() | right(inner[0])
    if kind is dict:
        return st.dictionaries(st.sampled_from(NAMES), right(inner[1]))
    if kind is frozenset:
        return st.frozensets(right(inner[0]), max_size=3)
    if kind is tuple and inner[-1] is not Ellipsis:
        return st.tuples(*map(right, inner))
    return st.lists(right(inner[0]), max_size=3).map(kind)


def draw_any(draw: Any, hint: Any, path: Keys, faults: list[Keys]) -> Any:
    """Return plain values for a type, some of them wrong; the paths of those go on the list."""
    kind, inner = parts_of(hint)
    wrong = draw(st.integers(0, 3)) == 0
    if hint in RIGHT:
        if not wrong:
            return plain(draw(RIGHT[hint]))
        faults.append(path)
        return draw(st.sampled_from(WRONG[hint]))
    if kind in (typing.Union, types.UnionType):
        found = len(faults)
        value = draw_any(draw, inner[0], path, faults)
        if value is None:  # which is right here
            del faults[found:]
        return value
    if wrong:
        faults.append(path)
        return draw(st.sampled_from([3, "x", True, None]))
    if attrs.has(kind):
        return draw_settings(draw, kind, path, faults)
    if kind is dict:
        names = draw(st.lists(st.sampled_from(NAMES), unique=True))
        return {name: draw_any(draw, inner[1], (*path, name), faults) for name in names}
    of_each = [*inner] if kind is tuple and inner[-1] is not Ellipsis else [inner[0]] * draw(st.integers(0, 3))
    return [draw_any(draw, each, (*path, index), faults) for index, each in enumerate(of_each)]


def draw_settings(draw: Any, cls: Any, path: Keys, faults: list[Keys]) -> dict[str, Any]:
    """Return the settings of a class, some of them wrong, missing or unknown."""
    tree = {}
    for each in attrs.fields(cls):
        if draw(st.integers(0, 9)) == 0:
            faults.append((*path, each.name))
        else:
            tree[each.name] = draw_any(draw, each.type, (*path, each.name), faults)
    for name in draw(st.lists(st.sampled_from(["fourth", "unknown"]), unique=True)):
        faults.append((*path, name))
        tree[name] = 1
    return dict(draw(st.permutations(list(tree.items()))))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_right_comes_back_as_it_was(data: st.DataObject) -> None:
    made = data.draw(right(data.draw(classes)))
    tree = parse(to_yaml(plain(made)), Mark("run.yaml", 1))
    assert tree is not None
    again = structure(type(made), tree)
    assert again == made
    assert repr(plain(again)) == repr(plain(made))  # 1 is not 1.0 and not True
    assert again == structure(type(made), plain(made)), "a file and Python say the same"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_wrong_is_told_once_with_its_line(data: st.DataObject) -> None:
    cls = data.draw(classes)
    faults: list[Keys] = []
    written = data.draw(st.composite(lambda draw: draw_settings(draw, cls, (), faults))())
    tree = parse(to_yaml(written), Mark("run.yaml", 1))
    assert tree is not None
    lines = {path: node.mark.line for path, node in tree.walk()}
    expected = sorted((show_path(path), lines.get(path, lines[path[:-1]])) for path in faults)
    try:
        structure(cls, tree)
        found = []
    except ConfigError as error:
        found = sorted((problem.path, problem.line) for problem in error.problems)
        assert {problem.file for problem in error.problems} == {"run.yaml"}
    assert found == expected


@pytest.mark.parametrize(
    ("hint", "wrong"),
    [(hint, wrong) for hint, each in WRONG.items() for wrong in each],
    ids=lambda value: repr(value)[:20],
)
def test_nothing_is_coerced_wherever_it_stands(hint: Any, wrong: Any) -> None:
    inner = class_of([hint])
    cls = class_of([list[hint], dict[str, hint], inner])  # type: ignore[valid-type]
    with pytest.raises(ConfigError) as caught:
        structure(cls, {"first": [wrong], "second": {"x": wrong}, "third": {"first": wrong}})
    assert [problem.path for problem in caught.value.problems] == ["first[0]", "second.x", "third.first"]


def problems(cls: type, tree: dict[str, Any], **keywords: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structure(cls, tree, **keywords)
    return [str(problem) for problem in caught.value.problems]


def test_names_come_first_in_the_order_of_the_file_then_settings_in_that_of_the_class() -> None:
    cls = class_of([int, str, bool])
    assert [each.partition(":")[0] for each in problems(cls, {"z": 1, "third": 0, "y": 2, "first": "x", "a": 3})] == [
        "z", "y", "a", "first", "second", "third"
    ]  # fmt: skip


def test_a_class_that_holds_itself_and_private_names() -> None:
    assert structure(Knot, {"inner": {"inner": {"hidden": 3}}}) == Knot(inner=Knot(inner=Knot(hidden=3)))
    assert problems(Knot, {"inner": {"_hidden": 3}, "made": 1}) == [
        "made: expected a known setting, got 'made'; known: hidden, inner",
        "inner._hidden: expected a known setting, got '_hidden' (did you mean 'hidden'?)",
    ]


@define(frozen=True, kw_only=True)
class Knot:
    _hidden: int = 1
    inner: Optional[Knot] = None  # noqa: UP045 - its own name is text
    made: int = field(init=False, default=2)


def test_settings_may_be_called_as_the_arguments_of_the_library_are() -> None:
    @define(frozen=True, kw_only=True)
    class Odd:
        cl: int = 1
        attrs: int = 1
        converter: int = 1
        typevar_map: int = 1
        kwargs: int = 1
        o: int = 1
        res: int = 1
        errors: int = 1

    assert structure(Odd, {"cl": 2, "converter": 3, "kwargs": 4, "o": 5}) == Odd(cl=2, converter=3, kwargs=4, o=5)
    assert len(problems(Odd, dict.fromkeys(["cl", "attrs", "typevar_map", "kwargs", "o", "res", "errors"], "x"))) == 7


Percent = NewType("Percent", int)


def test_a_new_type_is_as_strict_as_what_it_is_of() -> None:
    @define(frozen=True, kw_only=True)
    class Config:
        share: Percent = Percent(1)
        shares: list[Percent] = field(factory=list)

    assert structure(Config, {"share": 3, "shares": [4]}) == Config(share=Percent(3), shares=[Percent(4)])
    assert problems(Config, {"share": 3.7, "shares": [True, "5"]}) == [
        "share: expected int, got 3.7",
        "shares[0]: expected int, got true",
        "shares[1]: expected int, got '5'",
    ]


def test_a_class_of_settings_without_its_decorator_is_said() -> None:
    class Forgotten:
        every: int = 1

    mend = "is no attrs class: write @define(frozen=True, kw_only=True) above it"
    (problem,) = problems(Forgotten, {"every": 3}, path="plugins.mine", label="mine, mine.py")
    assert problem.startswith("plugins.mine: ") and problem.endswith(f"Forgotten {mend} (mine, mine.py)")
    assert problems(dataclasses.make_dataclass("Data", []), {}) == [f"Data {mend}"]
    assert problems(3, {}) == [f"3 {mend}"]  # type: ignore[arg-type]  # whatever somebody calls Config


@define(frozen=True, kw_only=True)
class Base:
    rate: float = setting(1.0, check=lambda value: value > 0, expected="a number above 0")


@define(frozen=True, kw_only=True)
class Adam(Base):
    beta: float = 0.9
    tail: Any = component("tail", "short")


@define(frozen=True, kw_only=True)
class Short:
    rate: int
    place: str | None = setting(None, location="file")

    def notes(self) -> list[tuple[str, str]]:
        return [("rate", "it has no effect")]


@pytest.fixture
def parts() -> Components:
    registry = Components()
    registry.add(Component("optimizer", "adam", Adam, lambda settings: settings), "optimizers, stepbus 1")
    registry.add(Component("tail", "short", Short, lambda settings: settings), "tails, mine 2")
    return registry


def chosen(text: str, parts: Components, **keywords: Any) -> Given:
    tree = parse(text, Mark("run.yaml", 1))
    assert tree is not None
    return Given(tree, components=parts, **keywords).inner("optimizer")


def test_each_fault_names_who_offers_the_setting(parts: Components) -> None:
    # The default tail needs a rate, and that of the optimizer is not it.
    with pytest.raises(Invalid) as caught:
        select(chosen("a: 1\noptimizer:\n  type: adam\n  rate: 0\n  betta: 1\n", parts), "optimizer", Base)
    assert [str(problem) for problem in caught.value.problems] == [
        "run.yaml:5: optimizer.betta: expected a known setting, got 'betta' (did you mean 'beta'?)"
        " (optimizers, stepbus 1)",
        "run.yaml:4: optimizer.rate: expected a number above 0, got 0 (optimizers, stepbus 1)",
        "run.yaml:2: optimizer.tail.rate: expected a value, got none; it has no default (tails, mine 2)",
    ]


def test_of_an_unknown_component_what_all_of_its_kind_have_is_checked(parts: Components) -> None:
    given = chosen("optimizer: {type: adm, rate: 0, else: 1}", parts)
    with pytest.raises(Invalid) as caught:
        select(given, "optimizer", Base)
    assert [problem.path for problem in caught.value.problems] == ["optimizer.rate", "optimizer.type"]
    # A plugin that could not be loaded may have it, unless the name is nearly one that is there.
    for name, count in (("adm", 2), ("lamb", 1)):
        given = chosen(f"optimizer: {{type: {name}, rate: 0}}", parts, incomplete=True)
        with pytest.raises(Invalid) as caught:
            select(given, "optimizer", Base)
        assert len(caught.value.problems) == count


def test_notes_and_places_reach_the_tree_from_any_depth(parts: Components) -> None:
    given = chosen("optimizer:\n  type: adam\n  tail:\n    type: short\n    rate: 1\n    place: x/y\n", parts)
    made = select(given, "optimizer")
    assert isinstance(made.settings.tail, Selected) and made.settings.tail.settings.place.endswith("/x/y")
    assert given.node.plain()["tail"]["place"] == made.settings.tail.settings.place
    assert [str(note) for note in given.notes] == ["run.yaml:5: optimizer.tail.rate: it has no effect"]


def test_a_setting_of_another_type_falls_away_and_one_of_ones_own_does_not(parts: Components) -> None:
    stale = Mark("run.yaml", 1, stale=True)
    tree = {"type": Node("adam"), "rate": Node(2, stale), "momentum": Node(0.9, stale), "tail": Node("short", stale)}
    given = Given(Node(tree), ("optimizer",), components=parts)
    with pytest.raises(Invalid) as caught:
        select(given, "optimizer")
    assert [problem.path for problem in caught.value.problems] == ["optimizer.tail.rate"]
    assert list(tree) == ["type", "rate", "tail"]


def test_settings_trees_and_structuring_import_in_one_direction() -> None:
    order = [
        "settings",
        "components",
        "trees.yaml_tree",
        "trees.python_tree",
        "trees.typed_values",
        "trees.structuring",
    ]
    above = {
        "stepbus.config.sections",
        "stepbus.config.discovery.presets",
        "stepbus.config.suggestions",
        "stepbus.config.discovery.plugins",
    }
    code = (
        "import sys\n"
        f"for name in {order}:\n"
        "    __import__(f'stepbus.base.{name}')\n"
        f"    print(*[other for other in {order} if f'stepbus.base.{{other}}' in sys.modules])\n"
        f"print(*sorted({above} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [" ".join(order[: place + 1]) for place in range(len(order))] + [""]
