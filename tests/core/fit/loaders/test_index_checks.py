"""Class numbers and tokens are held against what the model has, before any of them reaches a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepbus import DataError, create_model
from stepbus.fit.loaders.batches import checked
from stepbus.fit.loaders.index_checks import Classes, token_check

HERE = "train: epoch 1, batch 1"


def labels(*numbers: int) -> Any:
    return checked({"x": np.zeros(len(numbers)), "labels": list(numbers)}, HERE, 0, labelled=True)


def test_labels_are_compared_as_soon_as_the_classes_are_known() -> None:
    classes = Classes()
    classes.check(labels(0, 3), "batch 1")
    classes.check(labels(0, 7), "batch 2")
    with pytest.raises(DataError, match=r"^batch 2: labels: expected class numbers below 5, .* got 7"):
        classes.learn((2, 5))
    classes.check(labels(0, 4), "batch 3")
    with pytest.raises(DataError, match=r"^batch 4: labels: .* got 5"):
        classes.check(labels(5), "batch 4")
    classes.check(checked({"x": [0.0]}, HERE, 0, labelled=False), "batch 5")


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 2)])
def test_one_output_is_for_two_classes(shape: tuple[int, ...]) -> None:
    classes = Classes()
    classes.learn(shape)
    assert classes.known == 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"input_ids": None}, r"expected input_ids \[B, L\], which the model computes with, got none"),
        ({"attention_mask": None}, r"expected attention_mask \[B, L\]"),
        ({"attention_mask": np.ones((2, 3))}, r"attention_mask: expected \[B, L\] like input_ids, got \[2, 3\]"),
        ({"input_ids": np.full((2, 4), 99)}, r"input_ids: expected numbers from 0 to \d+ \(vocab_size\), got 99"),
        ({"input_ids": np.full((2, 4), -1)}, r"input_ids: expected numbers from 0 to \d+ \(vocab_size\), got -1"),
        ({"input_ids": np.ones((2, 4))}, "input_ids: expected whole numbers, got float32 values"),
        (
            {"token_type_ids": np.full((2, 4), 7)},
            r"token_type_ids: expected numbers from 0 to 1 \(type_vocab_size\)",
        ),
        ({"labels": [0, 2]}, r"labels: expected numbers from 0 to 1 \(the model's outputs\), got 2"),
        ({"labels": [[0], [1]]}, r"labels: expected class numbers \[B\], got the shape \[2, 1\]"),
        (
            {"input_ids": np.ones((2, 40), int), "attention_mask": np.ones((2, 40))},
            "expected at most 32 tokens a row, the positions of the model, got 40",
        ),
    ],
)
def test_tokens(changed: dict[str, Any], said: str, tiny_config: Callable[..., dict[str, Any]]) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    check = token_check(create_model("bert", **section))
    good = {"input_ids": np.ones((2, 4), int), "attention_mask": np.ones((2, 4)), "labels": [0, 1]}
    check(checked(good, HERE, 0, labelled=True), HERE)
    with pytest.raises(DataError, match=f"^{HERE}: {said}"):
        check(checked({**good, **changed}, HERE, 0, labelled=True), HERE)


def test_targets_of_other_heads(tiny_config: Callable[..., dict[str, Any]]) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    check = token_check(create_model("bert", head_type="multilabel", num_labels=3, **section))
    good = {"input_ids": np.ones((2, 4), int), "attention_mask": np.ones((2, 4)), "labels": np.ones((2, 3))}
    check(checked(good, HERE, 0, labelled=True), HERE)
    with pytest.raises(DataError, match="labels: expected 3 a row, as many as the model has outputs"):
        check(checked({**good, "labels": np.ones((2, 2))}, HERE, 0, labelled=True), HERE)
