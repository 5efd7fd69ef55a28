"""What a model's tables hold, and rows that they have no place for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepbus.base.errors import ModelError
from stepbus.text.tokens.encode import Tokens
from stepbus.text.tokens.limits import Limits

FILE = "train.csv:{}".format  # a row's place among them stands for its line

LIMITS = Limits(tokens=10, types=1, positions=6)


def tokens(*rows: list[int], types: list[int] | None = None, pad_id: int = 0) -> Tokens:
    return Tokens(
        ids=np.array([number for row in rows for number in row], dtype=np.int32),
        offsets=np.cumsum([0, *map(len, rows)]).astype(np.int64),
        types=None if types is None else np.array(types, dtype=np.uint8),
        row_ids=np.array([f"r{index}" for index in range(len(rows))]),
        pad_id=pad_id,
    )


def test_everything_up_to_the_last_row_of_each_table_passes() -> None:
    LIMITS.check(tokens([0, 9, 9, 9, 9, 9], [3], pad_id=9), FILE)
    LIMITS.check(tokens(), FILE)
    Limits().check(tokens([10**6, 3], types=[0, 7]), FILE)


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        (
            [[1], [2, 10]],
            {},
            r"train.csv:1: expected token ids below 10, .* id 10; train with model.resize_",
        ),
        ([[1, 4294], [2]], {}, r"train.csv:0: expected token ids below 10, .* got id 4294"),
        ([[1], [-1, 2]], {}, r"train.csv:1: expected token ids of at least 0, got -1"),
        ([[1]], {"pad_id": 10}, r"padding: expected token ids below 10, .* got id 10"),
        (
            [[1], [2, 3]],
            {"types": [0, 0, 1]},
            r"train.csv:1: expected token types below 1, .*\(type_vocab_size\), got type 1 for its second text",
        ),
        ([[1, 2, 3, 4, 5, 6, 7]], {}, r"data\.max_length: expected at most the model's 6 positions, got a row of 7"),
    ],
)
def test_what_is_beyond_a_table_is_refused(rows: list[list[int]], more: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        LIMITS.check(tokens(*rows, **more), FILE)


@pytest.mark.parametrize(
    ("config", "limits"),
    [
        ({"vocab_size": 7, "type_vocab_size": 2, "max_position_embeddings": 9, "pad_token_id": 6}, Limits(7, 2, 9)),
        ({"vocab_size": 7, "pad_token_id": None}, Limits(7)),
        ({"vocab_size": True, "type_vocab_size": "2", "max_position_embeddings": None}, Limits()),
        ({}, Limits()),
    ],
)
def test_limits_are_read_from_config_json(config: dict[str, Any], limits: Limits) -> None:
    assert Limits.of(config) == limits


@pytest.mark.parametrize("pad", [7, -1, 10**9, True, "0", 1.0])
def test_a_padding_token_outside_the_table_is_refused(pad: Any) -> None:
    with pytest.raises(ModelError, match=r"m: config\.json: pad_token_id: expected an id from 0 to 6, for vocab_size"):
        Limits.of({"vocab_size": 7, "pad_token_id": pad}, "m")


@pytest.mark.parametrize(
    ("asked", "tokenizer", "longest", "reason"),
    [
        (6, None, 6, None),
        (5, 100, 5, None),
        (128, None, 6, "rows are cut to 6 tokens in place of data.max_length 128: the model has 6 positions"),
        (128, 4, 4, "rows are cut to 4 tokens in place of data.max_length 128: the tokenizer's model_max_length is 4"),
        (128, 64, 6, "rows are cut to 6 tokens in place of data.max_length 128: the model has 6 positions"),
    ],
)
def test_rows_are_never_longer_than_positions(
    asked: int, tokenizer: int | None, longest: int, reason: str | None
) -> None:
    assert LIMITS.longest(asked, tokenizer) == (longest, reason)
    assert Limits().longest(asked) == (asked, None)
