"""Fits of a plan that cannot be meant: refused before anything is loaded, each with the plugin that made it."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from stepbus import Axis, ConfigError, Fit, hookimpl
from stepbus.run.plans.checks import in_order
from stepbus.testing import planned
from stepbus.testing.script import ScriptedRows

ROWS = ScriptedRows("train", 8)


def plan(*fits: Fit) -> list[Fit]:
    """Plan a run whose one plugin makes these fits."""

    class Makes:
        scope = "run"
        grows = (Axis("round"),)

        @hookimpl
        def expand_fits(self) -> list[Fit]:
            return list(fits)

        @hookimpl
        def combine_results(self, results: list[Any]) -> Any:
            return results[-1]

    return planned(Makes)


def refused(*fits: Fit) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(*fits)
    assert all(str(problem).endswith(f"(makes, {__name__})") for problem in caught.value.problems)
    return str(caught.value)


def fit(name: Any = "one", place: Any = 0, **more: Any) -> Fit:
    return Fit(name, more.pop("sets", {"train": ROWS}), more.pop("seed", 1), {"round": place}, **more)


def test_fits_are_done_after_what_they_wait_for_and_else_in_their_order() -> None:
    fits = [fit("a", 0, after=("c",)), fit("b", 1), fit("c", 2, after=("d", "b")), fit("d", 3), fit("e", 4)]
    assert [each.name for each in plan(*fits)] == ["b", "d", "c", "a", "e"]
    assert [each.name for each in in_order(fits[1:2] + fits[4:])] == ["b", "e"]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "a/b"}, "fit 'a/b': expected a name that a folder can have: letters, digits, - and _"),
        ({"name": ".."}, "fit '..': expected a name that a folder can have"),
        ({"name": ""}, "fit '': expected a name that a folder can have"),
        ({"name": "end."}, "fit 'end.': expected a name that a folder can have"),
        ({"name": "x" * 101}, "expected a name that a folder can have"),
        ({"name": None}, "fit null: expected a name that a folder can have"),
        ({"sets": {}}, "fit 'one': sets: expected rows by name, train among them, got none"),
        ({"sets": {"dev": ROWS}}, "sets: expected rows by name, train among them, got dev"),
        ({"sets": {"train": ROWS, "a/b": ROWS}}, "sets: expected a name of letters, digits and -, got 'a/b'"),
        ({"sets": {"train": [1, 2]}}, "sets.train: expected ScriptedRows, got a list"),
        ({"sets": {"train": ScriptedRows("train", 0)}}, "sets.train: expected rows, got none"),
        ({"seed": -1}, "fit 'one': seed: expected an int from 0 to 4294967295, got -1"),
        ({"seed": "1"}, "seed: expected an int from 0 to 4294967295, got '1'"),
        ({"seed": True}, "seed: expected an int from 0 to 4294967295, got true"),
        ({"place": -1}, """scope: expected places on axes, {"fold": 0}, got {'round': -1}"""),
        ({"place": "first"}, "got {'round': 'first'}"),
        ({"roles": ("train",)}, "roles: expected set name -> roles, got ('train',)"),
        ({"roles": {"trian": ("train",)}}, "roles: expected the name of a set, got 'trian' (did you mean 'train'?)"),
        ({"roles": {"train": "train"}}, "roles.train: expected a tuple of train, stop, score and predict, got 'train'"),
        ({"roles": {"train": ("trains",)}}, "roles.train: expected a tuple of train, stop, score and predict, got"),
        ({"overrides": ["a"]}, "overrides: expected setting -> value, got ['a']"),
        ({"after": "fit"}, """after: expected names of fits, ("fit",), got 'fit'"""),
        ({"after": (1,)}, "got (1,)"),
        ({"starts_from": 3}, "starts_from: expected the name of a fit or a folder, got 3"),
    ],
)
def test_a_fit_that_is_none(wrong: dict[str, Any], words: str) -> None:
    assert words in refused(fit(**wrong))


def test_one_name_of_many_fits_is_said_once() -> None:
    words = "two fits of the plan have the same name: 'a'"
    assert refused(fit("a"), fit("a", 1), fit("a", 2)).count(words) == 1


@pytest.mark.parametrize(
    ("fits", "words"),
    [
        ([fit("a"), fit("a", 1)], "plugins.makes: two fits of the plan have the same name: 'a'; give each its own"),
        ([fit("a"), fit("A", 1)], "two fits have names that may be one folder: 'a' and 'A'; give each its own"),
        ([fit("é"), fit("e\u0301", 1)], "two fits have names that may be one folder: 'é' and"),
        (
            [fit("a"), fit("b")],
            "expected fits that differ in their place, got 'a' and 'b', both on round 0; give each a scope of its own, "
            "or make it auxiliary",
        ),
        ([evolve(fit("a"), scope={}), evolve(fit("b"), scope={})], "got 'a' and 'b', both on no axis"),
        (
            [fit("one"), fit("two", 1, after=("on",))],
            "fit 'two': after: expected the name of a fit of the plan, got 'on' (did you mean 'one'?)",
        ),
        ([fit("a", after=("a",))], "expected fits that can be done one after the other, got a circle: a after a"),
        (
            [fit("a", 0, after=("b",)), fit("b", 1, after=("c",)), fit("c", 2, after=("a",))],
            "got a circle: ",
        ),
        (
            [fit("one"), fit("two", 1, starts_from="one")],
            "fit 'two': starts_from: expected 'one' in after as well, got ()",
        ),
        (
            [fit("one"), fit("two", 1, after=("one",), starts_from="onee")],
            "starts_from: expected a fit of the plan, or a model's folder, got 'onee' (did you mean 'one'?)",
        ),
        ([fit("a", starts_from="nowhere/model")], "expected a fit of the plan, or a model's folder: "),
    ],
)
def test_fits_that_do_not_go_together(fits: list[Fit], words: str) -> None:
    assert words in refused(*fits)


def test_every_problem_is_said_at_once() -> None:
    found = refused(fit("a", seed=-1), fit("b", 1, after="a"), fit("c/d", 2))
    assert len(found.splitlines()) == 3


def test_the_plugin_is_named_that_made_it_so_not_one_that_passed_it_on() -> None:
    class First:
        scope = "run"

        @hookimpl
        def expand_fits(self, fits: list[Fit]) -> list[Fit]:
            return [evolve(fits[0], after=("nobody",))]

    class Second:
        scope = "run"

        @hookimpl
        def expand_fits(self, fits: list[Fit]) -> list[Fit]:
            return [evolve(fits[0], starts_from="no/where")]

    with pytest.raises(ConfigError) as caught:
        planned(First, Second)
    assert [problem.path for problem in caught.value.problems] == ["plugins.first", "plugins.second"]
