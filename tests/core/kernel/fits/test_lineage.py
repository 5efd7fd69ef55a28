"""What weights have seen, as sets of (source, row)."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.kernel.fits.lineage import Lineage

sources = st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 30), max_size=40), max_size=3)


class Rows(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.places)

    @property
    def pieces(self) -> list[Any]:
        """Rows of one source are one piece."""
        return [(self, np.arange(len(self)))]


def set_of(key: str, *places: int) -> Rows:
    return Rows(source_key=key, places=np.array(places, dtype=np.int64), ids=np.array([f"{key}{p}" for p in places]))


def pairs(lineage: Lineage) -> set[tuple[str, int]]:
    return {(key, place) for key, places in lineage.rows.items() for place in places.tolist()}


@settings(max_examples=50, deadline=None)
@given(sources, sources, sources)
def test_a_lineage_is_a_set_of_rows(one: Any, two: Any, three: Any) -> None:
    a, b, c = (Lineage(each) for each in (one, two, three))
    wanted = {(key, place) for each in (one, two) for key, places in each.items() for place in places}
    assert pairs(a | b) == wanted
    assert len(a | b) == len(wanted)
    assert (a | b) | c == a | (b | c)
    assert a | b == b | a
    assert a | a == a
    assert bool(a) == bool(pairs(a))
    for places in (a | b).rows.values():
        assert places.dtype == np.int64
        assert (np.diff(places) > 0).all()


@settings(max_examples=50, deadline=None)
@given(sources, st.sampled_from("abc"), st.lists(st.integers(0, 30)))
def test_rows_are_found_again_in_their_order(seen: Any, key: str, places: list[int]) -> None:
    among = Lineage(seen).among(set_of(key, *places))
    assert among.tolist() == [place in seen.get(key, []) for place in places]


def test_it_is_made_of_sets_and_knows_of_some_that_it_cannot_name() -> None:
    known = Lineage.of([set_of("a", 3, 1), set_of("b", 0), set_of("a", 1, 7)])
    assert pairs(known) == {("a", 1), ("a", 3), ("a", 7), ("b", 0)}
    assert not known.unknown
    loader = Lineage.of([object()])
    assert (bool(loader), len(loader), loader.unknown) == (True, 0, True)
    assert (known | loader).unknown
    assert (loader | known).unknown
    assert known | loader != known
    assert loader.among(object()).tolist() == []


def test_nobody_changes_it_and_a_copy_is_the_same() -> None:
    lineage = Lineage({"a": np.array([1, 2])})
    with pytest.raises(ValueError, match="read-only"):
        lineage.rows["a"][0] = 7
    assert copy.deepcopy(lineage) is lineage
    assert lineage != "a"


def test_rows_of_another_source_are_known_by_what_they_hold() -> None:
    whole = set_of("a", 0, 1, 2, 3)
    whole.row_keys = np.array([10, 11, 11, 13], dtype=np.uint64)
    seen = set_of("a", 0, 1)
    seen.row_keys = whole.row_keys[:2]
    part = set_of("b", 0, 1, 2)
    part.row_keys = np.array([13, 11, 10], dtype=np.uint64)
    lineage = Lineage.of([seen])
    assert lineage.among(whole).tolist() == [True, True, False, False]  # of two equal rows, the one that was seen
    assert lineage.among(part).tolist() == [False, True, True]
    assert (lineage | Lineage.of([part])).among(whole).tolist() == [True, True, True, True]
    assert lineage != Lineage(lineage.rows)
    assert lineage.among(set_of("c", 0)).tolist() == [False]  # rows that do not say what they hold
    with pytest.raises(ValueError, match="read-only"):
        lineage.contents["a"][0] = 7
