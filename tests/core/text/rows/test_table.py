"""Reading, checking and splitting rows; every message says where."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import load_config
from stepbus.base.errors import DataError
from stepbus.text.rows.table import Rows, read_rows


def read(path: Path | str | pd.DataFrame, name: str = "train", **config: str) -> Rows:
    return read_rows(path, name=name, config=load_config({"data": config}).data.settings)  # type: ignore[arg-type]


def write(folder: Path, content: str | bytes, name: str = "train.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_values_are_read_as_they_are_written(tmp_path: Path) -> None:
    rows = read(
        write(
            tmp_path,
            "word,code,whole,gap,part,none,big\n"
            "NA,007,1,22,7.25,,99999999999999999999\n"
            "x,12,-2,NA,nan,,1\n"
            ",3,0,,1e3,,2\n",
        )
    )
    assert rows.cells("word") == ["NA", "x", None]
    assert rows.cells("code") == ["007", "12", "3"]
    assert rows.cells("whole") == ["1", "-2", "0"]
    assert rows.cells("gap") == ["22", "NA", None]
    assert rows.cells("part") == ["7.25", "nan", "1e3"]
    assert rows.missing("none").tolist() == [True, True, True]
    assert rows.cells("big")[0] == "99999999999999999999"
    assert [rows.kind(name) for name in rows.frame] == ["words", "words", "number", "number", "words", "words", "words"]
    np.testing.assert_equal(rows.as_numbers("gap"), [22, np.nan, np.nan])


def test_rows_know_their_line_even_behind_line_breaks_in_a_field(tmp_path: Path) -> None:
    rows = read(write(tmp_path, 'text,label\n"two\nlines",1\n\n"said ""so"", twice",0\nlast,1\n'))
    assert rows.frame["text"].tolist() == ["two\nlines", 'said "so", twice', "last"]
    assert [rows.where(index).rpartition(":")[2] for index in range(3)] == ["2", "5", "6"]
    part = rows.take([2, 0], "validation")
    assert (part.name, part.where(0).rpartition(":")[2], part.ids.tolist()) == ("validation", "6", [2, 0])
    assert str(part.error(1, "text", "expected a, got b")).endswith("train.csv:2: column 'text': expected a, got b")


def test_a_long_field_and_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    rows = read(write(tmp_path, b"\xef\xbb\xbftext,label\r\n" + b"a" * 200_000 + b",1\r\n"))
    assert list(rows.frame.columns) == ["text", "label"]
    assert len(rows.frame["text"][0]) == 200_000
    assert csv.field_size_limit() == 131072, "the limit of the whole process is put back"


def test_tsv_takes_quotes_as_they_are_unless_a_writer_put_them_there(tmp_path: Path) -> None:
    content = 'a\tb\n"He said" so.\t"quoted ""twice"""\nplain\t"\n"A" and "B"\tx\n'
    rows = read(write(tmp_path, content, "train.tsv"))
    assert rows.frame["a"].tolist() == ['"He said" so.', "plain", '"A" and "B"']
    assert rows.frame["b"].tolist() == ['quoted "twice"', '"', "x"]
    assert rows.where(1).endswith("train.tsv:3")


def test_jsonl_keeps_types_and_fills_absent_names(tmp_path: Path) -> None:
    lines = [{"text": "a", "label": 1, "flag": True}, {"text": "", "label": None}, {"label": 3, "part": 0.5}]
    rows = read(write(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n", "train.jsonl"))
    assert rows.cells("label") == ["1", None, "3"]
    assert rows.missing("text").tolist() == [False, True, True]
    assert rows.cells("flag") == ["True", None, None]
    assert rows.cells("part") == [None, None, "0.5"]
    assert rows.where(2).endswith("train.jsonl:3")


def test_parquet_frames_and_rows(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], 7: [1, 2]}, index=[5, 6])
    frame.rename(columns=str).to_parquet(tmp_path / "train.parquet")
    rows = read(tmp_path / "train.parquet", id="7")
    assert rows.ids.tolist() == [1, 2]
    assert rows.where(1).endswith("train.parquet, row 2")
    rows = read(frame)
    assert list(rows.frame.columns) == ["text", "7"]
    assert rows.frame.index.tolist() == [0, 1]
    assert rows.where(0) == "train frame, row 1"
    assert read_rows(rows, name="other", config=load_config({}).data.settings) is rows


def test_tables_of_scikit_learn_have_words_for_classes() -> None:
    rows = read("sklearn:breast_cancer")
    assert rows.frame.shape == (569, 31)
    assert set(rows.frame["target"]) == {"malignant", "benign"}
    assert read("sklearn:diabetes").frame["age"].iloc[0] == 59  # years, not a standardised number
    with pytest.raises(DataError, match=r"expected one of .* got 'brest_cancer' \(did you mean 'breast_cancer'\?\)"):
        read("sklearn:brest_cancer")


