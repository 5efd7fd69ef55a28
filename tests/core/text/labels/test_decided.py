"""What a plugin decided in place of the greatest probability, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepbus import LabelCodec


def codec(task: Any, *names: str) -> LabelCodec:
    made = LabelCodec("mood" if task != "multilabel" else list(names), task)
    made.names = list(names)
    return made


def test_decided_classes_are_the_words_and_probabilities_stay() -> None:
    values = np.array([[0.9, 0.1], [0.6, 0.4], [np.nan, 0.0]], np.float32)
    columns = codec("binary", "calm", "glad").decoded_columns(values, np.array([0, 1, 1]))
    assert [column.name for column in columns] == ["mood", "probability_calm", "probability_glad"]
    assert columns[0].values.tolist() == ["calm", "glad", None]
    assert columns[2].values is not None and columns[2].values[1] == np.float32(0.4)


def test_decided_labels_are_flags() -> None:
    columns = codec("multilabel", "a", "b").decoded_columns(np.array([[0.9, 0.2]]), np.array([[False, True]]))
    assert [column.values.tolist() for column in columns[:2]] == [[0], [1]]


@pytest.mark.parametrize("decided", [[0, 2], [0, -1], [0], [0.0, 1.0], [[0, 1], [1, 0]]])
def test_what_is_no_class_is_refused(decided: Any) -> None:
    with pytest.raises(ValueError, match=r"expected what was decided as class numbers below 2, \[2\], got"):
        codec("binary", "calm", "glad").decoded_columns(np.array([[0.9, 0.1], [0.6, 0.4]]), np.array(decided))
