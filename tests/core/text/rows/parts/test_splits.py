"""Rows set aside for validation: the same ones for a seed, classes and groups kept."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base.errors import DataError
from stepbus.config.sections import DataSettings
from stepbus.text.rows.parts.splits import split_rows
from stepbus.text.rows.table import Rows, read_rows


def frame_rows(count: int, **columns: list) -> Rows:  # type: ignore[type-arg]
    return read_rows(pd.DataFrame({"n": range(count), **columns}), name="train", config=DataSettings())


def test_split_is_the_same_for_a_seed_and_keeps_the_order() -> None:
    rows = frame_rows(100)
    train, validation = split_rows(rows, 0.2, seed=1)
    assert (len(train), len(validation), train.name, validation.name) == (80, 20, "train", "validation")
    assert sorted([*train.ids, *validation.ids]) == list(range(100))
    assert (np.diff(train.ids) > 0).all()
    assert (np.diff(validation.ids) > 0).all()
    assert split_rows(rows, 0.2, seed=1)[1].ids.tolist() == validation.ids.tolist()
    assert split_rows(rows, 0.2, seed=2)[1].ids.tolist() != validation.ids.tolist()


def test_split_keeps_the_shares_of_classes_and_leaves_none_out() -> None:
    labels = ["a"] * 50 + ["b"] * 40 + ["c"] * 8 + ["rare"] * 2
    train, validation = split_rows(frame_rows(100, label=labels), 0.2, seed=3, stratify_by=labels)
    assert validation.frame["label"].value_counts().to_dict() == {"a": 10, "b": 8, "c": 1, "rare": 1}
    assert set(train.frame["label"]) == set(labels)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=12), st.floats(0.05, 0.9), st.integers(0, 99))
def test_every_class_is_on_both_sides_as_evenly_as_can_be(sizes: list[int], fraction: float, seed: int) -> None:
    labels = [name for name, size in enumerate(sizes) for _ in range(size)]
    rows, wanted = frame_rows(len(labels), label=labels), math.ceil(len(labels) * fraction)
    if not len(sizes) <= min(wanted, len(labels) - wanted):
        with pytest.raises(DataError, match="on both sides"):
            split_rows(rows, fraction, seed=seed, stratify_by=labels)
        return
    train, validation = split_rows(rows, fraction, seed=seed, stratify_by=labels)
    assert len(validation) == wanted
    assert sorted([*train.ids, *validation.ids]) == list(range(len(labels)))
    counts = validation.frame["label"].value_counts()
    for name, size in enumerate(sizes):
        assert 1 <= counts[name] <= size - 1
    # No row of one class could be swapped for one of another so that both come nearer to their share.
    over = [counts[name] - size * wanted / len(labels) for name, size in enumerate(sizes)]
    can_give = [gap for gap, name in zip(over, counts.sort_index(), strict=True) if name > 1]
    can_take = [gap for gap, name, size in zip(over, counts.sort_index(), sizes, strict=True) if name < size - 1]
    if can_give and can_take:
        assert max(can_give) - min(can_take) <= 1 + 1e-9


def test_a_class_that_a_split_cannot_hold_is_refused_by_name() -> None:
    labels = ["a"] * 50 + ["b"] * 50 + ["rare"]
    with pytest.raises(DataError, match=r"data.stratify: .*got one of 'rare' \(train frame, row 101\); take the row"):
        split_rows(frame_rows(101), 0.2, seed=3, stratify_by=labels)
    with pytest.raises(DataError, match=r"data.stratify: .*'b' in one group \(train frame, row 3\)"):
        split_rows(frame_rows(6), 0.5, seed=0, stratify_by=list("aabbaa"), groups=[1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize("seed", range(5))
def test_whole_groups_still_have_each_class_on_both_sides(seed: int) -> None:
    groups = [f"g{index // 2}" for index in range(80)]
    labels = ["rare" if index in (0, 40) else "ab"[index % 2] for index in range(80)]
    train, validation = split_rows(
        frame_rows(80, label=labels, group=groups), 0.5, seed=seed, groups=groups, stratify_by=labels
    )
    assert set(train.frame["label"]) == set(validation.frame["label"]) == set(labels)
    assert not set(train.frame["group"]) & set(validation.frame["group"])


@pytest.mark.parametrize("fraction", [0.2, 0.75])
@pytest.mark.parametrize("stratified", [False, True])
def test_split_keeps_groups_whole(fraction: float, stratified: bool) -> None:
    groups = [f"g{index // 4}" for index in range(200)]
    labels = [index % 3 == 0 for index in range(200)] if stratified else None
    train, validation = split_rows(frame_rows(200, group=groups), fraction, seed=5, groups=groups, stratify_by=labels)
    assert not set(train.frame["group"]) & set(validation.frame["group"])
    assert len(train) + len(validation) == 200
    assert abs(len(validation) / 200 - fraction) <= 0.05


def test_splits_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="expected rows on both sides of the split, got 1 rows"):
        split_rows(frame_rows(1), 0.2, seed=0)
    with pytest.raises(DataError, match="at least one row of each of 5 classes"):
        split_rows(frame_rows(10), 0.2, seed=0, stratify_by=list("aabbccddee"))
    with pytest.raises(DataError, match="at least two groups"):
        split_rows(frame_rows(4), 0.5, seed=0, groups=["g"] * 4)
