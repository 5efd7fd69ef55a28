"""Texts and pairs from columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import DataError, Rows, load_config
from stepbus.text.rows.table import read_rows
from stepbus_plugins.text_data import TextColumns, TextData, TextDataConfig


def rows(**columns: list[Any]) -> Rows:
    return read_rows(pd.DataFrame(columns), name="train", config=load_config({}).data.settings)


def source(**settings: Any) -> TextColumns:
    (component,) = TextData.components
    assert (component.kind, component.name) == ("data", "text")
    built: TextColumns = component.build(TextDataConfig(**settings))
    return built


def test_one_column_as_it_is_written() -> None:
    table = rows(text=["a  b", " c\n"], label=[0, 1])
    made = source(text="text", label="label")
    made.fit(table)
    assert made.texts(table) == (["a  b", " c\n"], None)
    assert made.state_dict() == {}


def test_two_columns_are_a_pair_and_numbers_are_text_too() -> None:
    assert source(text=["q", "n"]).texts(rows(q=["x", "y"], n=[1, 2])) == (["x", "y"], ["1", "2"])
    assert source(text=["q"]).texts(rows(q=["x"])) == (["x"], None)


def test_a_text_is_as_it_is_written_whatever_stands_beside_it(tmp_path: Path) -> None:
    odd = ["007", "1E1", "3.10", "+5", "1_000", "NA", "nan", "True", "12.0", " 5 ", "inf", "0x10", "-0", "2024-01-05"]
    made = source(text="text")
    for cells in (odd, odd[::-1], [*odd, "words"], *([cell] for cell in odd), ["1", "2"], ["NA"]):
        path = tmp_path / "train.csv"
        path.write_text("text,n\n" + "".join(f"{cell},1\n" for cell in cells))
        assert made.texts(read_rows(path, name="train", config=load_config({}).data.settings))[0] == cells
        path = tmp_path / "train.jsonl"
        path.write_text("".join(json.dumps({"text": cell}) + "\n" for cell in cells))
        assert made.texts(read_rows(path, name="train", config=load_config({}).data.settings))[0] == cells
        assert made.texts(rows(text=cells))[0] == cells
    assert made.texts(rows(text=pd.array([12, 5], dtype="Int64")))[0] == ["12", "5"]
    assert source(text="text", missing="").texts(rows(text=[12, None]))[0] == ["12", ""]


@pytest.mark.parametrize("value", [["a"], ("a", "b"), {"a": 1}, {"a"}, b"a", np.array(["a"])])
def test_lists_and_other_things_are_no_text(value: Any) -> None:
    with pytest.raises(
        DataError, match=r"row 2: column 'text': expected one value, got (an? )?\w+: .*; a text is one string"
    ):
        source(text="text").texts(rows(text=["x", value]))


@pytest.mark.parametrize("empty", [None, "", "  ", float("nan")])
def test_an_empty_text_is_an_error_unless_it_has_a_meaning(empty: Any) -> None:
    table = rows(text=["x", empty])
    with pytest.raises(DataError, match=r"train frame, row 2: column 'text': expected text, got nothing"):
        source(text="text").texts(table)
    assert source(text="text", missing="nothing said").texts(table) == (["x", "nothing said"], None)
    assert source(text="text", missing="").texts(table) == (["x", ""], None)


def test_columns_that_cannot_be_texts() -> None:
    with pytest.raises(DataError, match=r"data.text: expected a column 'txt' \(did you mean 'text'\?\), got text"):
        source(text="txt").texts(rows(text=["x"]))
    with pytest.raises(DataError, match=r"expected a column that is no label, got 'b', which data\.label names"):
        source(text=["a", "b"], label=["b", "c"]).fit(rows(a=["x"], b=[1], c=[0]))
    with pytest.raises(
        DataError, match=r"row 1: column 'text': expected one value, got a list: \['x'\]; a text is one string"
    ):
        source(text="text").texts(rows(text=[["x"]]))


@pytest.mark.parametrize("value", [[], ["a", "b", "c"], ["a", "a"]])
def test_settings_refuse_what_is_neither_text_nor_pair(value: list[str]) -> None:
    check = TextDataConfig.__attrs_attrs__.text.metadata["check"]
    assert not check(value)
    assert check("a")
    assert check(["a", "b"])


def test_a_state_of_another_component_is_refused() -> None:
    made = TextColumns(TextDataConfig(text="a"))
    made.load_state_dict(made.state_dict())
    with pytest.raises(DataError, match="source: expected nothing"):
        made.load_state_dict({"columns": ["b"]})
