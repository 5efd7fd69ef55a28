"""What training rows of each class weigh together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepbus import DataError
from stepbus.text.labels.class_counts import ClassCounts
from stepbus.text.labels.codec import LabelCodec


def codec(task: Any, *names: str) -> LabelCodec:
    found = LabelCodec("label", task)
    found.task, found.names = task, list(names)
    return found


WEIGHTS = np.array([1.0, 0.5, 2.0], np.float32)


@pytest.mark.parametrize(
    ("known", "labels", "by_class"),
    [
        (codec("multiclass", "a", "b", "c"), np.array([2, 0, 2], np.int32), (0.5, 0.0, 3.0)),
        (codec("binary", "a", "b"), np.array([[0.25, 0.75], [1, 0], [0.5, 0.5]], np.float32), (1.75, 1.75)),
        (codec("multilabel", "a", "b"), np.array([[1, 0], [1, 1], [0, 1]], np.float32), (1.5, 2.5)),
        (codec("regression", "a"), np.array([0.5, -1.0, 0.5], np.float32), ()),
    ],
)
def test_rows_count_by_their_weights(known: LabelCodec, labels: Any, by_class: Any) -> None:
    counts = ClassCounts.of(known, labels, WEIGHTS)
    assert counts == ClassCounts(by_class, 3.5)
    assert ClassCounts.from_state(counts.state_dict(), known) == counts


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        ([], "counts: expected a mapping, got a list"),
        ({"by_class": [1.0], "total": 1.0}, "counts.by_class: expected a list of 2 numbers, got 1"),
        ({"by_class": None, "total": 1.0}, "counts.by_class: expected a list of 2 numbers, got null"),
        ({"by_class": [1.0, "x"], "total": 1.0}, "counts.by_class: expected a finite number of at least 0, got 'x'"),
        ({"by_class": [1.0, 1.0]}, "counts.total: expected a finite number of at least 0, got null"),
    ],
)
def test_a_state_that_cannot_be_names_its_key(saved: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        ClassCounts.from_state(saved, codec("binary", "a", "b"))
    assert str(caught.value) == said
