"""Read-only values: nobody but core writes, everybody reads and copies as from plain ones."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from attrs import asdict, define, field

from stepbus.base.guards.read_only import (
    AssignedByCore,
    ReadOnlyDict,
    ReadOnlyError,
    ReadOnlyList,
    as_read_only,
    hand_over,
    unless_handed_over,
)
from stepbus.fit.session import FitSession
from stepbus.kernel.control import Control
from stepbus.kernel.fits import Fit, FitResult, Predictions
from stepbus.kernel.state import TrainingState

WRITES: dict[str, Callable[[Any], Any]] = {
    "sets": lambda it: it.__setitem__("a", 2),
    "deletes": lambda it: it.__delitem__("a"),
    "updates": lambda it: it.update(b=1),
    "joins": lambda it: it.__ior__({"b": 1}),
    "pops": lambda it: it.pop("a"),
    "pops any": lambda it: it.popitem(),
    "defaults": lambda it: it.setdefault("b", 1),
    "clears": lambda it: it.clear(),
}
LIST_WRITES: dict[str, Callable[[Any], Any]] = {
    "sets": lambda it: it.__setitem__(0, 9),
    "deletes": lambda it: it.__delitem__(0),
    "appends": lambda it: it.append(1),
    "extends": lambda it: it.extend([1]),
    "adds": lambda it: it.__iadd__([1]),
    "multiplies": lambda it: it.__imul__(2),
    "inserts": lambda it: it.insert(0, 1),
    "pops": lambda it: it.pop(),
    "removes": lambda it: it.remove(1),
    "clears": lambda it: it.clear(),
    "sorts": lambda it: it.sort(),
    "reverses": lambda it: it.reverse(),
}


@pytest.mark.parametrize("name", WRITES)
def test_a_mapping_is_not_written(name: str) -> None:
    mapping = ReadOnlyDict({"a": 1})
    with pytest.raises(ReadOnlyError, match=r"this mapping is read-only here; change a copy: dict\(…\)"):
        WRITES[name](mapping)
    assert mapping == {"a": 1}


@pytest.mark.parametrize("name", LIST_WRITES)
def test_a_list_is_not_written(name: str) -> None:
    found = ReadOnlyList([1, 2])
    with pytest.raises(ReadOnlyError, match=r"this list is read-only here; change a copy: list\(…\)"):
        LIST_WRITES[name](found)
    assert found == [1, 2]


def test_they_read_as_plain_ones() -> None:
    mapping, found = as_read_only({"a": 1}), as_read_only([{"a": 1}, 2])
    assert (repr(mapping), repr(found)) == ("{'a': 1}", "[{'a': 1}, 2]")
    assert (json.dumps(mapping), json.dumps(found)) == ('{"a": 1}', '[{"a": 1}, 2]')
    assert {**mapping, "b": 2} == mapping | {"b": 2} == {"a": 1, "b": 2}
    assert isinstance(mapping, dict) and isinstance(found, list)


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda it: it.copy(), lambda it: pickle.loads(pickle.dumps(it))]
)
def test_a_copy_is_ones_own(way: Callable[[Any], Any]) -> None:
    mapping, found = way(ReadOnlyDict({"a": 1})), way(ReadOnlyList([1]))
    assert (type(mapping), type(found)) == (dict, list)
    mapping["b"], found[0] = 2, 3
    assert (mapping, found) == ({"a": 1, "b": 2}, [3])


def test_an_array_is_a_view_that_is_not_written() -> None:
    array = np.arange(3)
    view = as_read_only(array)
    with pytest.raises(ValueError, match="read-only"):
        view[0] = 7
    array[0] = 5  # whoever made it may
    assert view[0] == 5
    assert as_read_only(view) is view


def test_other_values_are_themselves() -> None:
    for value in (None, "text", (1, 2), 3.5, ReadOnlyDict()):
        assert as_read_only(value) is value


class Held(AssignedByCore):
    named, free = "thing", ("signal",)


def test_attributes_are_assigned_by_core_alone() -> None:
    held = Held()
    for act in (lambda: setattr(held, "fit", 1), lambda: delattr(held, "fit")):
        with pytest.raises(ReadOnlyError, match=r"^thing.fit is read-only here"):
            act()
    held.signal = 2  # type: ignore[attr-defined]
    assert vars(held) == {"signal": 2}
    assert issubclass(FitSession, AssignedByCore)


@define(on_setattr=unless_handed_over)
class Thing:
    named = "thing"
    numbers: dict[str, int] = field(factory=dict)
    handed_over: bool = field(default=False, init=False)


def test_an_object_is_its_makers_until_it_is_handed_over() -> None:
    thing = Thing()
    thing.numbers = {"a": 1}
    thing.numbers["b"] = 2
    hand_over(thing)
    with pytest.raises(ReadOnlyError, match=r"^thing.numbers is read-only here"):
        thing.numbers = {}
    with pytest.raises(ReadOnlyError, match="this mapping"):
        thing.numbers["c"] = 3
    assert asdict(thing)["numbers"] == {"a": 1, "b": 2}


def test_what_hooks_are_given_is_such_an_object() -> None:
    state, control = TrainingState(), Control()
    before = state.state_dict()
    result = FitResult(Fit("fit", {"train": [1]}, 1))
    for each in (state, control, result):
        hand_over(each)
    result.fit.seal()
    for act in (
        lambda: setattr(state, "step", 5),
        lambda: state.history.append({}),
        lambda: setattr(control, "step", 5),
        lambda: control.stop.clear(),
        lambda: setattr(result, "status", "ok"),
        lambda: result.fit.sets.clear(),
    ):
        with pytest.raises(ReadOnlyError):
            act()
    # What is stored of it is plain, and core goes on.
    assert state.state_dict() == before
    assert "handed_over" not in before
    state.load_state_dict({**before, "step": 3})
    control.request_stop("enough")
    assert (state.step, control.why("stop")) == (3, "engine at step 0: enough")


def test_predictions_are_not_written() -> None:
    given = Predictions(np.arange(2), np.zeros((2, 2)), np.zeros(2), np.ones(2), np.zeros(2, int))
    for name in ("row_ids", "values", "labels", "weights", "fold"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(given, name)[0] = 1
