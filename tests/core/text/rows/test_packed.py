"""Packed text files, and files that are no text."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from stepbus import load_config
from stepbus.base.errors import DataError
from stepbus.text.rows import packed
from stepbus.text.rows.table import read_rows

CSV = b"a,y\nx,1\nz,2\n"


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return out.getvalue()


def shown(value: bytes | str) -> str | None:
    """Return what a case is called by: packed bytes hold the time."""
    return "packed" if isinstance(value, bytes) else None


def cells(folder: Path, name: str, content: bytes) -> dict[str, list[str | None]]:
    path = folder / name
    path.write_bytes(content)
    rows = read_rows(path, name="train", config=load_config({}).data.settings)
    return {str(column): rows.cells(str(column)) for column in rows.frame}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.csv.gz", gzip.compress(CSV)),
        ("TRAIN.CSV.GZ", gzip.compress(CSV)),
        ("train.csv.gz", gzip.compress(CSV[:8]) + gzip.compress(CSV[8:]) + b"\0\0"),
        ("train.tsv.gz", gzip.compress(CSV.replace(b",", b"\t"))),
        ("train.jsonl.gz", gzip.compress(b'{"a": "x", "y": 1}\n{"a": "z", "y": 2}\n')),
        ("train.ndjson.gz", gzip.compress(b'{"a": "x", "y": 1}\n{"a": "z", "y": 2}\n')),
        ("train.csv.zip", zipped(**{"train.csv": CSV})),
        ("train.csv.zip", zipped(**{"any name": CSV})),
        ("titanic.zip", zipped(**{"folder/": b"", "folder/train.csv": CSV})),
        ("titanic.zip", zipped(**{"train.csv": CSV, "__MACOSX/._train.csv": b"x", "._train.csv": b"x"})),
        ("titanic.zip", zipped(**{"train.jsonl": b'{"a": "x", "y": 1}\n{"a": "z", "y": 2}\n'})),
    ],
    ids=shown,
)
def test_packed_files_are_read_as_what_is_inside(tmp_path: Path, name: str, content: bytes) -> None:
    assert cells(tmp_path, name, content) == {"a": ["x", "z"], "y": ["1", "2"]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv.gz", b"", "expected a gzip file, got an empty file"),
        ("t.csv.gz", CSV, "expected a gzip file, got a damaged one"),
        ("t.csv.gz", gzip.compress(CSV * 100)[:-9], "expected a whole gzip file, got one that ends early"),
        ("t.csv.gz", gzip.compress(CSV)[:-8] + b"\0" * 8, "got a damaged one .*incorrect data check"),
        ("t.csv.gz", gzip.compress(CSV) + b"more", "got a damaged one"),
        ("t.csv.gz", gzip.compress(b""), "expected a header and rows, got an empty file"),
        ("t.zip", zipped(**{"a.csv": CSV, "b.csv": CSV}), "one file inside, got 2: a.csv, b.csv; unpack it"),
        ("t.zip", zipped(), "one file inside, got 0: none"),
        ("t.zip", zipped(**{"a.xlsx": b"x"}), "got '.zip'; save the sheet as CSV"),
        ("t.csv.zip", zipped(**{"a.csv": CSV * 100})[:-30], "got a damaged one"),
        ("t.csv.zip", b"x", "got a damaged one"),
        ("t.parquet.gz", gzip.compress(b"x"), "Parquet is packed in itself"),
        ("t.gz", gzip.compress(CSV), "expected a file ending in .*, got '.gz'"),
        ("t.csv.bz2", b"x", "got '.bz2'; unpack it"),
        ("t.csv.gz", gzip.compress(zipped(**{"a.csv": CSV})), "expected a text file, got a zip or Excel file"),
        ("t.csv", gzip.compress(CSV), "expected a text file, got a gzip file; call it NAME.csv.gz"),
        ("t.csv", zipped(**{"xl/workbook.xml": b"x"}), "got a zip or Excel file; save the sheet as CSV"),
        ("t.csv", b"\xd0\xcf\x11\xe0old", "got an Excel file"),
        ("t.csv", b"PAR1xPAR1", "got a Parquet file; call it NAME.parquet"),
        ("t.jsonl", b"%PDF-1.7", "got a PDF file"),
        ("t.xlsx", zipped(), r"got '.xlsx'; save the sheet as CSV \(UTF-8\), or .*read_excel"),
        ("t.XLS", b"x", "got '.xls'; save the sheet"),
        ("t.json", b"[]", "got '.json'; write one JSON object on each line"),
        ("t.txt", b"a", "got '.txt'; give a file with a header"),
        ("t.pkl", b"a", "got '.pkl'; a pickle may run code"),
        ("t.feather", b"a", "got '.feather'; save the table as Parquet"),
        ("t", b"a", "got 'no ending'"),
    ],
    ids=shown,
)
def test_what_cannot_be_read_gets_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        cells(tmp_path, name, content)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["gz", "zip"])
def test_a_bomb_is_refused_and_a_large_file_is_not(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "LARGE", 1000)
    monkeypatch.setattr(packed, "RATIO", 20)

    def write(rows: bytes) -> bytes:
        return gzip.compress(b"a\n" + rows) if ending == "gz" else zipped(**{"a.csv": b"a\n" + rows})

    bomb = write(b"0\n" * 100_000)
    assert 20 * len(bomb) < 200_000
    with pytest.raises(DataError, match="20 times the file's own size, got more; unpack it"):
        cells(tmp_path, f"t.csv.{ending}", bomb)
    large = "".join(f"{number * 7919 % 99991}\n" for number in range(5000)).encode()
    assert len(cells(tmp_path, f"t.csv.{ending}", write(large))["a"]) == 5000


def test_a_zip_file_with_a_password_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped(**{"a.csv": CSV}))
    content[6] |= 1  # the flag of an encrypted member, in both of its headers
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="expected a zip file without a password; unpack it"):
        cells(tmp_path, "t.csv.zip", bytes(content))
