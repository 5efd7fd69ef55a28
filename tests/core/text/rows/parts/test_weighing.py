"""Weights and soft labels from columns; a cell that is none is named by file, row and column."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import load_config
from stepbus.base.errors import DataError
from stepbus.text.rows.parts.weighing import refuse_weightless, rows_that_count, weighed
from stepbus.text.rows.table import Rows, read_rows


def read(source: Any, *, training: bool = True, name: str = "train", **settings: Any) -> Rows:
    config = load_config({"data": settings}).data.settings
    return weighed(read_rows(source, name=name, config=config), config, training=training)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "train.csv"
    path.write_text("text,label,w,bad,good\na,bad,1,0.75,0.25\nb,good,0,0.5,0.5\nc,good,2.5,0,1\n")
    return path


def test_columns_become_arrays(table: Path) -> None:
    rows = read(table, weight="w", soft_labels={"bad": "bad", "good": "good"})
    assert rows.weights is not None
    assert rows.soft is not None
    assert rows.weights.tolist() == [1, 0, 2.5]
    assert rows.soft.tolist() == [[0.75, 0.25], [0.5, 0.5], [0, 1]]
    assert rows.classes == ("bad", "good")
    rest = read(table, soft_labels={"bad": None, "good": "good"})
    assert rest.soft is not None
    assert rest.soft.tolist() == rows.soft.tolist()
    assert rest.weights is None


def test_a_frame_and_its_file_are_the_same(table: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(table)
    frame.to_parquet(tmp_path / "train.parquet")
    settings: dict[str, Any] = {"weight": "w", "soft_labels": {"bad": "bad", "good": "good"}}
    for source in (frame, tmp_path / "train.parquet"):
        other = read(source, **settings)
        assert np.array_equal(other.weights, read(table, **settings).weights)  # type: ignore[arg-type]
        assert np.array_equal(other.soft, read(table, **settings).soft)  # type: ignore[arg-type]


def test_what_rows_have_already_stays(table: Path) -> None:
    config = load_config({"data": {"weight": "w", "soft_labels": {"bad": "bad", "good": None}}}).data.settings
    rows = read_rows(table, name="train", config=config).with_weights([5, 5, 5]).with_soft_labels([0, 1, 1], ["good"])
    found = weighed(rows, config, training=True)
    assert found.weights is not None
    assert found.weights.tolist() == [5, 5, 5]
    assert found.classes == ("good",)


@pytest.mark.parametrize(
    ("cell", "got"),
    [("", "expected a weight, got an empty field"), ("-1", "got '-1'"), ("nan", "got 'nan'"), ("much", "got 'much'"),
     ("inf", "got 'inf'"), ("1e-20", "got '1e-20'"), ("1e13", "got '1e13'")],
)  # fmt: skip
def test_a_cell_that_is_no_weight_is_named(tmp_path: Path, cell: str, got: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(f"text,w\na,1\nb,{cell}\n")
    with pytest.raises(DataError) as caught:
        read(path, weight="w")
    assert str(caught.value).startswith(f"{path}:3: column 'w': expected a weight")
    assert str(caught.value).endswith(got)


@pytest.mark.parametrize("cell", ["", "-0.1", "1.5", "nan", "half"])
def test_a_cell_that_is_no_probability_is_named(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "train.csv"
    path.write_text(f"text,p\na,1\nb,{cell}\n")
    with pytest.raises(DataError) as caught:
        read(path, soft_labels={"yes": "p", "no": None})
    assert str(caught.value).startswith(f"{path}:3: column 'p': expected a probability")


def test_the_rest_of_too_much_is_none(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("text,a,b\nx,0.5,0.5\ny,0.6,0.7\n")
    with pytest.raises(DataError, match=r"train\.csv:3: data\.soft_labels: expected probabilities whose sum is at mo"):
        read(path, soft_labels={"a": "a", "b": "b", "c": None})


def test_training_rows_need_the_columns_and_others_say_that_they_lack_them(
    table: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(DataError, match=r"data\.weight: expected a column 'v'"):
        read(table, weight="v")
    with pytest.raises(DataError, match=r"data\.soft_labels: expected a column 'p'"):
        read(table, label="label", soft_labels={"bad": "p", "good": None})
    with pytest.raises(DataError, match=r"data\.label: expected a column 'lable'"):
        read(table, label="lable", soft_labels={"bad": "bad", "good": "good"})
    with caplog.at_level(logging.WARNING):
        rows = read(table, training=False, label="label", weight="v", soft_labels={"bad": "p", "good": None})
    assert (rows.weights, rows.soft) == (None, None)
    assert [record.getMessage() for record in caplog.records] == [
        f"{table}: there is no column 'v' (data.weight), so each row counts 1",
        f"{table}: there is no column 'p' (data.soft_labels), so the labels in 'label' are certain",
    ]
    with pytest.raises(DataError, match=r"data\.soft_labels: expected a column 'p'"):  # some of them, not all
        read(table, training=False, label="label", soft_labels={"bad": "p", "good": "good"})
    with pytest.raises(DataError, match=r"data\.soft_labels: expected a column 'p'"):  # and nothing instead
        read(table, training=False, soft_labels={"bad": "p", "good": None})


def test_rows_of_weight_0_do_not_count(table: Path) -> None:
    rows = read(table, weight="w")
    assert rows_that_count(rows).ids.tolist() == [0, 2]
    refuse_weightless(rows)
    with pytest.raises(DataError, match=r"train\.csv: expected a train row of a weight above 0, got 0 for all 3"):
        refuse_weightless(rows.with_weights([0, 0, 0]))
    plain = read(table)
    assert rows_that_count(plain) is plain
    refuse_weightless(plain)


@pytest.mark.parametrize("columns", [{}, {"a": None}, {"a": "p", "b": "p"}, {"a": "p", "b": None, "c": None}], ids=repr)
def test_settings_that_cannot_be(columns: Any) -> None:
    from stepbus import ConfigError, load_config

    with pytest.raises(ConfigError, match=r"data\.soft_labels: expected a column for each class, different ones"):
        load_config({"data": {"label": "label", "soft_labels": columns}})
