"""CSV and TSV files: separators, line ends, quotes, encodings, headers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from stepbus import load_config
from stepbus.base.errors import DataError
from stepbus.config.sections import DataSettings
from stepbus.text.rows.table import read_rows


def cells(folder: Path, content: str | bytes, name: str = "t.csv", **config: Any) -> dict[str, list[str | None]]:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = read_rows(path, name="train", config=load_config({"data": config}).data.settings)
    return {str(column): rows.cells(str(column)) for column in rows.frame}


PLAIN = {"a": ["x", "z"], "y": ["1", "2"]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "a;y\nx;1\nz;2\n", "read with semicolons between the fields, where commas were expected; set da"),
        (
            "t.csv",
            "a\ty\nx\t1\nz\t2\n",
            "read with tabs between the fields, where commas were expected; set data.sep",
        ),
        ("t.csv", "a|y\nx|1\nz|2\n", "read with bars between the fields"),
        ("t.tsv", "a,y\nx,1\nz,2\n", "read with commas between the fields, where tabs were expected"),
        ("t.csv", "a,y\nx,1\nz,2\n", ""),
        ("t.tsv", "a\ty\nx\t1\nz\t2\n", ""),
    ],
)
def test_another_separator_is_found_and_said(
    tmp_path: Path, name: str, content: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert cells(tmp_path, content, name) == PLAIN
    assert said in caplog.text
    assert bool(caplog.records) == bool(said)


def test_commas_inside_a_table_of_semicolons_are_text(tmp_path: Path) -> None:
    found = cells(tmp_path, 'a;y\nyes, "so";1,5\n"x;z";2,25\n')
    assert found == {"a": ['yes, "so"', "x;z"], "y": ["1,5", "2,25"]}


@pytest.mark.parametrize(
    ("separator", "content"), [(";", "a;y\nx;1\nz;2\n"), ("tab", "a\ty\nx\t1\nz\t2\n"), ("~", "a~y\nx~1\nz~2\n")]
)
def test_a_separator_that_is_set_is_taken(
    tmp_path: Path, separator: str, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert cells(tmp_path, content, separator=separator) == PLAIN
    assert not caplog.records


def test_a_separator_that_is_set_and_makes_no_table_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model that was trained with semicolons predicts rows with commas."""
    assert cells(tmp_path, "a,y\nx,1\nz,2\n", separator=";") == PLAIN
    assert "read with commas between the fields, where semicolons were expected" in caplog.text


def test_the_line_that_tells_excel_the_separator_is_no_header(tmp_path: Path) -> None:
    assert cells(tmp_path, "sep=;\r\na;y\r\nx;1\r\nz;2\r\n") == PLAIN
    with pytest.raises(DataError, match=r"t.csv:4: expected 2 fields separated by semicolons"):
        cells(tmp_path, "sep=;\na;y\nx;1\nz\n")


@pytest.mark.parametrize("value", ["", ",,", "\n", '"', "tabs"])
def test_a_separator_is_one_character(value: str) -> None:
    import attrs

    check = attrs.fields(DataSettings).separator.metadata["check"]
    assert not check(value)
    assert check(";")
    assert check("tab")


@pytest.mark.parametrize("text", ["hello; world", "a | b", "3;4"])
def test_one_column_stays_one(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert cells(tmp_path, f"text\n{text}\nbye\n") == {"text": [text, "bye"]}
    assert not caplog.records


@pytest.mark.parametrize(
    "content",
    [
        "a,y\r\nx,1\r\nz,2\r\n",
        "a,y\rx,1\rz,2\r",
        "a,y\nx,1\nz,2",
        "a,y\n\nx,1\n\n\nz,2\n\n",
        '"a","y"\n"x","1"\n"z","2"\n',
        b"\xef\xbb\xbfa,y\nx,1\nz,2\n",
        b'\xef\xbb\xbf"a","y"\r\n"x","1"\r\n"z","2"\r\n',
    ],
)
def test_line_ends_marks_and_quotes_change_nothing(tmp_path: Path, content: str | bytes) -> None:
    assert cells(tmp_path, content) == PLAIN


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "utf-8", "UTF8"])
def test_other_encodings_are_set(tmp_path: Path, encoding: str) -> None:
    assert cells(tmp_path, "a,y\nü,1\n".encode(encoding), encoding=encoding) == {"a": ["ü"], "y": ["1"]}


@pytest.mark.parametrize(
    ("content", "config", "message"),
    [
        ("a,y\nü,1\n".encode("utf-16"), {}, r"t.csv:1: expected text in utf-8, .* data.encoding, perhaps to utf-16$"),
        ("a,y\nü,1\n".encode("utf-16-le"), {}, r"t.csv:2: expected text in utf-8, .* perhaps to utf-16-le$"),
        ("a,y\nx,1\n".encode("utf-16-be"), {}, r"t.csv:1: .*, got a NUL byte; .* perhaps to utf-16-be$"),
        ("a,y\nü,1\n".encode("latin-1"), {}, r"t.csv:2: .* got byte 0xfc at position 4 .* perhaps to cp1252$"),
        ("a,y\nü,1\n", {"encoding": "utf-16"}, r"expected text in utf-16, got .*data.encoding"),
        ("a,y\nü,1\n", {"encoding": "ascii"}, r"t.csv:2: expected text in ascii, .* perhaps to utf-8$"),
        ("a,y\nx,\0\n", {}, r"t.csv:2: expected text in utf-8, got a NUL byte; take it out or set data.encoding$"),
        ("a,y\nx,1\nz\n", {}, r"t.csv:3: expected 2 fields separated by commas, as in the header, got 1$"),
        ("a,y\nx,1\nz,2,3\n", {}, r"t.csv:3: expected 2 fields .*, got 3; a field with commas in it stands in quotes"),
        (
            'a\ty\nx\t1\n"z\ty"\t2\n',
            {"separator": "tab"},
            r"t.csv:3: expected 2 .* quotes are letters .* needs a .csv$",
        ),
        ("text\nhello, world\n", {}, r"t.csv:2: expected 1 field separated by commas, as in the header, got 2"),
        ('a,y\nx,1\n"z,2\n', {}, r"t.csv:3: expected fields with commas .*unexpected end of data"),
        ('a,y\n"x"z,1\n', {}, r"t.csv:2: expected fields with commas"),
        ("a,y,a\nx,1,2\n", {}, r"t.csv: expected each column's name once, got 'a' as column 1 and column 3"),
    ],
)
def test_what_is_no_table_names_file_and_line(
    tmp_path: Path, content: str | bytes, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        cells(tmp_path, content, **config)


def test_a_wrong_separator_is_found_where_a_column_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;y\nx;1\nz;2;3\n")  # ragged with semicolons, so it is one column with commas
    rows = read_rows(path, name="train", config=load_config({}).data.settings)
    with pytest.raises(
        DataError, match=r"a column 'y', got a;y; the fields are separated by ';', perhaps: set data.se"
    ):
        rows.column("y", "data.label")
