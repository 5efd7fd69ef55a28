"""Counted things and lists in sentences, and names."""

from __future__ import annotations

import pytest

from stepbus import counted, listed
from stepbus.base.wording import snake_case


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (0, ("epoch",), "0 epochs"),
        (1, ("epoch",), "1 epoch"),
        (2000, ("row",), "2,000 rows"),
        (1, ("batch", "batches"), "1 batch"),
        (3, ("batch", "batches"), "3 batches"),
    ],
)
def test_counted(number: int, words: tuple[str, ...], said: str) -> None:
    assert counted(number, *words) == said


def test_listed() -> None:
    assert [listed(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert listed(["a", "b"], "or") == "a or b"


@pytest.mark.parametrize(
    ("name", "snaked"),
    [
        ("PrintLoss", "print_loss"),
        ("EMA", "ema"),
        ("EMAWeights", "ema_weights"),
        ("LogHTTP", "log_http"),
        ("Top2Loss", "top2_loss"),
        ("L2", "l2"),
        ("_Recorder", "recorder"),
        ("My_Plugin", "my_plugin"),
        ("already_so", "already_so"),
        ("", ""),
    ],
)
def test_a_class_has_a_name_for_yaml(name: str, snaked: str) -> None:
    assert snake_case(name) == snaked
    assert snake_case(snaked) == snaked
