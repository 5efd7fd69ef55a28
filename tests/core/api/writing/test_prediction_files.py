"""What stands in a file of predictions: ids and labels as they are written, each column, each digit."""

from __future__ import annotations

import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import load_config
from stepbus.api.writing.output_files import SUFFIXES
from stepbus.api.writing.prediction_files import write_columns
from stepbus.base.errors import BadInput, DataError
from stepbus.text.labels.columns import Column
from stepbus.text.rows.readers import read_table

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
IDS = ["007", "1E5", "2024-01-05", "123456789012345678901234567890", "-5", "NA", " x ", 'say "a,b"', "größer"]


def columns(ids: list[Any] | None = None, **more: Any) -> list[Column]:
    made = [Column("id", np.array(IDS if ids is None else ids, dtype=object), own=True)]
    return made + [Column(name, values) for name, values in more.items()]


def read(path: Path) -> pd.DataFrame:
    """Read with pandas, which is not what writes CSV's quotes or JSON here."""
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix in (".jsonl", ".ndjson"):
        return pd.DataFrame([json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]])
    separator = "\t" if path.suffix == ".tsv" else ","
    return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ids_and_numbers_come_back_as_they_were(suffix: str, tmp_path: Path) -> None:
    values = np.array([1 / 3, -1e-300, 1e22, 0.1, -159986.13, 2.0, 1e16, 5e-324, -0.0])
    chances = np.linspace(0, 1, len(IDS), dtype=np.float32)
    path = tmp_path / f"p{suffix}"
    assert write_columns(path, columns(price=values, chance=chances, label=np.arange(9))) == []
    table = read(path)
    assert list(table) == ["id", "price", "chance", "label"]
    assert table["id"].tolist() == IDS
    assert [float(cell).hex() for cell in table["price"]] == [value.hex() for value in values.tolist()]
    assert [np.float32(cell) for cell in table["chance"]] == chances.tolist()
    assert [int(cell) for cell in table["label"]] == list(range(9))
    again, _ = read_table(str(path), load_config({}).data.settings)  # and our own reader takes it
    assert list(map(str, again["id"])) == IDS


def test_rows_are_written_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbus.api.writing.prediction_files.ROWS_AT_ONCE", 4)
    for suffix in SUFFIXES:
        write_columns(tmp_path / f"p{suffix}", columns(label=np.arange(9)))
        assert read(tmp_path / f"p{suffix}")["id"].tolist() == IDS


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@settings(deadline=None)
@given(
    cells=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1)
)
def test_any_text_comes_back(suffix: str, cells: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    write_columns(path, columns(cells, label=np.arange(len(cells))))
    if suffix == ".csv":
        found = [row[0] for row in csv.reader(io.StringIO(path.read_bytes().decode(), newline=""), strict=True)][1:]
    else:
        found = read(path)["id"].tolist()
    assert found == cells


def test_a_number_that_is_none(tmp_path: Path) -> None:
    values = np.array([np.nan, np.inf, 1.0])
    write_columns(tmp_path / "p.jsonl", columns(["a", "b", "c"], y=values))
    assert (tmp_path / "p.jsonl").read_text() == (
        '{"id": "a", "y": null}\n{"id": "b", "y": null}\n{"id": "c", "y": 1.0}\n'
    )
    write_columns(tmp_path / "p.csv", columns(["a", "b", "c"], y=values))
    assert (tmp_path / "p.csv").read_text() == "id,y\na,\nb,inf\nc,1.0\n"


def test_values_of_other_types_are_written_as_their_text(tmp_path: Path) -> None:
    ids = [date(2024, 1, 5), pd.Timestamp("2024-01-05 10:30"), Decimal("1.50"), 2**80]
    write_columns(tmp_path / "p.csv", columns(ids))
    assert (tmp_path / "p.csv").read_text() == f"id\n2024-01-05\n2024-01-05 10:30:00\n1.50\n{2**80}\n"
    write_columns(tmp_path / "p.jsonl", columns(ids))
    assert [json.loads(line)["id"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == [
        "2024-01-05",
        "2024-01-05 10:30:00",
        "1.50",
        2**80,
    ]


# Spreadsheets ---------------------------------------------------------------------------------------------------------

FORMULAS = ["=1+1", "+cmd", "-no", "@SUM(A1)", "\tx", "\rx", "+", "-", "=5", "+49 170", "-1-2"]
HARMLESS = ["-5", "+5", "-1.5e-3", "-.5", "a=b", " =1", "'=1", "", "1-2"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_what_a_spreadsheet_would_calculate_is_said_and_written_as_it_is(suffix: str, tmp_path: Path) -> None:
    formulas = [cell for cell in FORMULAS if suffix == ".csv" or cell[0] not in "\t\r"]
    path = tmp_path / f"p{suffix}"
    (note,) = write_columns(path, columns(["x", *formulas, *HARMLESS]))
    count = len(formulas)
    assert note.startswith(f"{path}: a spreadsheet would calculate {count} cells that begin like a formula, the first ")
    assert "the first in row 2 of column 'id': '=1+1'; for a spreadsheet write with --spreadsheet-safe" in note
    with path.open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t" if suffix == ".tsv" else ","))
    assert [row[0] if row else "" for row in rows] == ["id", "x", *formulas, *HARMLESS]


def test_spreadsheet_safe_escapes_text_and_never_numbers(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    table = [
        Column("=id", np.array([*FORMULAS, *HARMLESS], dtype=object), own=True),
        Column("-no", np.full(20, -1.5), own=True),
        Column("probability_=x", np.full(20, -2)),
    ]
    assert write_columns(path, table, spreadsheet_safe=True) == []
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["'=id", "'-no", "probability_=x"]
    assert [row[0] for row in rows] == [*(f"'{cell}" for cell in FORMULAS), *HARMLESS]
    assert {tuple(row[1:]) for row in rows} == {("-1.5", "-2")}
    # Without, heads count too.
    (note,) = write_columns(path, table)
    assert f"calculate {len(FORMULAS) + 2} cells that begin like a formula, the first in a head: '=id'" in note


def test_two_values_never_become_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'id': two values would be the same"):
        write_columns(tmp_path / "p.csv", columns(["=1+1", "'=1+1"]), spreadsheet_safe=True)
    with pytest.raises(DataError, match='two columns would be called "\'=a"'):
        write_columns(tmp_path / "p.csv", [Column("=a", [1]), Column("'=a", [1])], spreadsheet_safe=True)
    assert not (tmp_path / "p.csv").exists()


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_format_in_which_text_is_text_needs_no_escape(suffix: str, tmp_path: Path) -> None:
    assert write_columns(tmp_path / f"p{suffix}", columns(["=1+1"])) == []
    with pytest.raises(BadInput, match=r"in which text is text; leave --spreadsheet-safe out"):
        write_columns(tmp_path / f"p{suffix}", columns(["=1+1"]), spreadsheet_safe=True)


# What no file can hold ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "ids", "words"),
    [
        ("p.tsv", ["a", "b\tc"], "column 'id', row 2: expected no tab or line break in a .tsv, got 'b\\\\tc'"),
        ("p.csv", ["a", "\ud800"], "column 'id', row 2: expected text, got half a surrogate pair"),
        ("p.parquet", ["a", 1], "expected columns of one type each for Parquet"),
        ("p.parquet", [2**80, 1], "expected columns of one type each for Parquet"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(place: str, ids: list[Any], words: str, tmp_path: Path) -> None:
    (tmp_path / place).write_text("old")
    with pytest.raises(DataError, match=words):
        write_columns(tmp_path / place, columns(ids))
    assert (tmp_path / place).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [place]