def test_ids_come_from_a_column_or_the_position(tmp_path: Path) -> None:
    path = write(tmp_path, "id,text\nb,x\na,y\n")
    assert read(path).ids.tolist() == [0, 1]
    assert read(path, id="id").ids.tolist() == ["b", "a"]
    with pytest.raises(DataError, match=r"data.id: expected a column 'idd' \(did you mean 'id'\?\), got id, text"):
        read(path, id="idd")
    with pytest.raises(DataError, match=r"train.csv:4: column 'id': expected ids that differ, got 'a' again .*csv:2\)"):
        read(write(tmp_path, "id,text\na,x\nb,y\na,z\n"), id="id")
    with pytest.raises(DataError, match=r"train.csv:3: column 'id': expected an id, got an empty field"):
        read(write(tmp_path, "id,text\na,x\n,y\n"), id="id")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", "", r"train.csv: expected a header and rows, got an empty file"),
        ("train.csv", "\n \n", r"train.csv:1: expected a header"),
        ("train.csv", "text,label\n", r"train.csv: expected rows after the header, got none"),
        ("train.csv", "a,b\n1,2\n3\n", r"train.csv:3: expected 2 fields separated by commas.*, got 1"),
        ("train.csv", "a,b\n1,2,3\n", r"train.csv:2: expected 2 fields separated by commas.*, got 3"),
        ("train.csv", "a,b,a\n1,2,3\n", r"each column's name once, got 'a' as column 1 and column 3"),
        ("train.csv", 'a,b\n1,2\n"open,2\nx,y\n', r"train.csv:3: expected fields with commas .*unexpected end"),
        ("train.csv", b"text\nok\ncaf\xe9\n", r"train.csv:3: expected text in utf-8, got byte 0xe9 at position 11"),
        ("train.csv", "text\nüber\n".encode("utf-16"), r"data.encoding, perhaps to utf-16"),
        ("train.tsv", "a\tb\n1\n", r"train.tsv:2: expected 2 fields separated by tabs"),
        ("train.jsonl", '{"a": 1}\n{"a": \n', r"train.jsonl:2: expected a JSON object on one line"),
        ("train.jsonl", "[1]\n", r"train.jsonl:1: expected a JSON object, got list"),
        ("train.jsonl", '{"a": 1, "a": 2}\n', r"train.jsonl:1: .* got the name 'a' twice"),
        ("train.jsonl", '{"a": "\\ud800"}\n', r"train.jsonl:1: expected a JSON object on one line, .*surrogates"),
        ("train.jsonl", "\n", r"expected a JSON object on each line, got an empty file"),
        ("train.parquet", "no parquet", r"train.parquet: expected a Parquet file, got"),
        ("train.xls", "x", r"file ending in \.csv, .*, got '.xls'; save the sheet as CSV \(UTF-8\), or .*read_excel"),
    ],
)
def test_unusable_files_get_one_sentence(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(write(tmp_path, content, name))
    assert "\n" not in str(caught.value)


def test_absent_files_folders_encodings_and_frames(tmp_path: Path) -> None:
    path = write(tmp_path, "a\nx\n")
    with pytest.raises(DataError, match=r"expected a file, got nothing \(did you mean 'train.csv'\?\)"):
        read(tmp_path / "trian.csv")
    with pytest.raises(DataError, match=r"expected a file, got nothing; the folder .*nowhere does not exist"):
        read(tmp_path / "nowhere" / "train.csv")
    with pytest.raises(DataError, match=r"https://x\.y/train\.csv: expected a file, got nothing; fetch it first"):
        read("https://x.y/train.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    for odd in ("/dev/null", tmp_path / "pipe.csv"):
        with pytest.raises(DataError, match="expected a file, got a device or a pipe, which is read once; save it"):
            read(odd)
    for odd in ("a\0b.csv", "x" * 5000):
        with pytest.raises(DataError, match=r"expected a path, got '(a.x00b|xxx)"):
            read(odd)
    with pytest.raises(DataError, match="expected a file, got a folder"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"data\.encoding: expected the name of a character encoding, got 'klingon'"):
        read(path, encoding="klingon")
    with pytest.raises(DataError, match="expected at least one row, got none"):
        read(pd.DataFrame({"a": []}))
    with pytest.raises(DataError, match="each column's name once, got '1'"):
        read(pd.DataFrame([[1, 2]], columns=["1", 1]))
    assert read(write(tmp_path, "caf\xe9\nx\n".encode("cp1252")), encoding="cp1252").frame.columns[0] == "café"


def test_a_missing_column_says_what_there_is(tmp_path: Path) -> None:
    rows = read(write(tmp_path, "text;label\na;1;2\n"))
    with pytest.raises(
        DataError, match=r"train.csv: data.label: expected a column 'label'.*';', perhaps: set data.sep"
    ):
        rows.column("label", "data.label")


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1), st.integers()),
        min_size=1,
        max_size=20,
    )
)
def test_what_the_csv_module_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, values: list) -> None:  # type: ignore[type-arg]
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("text", "n"), *((f"t{text}", f"n{number}") for text, number in values)])
    rows = read(write(tmp_path_factory.mktemp("csv"), out.getvalue()))
    assert rows.frame["text"].tolist() == [f"t{text}" for text, _ in values]
    assert rows.frame["n"].tolist() == [f"n{number}" for _, number in values]
