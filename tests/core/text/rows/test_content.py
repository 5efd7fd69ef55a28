"""One key for the same rows, wherever they are; another one as soon as a cell, a name or a row differs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import load_config
from stepbus.text.rows.content import content_keys
from stepbus.text.rows.table import Rows, read_rows

CSV = 'text,n,code,flag,gap,part\n"two\nlines",1,007,true,NA,7.250\n\nsecond,22,12,false,,0.1\n " ,3,3,true,x,1e-05\n'


def read(source: Any) -> Rows:
    return read_rows(source, name="train", config=load_config({}).data.settings)


def test_a_file_its_copy_and_the_frame_of_it_have_one_key(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "copy.csv").write_text(CSV.replace("\n\n", "\n"))
    frame = pd.read_csv(io.StringIO(CSV))
    frame.to_parquet(tmp_path / "a.parquet")
    lines = frame.astype(object).where(frame.notna(), None).to_dict("records")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "a.tsv").write_text("text\tn\nx\t1\n")
    sources = [tmp_path / "a.csv", tmp_path / "copy.csv", frame, frame[frame.columns[::-1]], lines]
    sources += [tmp_path / "a.parquet", tmp_path / "a.jsonl", frame.set_index(frame.index + 5)]
    keys = {read(source).source_key for source in sources}
    assert len(keys) == 1
    (key,) = keys
    assert len(key) == 16 and int(key, 16) >= 0
    assert read(tmp_path / "a.tsv").source_key != key


def test_a_part_has_the_key_of_the_whole_and_knows_its_places(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    rows = read(tmp_path / "a.csv")
    part = rows.take([2, 0]).take([0], "stop")
    assert part.source_key == rows.source_key
    assert rows.numbers.tolist() == [2, 5, 6]
    assert rows.places.tolist() == [0, 1, 2]
    assert part.places.tolist() == [2]
    assert read(pd.read_csv(tmp_path / "a.csv")).take([2, 0]).places.tolist() == [2, 0]


def test_it_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read({"text": ["a", "b"]})
    key = rows.take([1]).source_key
    monkeypatch.setattr("stepbus.text.rows.content.content_keys", lambda frame: pytest.fail("looked again"))
    assert (rows.source_key, rows.take([0]).source_key) == (key, key)


@pytest.mark.parametrize(
    "other",
    [
        {"a": ["x", "y"], "b": [1, 2]},
        {"a": ["x", "yz"], "c": [1, 2]},
        {"a": ["x", "yz"], "b": [1, 3]},
        {"a": ["x", "yz"], "b": [1, None]},
        {"a": ["xy", "z"], "b": [1, 2]},
        {"a": ["yz", "x"], "b": [2, 1]},
        {"a": ["x", "yz", "x"], "b": [1, 2, 1]},
        {"a": ["x", "yz"], "b": [1, 2], "c": [None, None]},
        {"a": ["x", "yz"], "b": [[1], [2]]},
        {"b": ["x", "yz"], "a": [1, 2]},
    ],
)
def test_what_differs_has_another_key(other: dict[str, Any]) -> None:
    assert content_keys(pd.DataFrame(other))[0] != content_keys(pd.DataFrame({"a": ["x", "yz"], "b": [1, 2]}))[0]


def test_long_numbers_are_told_apart_and_lists_are_looked_into() -> None:
    keys = [content_keys(pd.DataFrame({"a": [value]}))[0] for value in ("1234567890123456789", "1234567890123456788")]
    keys += [content_keys(pd.DataFrame({"a": pd.Series([value], dtype=object)}))[0] for value in ([1, 2], [1, 3])]
    keys += [
        content_keys(pd.DataFrame({"a": pd.Series([value], dtype=object)}))[0]
        for value in (np.inf, "in", "\ud83d", None)
    ]
    assert len(set(keys)) == len(keys)
    assert content_keys(pd.DataFrame({"a": pd.Series([np.array([1, 2])])}))[0] == keys[2]


def test_a_row_has_its_number_in_every_source_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    frame = pd.read_csv(io.StringIO(CSV))
    frame.to_parquet(tmp_path / "a.parquet")
    rows = read(tmp_path / "a.csv")
    numbers = rows.row_keys.tolist()
    assert len(set(numbers)) == 3
    assert rows.take([2, 0]).row_keys.tolist() == [numbers[2], numbers[0]]
    assert read(tmp_path / "a.parquet").row_keys.tolist() == numbers
    assert read(frame[frame.columns[::-1]].iloc[[1]]).row_keys.tolist() == [numbers[1]]
    assert read(pd.concat([frame.iloc[[2, 1]], frame])).row_keys.tolist() == [numbers[2], numbers[1], *numbers]


@pytest.mark.parametrize(
    "other",
    [
        {"a": ["1"], "b": ["x"]},
        {"a": ["x"], "b": [2]},
        {"a": ["x"], "b": [None]},
        {"a": ["x"], "c": [1]},
        {"a": ["x"]},
        {"a": ["x"], "b": [1], "c": [None]},
        {"a": ["\ud83d"], "b": [1]},
    ],
)
def test_a_row_that_differs_has_another_number(other: dict[str, Any]) -> None:
    assert read(other).row_keys[0] != read({"a": ["x"], "b": [1]}).row_keys[0]


def test_a_column_may_have_any_name() -> None:
    rows = read({"source_key": ["a", "b"], "content": ["c", "d"]})
    assert len(rows.source_key) == 16
    assert (rows.cells("source_key"), rows.cells("content")) == (["a", "b"], ["c", "d"])
