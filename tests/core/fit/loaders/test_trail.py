"""What training saw of a loader, as digests, and what a resume finds of it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from stepbus import CheckpointError
from stepbus.device import backend as backend
from stepbus.fit.loaders.batches import checked
from stepbus.fit.loaders.trail import Expected, Trail


def read(*numbers: float, trail: Trail | None = None, end: bool = False, recent: int = 3) -> Trail:
    """Return a trail of batches that hold a number each."""
    found = trail or Trail(recent)
    found.begin()
    for number in numbers:
        found.add(checked({"x": [number], "labels": [0]}, "train", 0, labelled=True))
    if end:
        found.end()
    return found


def expected(trail: Trail) -> Expected:
    return Expected(json.loads(json.dumps(trail.state_dict())), "train")


def test_marks_stay_at_the_last_batches_and_at_powers_of_two() -> None:
    assert list(read(*range(21)).marks) == [1, 2, 4, 8, 16, 19, 20, 21]
    assert list(read(*range(5), recent=2).marks) == [1, 2, 4, 5]


def test_the_same_batches_pass() -> None:
    saved = expected(read(1, 2, 3, 4, 5, 6))
    for start in (4, 5, 6):
        saved.check_start(0, read(*range(1, start + 1)), start)
    whole = expected(read(1, 2, end=True))
    whole.check_epoch(0, read(1, 2, end=True), with_marks=True)


@pytest.mark.parametrize(
    ("found", "place"),
    [
        ([9, 2, 3, 4, 5, 6, 7], "batch 1 of 7"),
        ([1, 9, 3, 4, 5, 6, 7], "batch 2 of 7"),
        ([1, 2, 9, 4, 5, 6, 7], "batch 3 to 4 of 7"),
        ([1, 2, 3, 4, 5, 6, 9], "batch 7 of 7"),
    ],
)
def test_other_batches_are_named(found: list[int], place: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        expected(read(1, 2, 3, 4, 5, 6, 7)).check_start(1, read(*found), 7)
    assert str(caught.value).startswith(
        f"train: epoch 2, {place}: expected the batches that the run was trained on, got"
    )


def test_an_epoch_that_ended_otherwise_is_named() -> None:
    saved = expected(read(1, 2, end=True))
    with pytest.raises(CheckpointError, match=r"^train: epoch 1, after batch 2: expected the batches"):
        saved.check_epoch(0, read(1, 2, 3, end=True), with_marks=True)
    with pytest.raises(CheckpointError, match=r"^train: epoch 1: expected the batches"):
        saved.check_epoch(0, read(1, 3, end=True), with_marks=False)
    with pytest.raises(CheckpointError, match="expected a digest of epoch 2, got 1 in all"):
        saved.check_epoch(1, read(1, 2, end=True), with_marks=False)


def test_too_few_batches_are_said() -> None:
    saved = expected(read(1, 2, 3, 4))
    with pytest.raises(CheckpointError, match=r"^train: epoch 1, batch 3: expected the 4 batches .* got 2"):
        saved.check_start(0, read(1, 2), 4)


@pytest.mark.parametrize(
    ("saved", "key"),
    [
        ({}, "data.epochs"),
        ({"epochs": [], "marks": {}, "more": 1}, "data: expected epochs, marks"),
        ({"epochs": {}, "marks": {}}, "data.epochs: expected a list"),
        ({"epochs": [1], "marks": {}}, r"data.epochs\[0\]: expected a text"),
        ({"epochs": [], "marks": []}, "data.marks: expected a mapping"),
        ({"epochs": [], "marks": {"x": "ab"}}, "data.marks: expected a whole number"),
    ],
)
def test_damaged_state_is_named(saved: Any, key: str) -> None:
    with pytest.raises(CheckpointError, match=f"^{key}"):
        Expected(saved, "train")
    with pytest.raises(CheckpointError, match=r"data.marks: expected the digest of 2 batches, got none"):
        Expected({"epochs": [], "marks": {}}, "train").check_start(0, read(1, 2), 2)


def test_epochs_are_kept_one_after_the_other() -> None:
    trail = read(1, 2, end=True)
    read(3, 4, trail=trail, end=True)
    assert len(set(trail.epochs)) == 2
    assert trail.epochs[1] == read(3, 4).marks[2]
    assert np.all([len(digest) == 32 for digest in trail.epochs])
