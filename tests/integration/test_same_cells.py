"""A cell means the same whatever file it stands in and whatever stands beside it: texts, labels, ids, predictions."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import LabelCodec, create_trainer, load_config, open_trainer, write_predictions
from stepbus.text.rows.cells import INFINITE
from stepbus.text.rows.table import Rows, read_rows
from stepbus_plugins.table_data.settings import TableDataConfig
from stepbus_plugins.table_data.text import TableText
from stepbus_plugins.text_data import TextColumns, TextDataConfig

# Without what no CSV file holds; and words that look like numbers, gaps and dates.
ODD = [
    *("007", "NA", "null", "1E1", "3.10", "3.9", "+5", "1_000", "True", "false", "12", "12.0", "inf", "NaN", "\u0663"),
    *("2024-01-05", "2024-01-05T00:00:00", "2024-01-05 10:30:00", " 5 "),
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n"), min_size=1, max_size=8) | st.sampled_from(
    ODD
)
WHOLE = st.integers(-(10**6), 10**6)
FLOAT = st.floats(-1e6, 1e6, width=32).map(float) | st.floats(allow_nan=False, allow_infinity=False, width=64)
TIME = st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2040, 1, 1)) | st.dates(
    datetime.date(1990, 1, 1), datetime.date(2040, 1, 1)
).map(lambda day: datetime.datetime(day.year, day.month, day.day))
# Among numbers alone, an infinite one is refused by its row, from whatever file.
TOLD = WORDS.filter(lambda text: INFINITE.fullmatch(text.strip()) is None)
COLUMNS: dict[str, tuple[st.SearchStrategy[Any], str]] = {
    "word": (TOLD | st.none(), "object"),
    "whole": (WHOLE, "int64"),
    "gap": (WHOLE | st.none(), "Int64"),
    "gap in floats": (WHOLE.map(float) | st.none(), "float64"),
    "part": (FLOAT | st.none(), "float64"),
    "flag": (st.booleans() | st.none(), "boolean"),
    "time": (TIME | st.none(), "datetime64[us]"),
    "zone": (TIME | st.none(), "datetime64[us, UTC]"),
    "money": (st.decimals(-1000, 1000, places=2) | st.none(), "object"),
    "small": (st.integers(-5, 5), "int8"),
    "kind": (st.sampled_from("abc") | st.none(), "category"),
}
LABELS = {
    "words": (st.sampled_from(["pos", "neg", "Pos", "pos ", "NA"]), "object"),
    "codes": (st.sampled_from(["007", "012", "7", "3.10", "1E1"]), "object"),
    "whole": (st.integers(0, 5), "int64"),
    "whole floats": (st.integers(0, 5).map(float), "float64"),
    "flags": (st.booleans(), "bool"),
    "days": (TIME, "datetime64[us]"),
    "values": (st.floats(-100, 100), "float64"),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    size = draw(st.integers(2, 12))
    names = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, unique=True))
    label, dtype = LABELS[draw(st.sampled_from(list(LABELS)))]
    made = {"text": pd.Series(draw(st.lists(WORDS, min_size=size, max_size=size)), dtype=object)}
    for name in names:
        values, kind = COLUMNS[name]
        made[name] = pd.Series(draw(st.lists(values, min_size=size, max_size=size)), dtype=kind)  # type: ignore[call-overload]
    made["label"] = pd.Series(draw(st.lists(label, min_size=size, max_size=size)), dtype=dtype)  # type: ignore[call-overload]
    return pd.DataFrame(made)


def plain(value: Any) -> Any:
    """Return a value as JSON has it: a point of time in ISO form."""
    if pd.isna(value):
        return None
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, datetime.datetime) else getattr(value, "item", lambda: value)()


def everywhere(frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Write a frame in every form that rows have."""
    frame.to_csv(folder / "rows.csv", index=False)
    frame.to_csv(folder / "rows.csv.gz", index=False)
    frame.to_parquet(folder / "rows.parquet")
    dicts = [{name: plain(value) for name, value in row.items()} for row in frame.astype(object).to_dict("records")]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in dicts))
    files = {name: folder / name for name in ("rows.csv", "rows.csv.gz", "rows.parquet", "rows.jsonl")}
    return {**files, "frame": frame, "dictionaries": dicts, "columns": frame.to_dict("list")}


CONFIG: TableDataConfig = load_config({"data": {"type": "table", "label": "label", "bins": 4}}).data.settings


def learnt(rows: Rows) -> tuple[LabelCodec, TableText]:
    codec, table = LabelCodec("label"), TableText(CONFIG)
    try:
        codec.fit(rows)
    except Exception as error:  # one class, one value
        codec.reason = str(error).partition(":")[2].replace(rows.source, "")
    table.fit(rows)
    return codec, table


@settings(deadline=None, max_examples=30)
@given(frame=frames(), data=st.data())
def test_the_same_texts_and_labels_from_every_file_and_beside_other_rows(
    tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    train = {name: read_rows(source, name="train", config=CONFIG) for name, source in everywhere(frame, folder).items()}
    codec, table = learnt(train["frame"])
    texts, _ = table.texts(train["frame"])
    texts_of = TextColumns(TextDataConfig(text="text", missing=""))
    own = texts_of.texts(train["frame"])
    usable = codec.task is not None and (codec.outputs > 1 or codec.task == "regression") and codec.names
    for name, rows in train.items():
        other, read = learnt(rows)
        assert other.task == codec.task, name
        assert read.kinds == table.kinds, name
        assert read.texts(rows) == (texts, None), name
        assert texts_of.texts(rows) == own, name
        assert table.texts(rows) == (texts, None), name
        if usable:
            assert other.names == codec.names, name
            assert codec.encode(rows).tolist() == codec.encode(train["frame"]).tolist(), name
    # Some of the rows, in another order, in files of their own.
    chosen = data.draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, max_size=6))
    part = frame.iloc[chosen].reset_index(drop=True)
    for name, source in everywhere(part, folder).items():
        rows = read_rows(source, name="test", config=CONFIG)
        assert table.texts(rows)[0] == [texts[index] for index in chosen], name
        assert texts_of.texts(rows)[0] == [own[0][index] for index in chosen], name
        if usable:
            assert codec.encode(rows).tolist() == codec.encode(train["frame"])[chosen].tolist(), name


TABLE = """code,size,flag,when,label
007,12,True,2024-01-05,neg
7,7.5,False,2024-01-06,pos
1E1,,True,2024-01-05,neg
NA,0.25,,2024-02-05,pos
x,100,False,,neg
007,3,True,2024-03-05,pos
"""


def predictions(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_predictions_are_the_same_from_every_file(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "code": ["007", "7", "1E1", "NA", "x", "007"],
            "size": [12.0, 7.5, None, 0.25, 100, 3],
            "flag": pd.array([True, False, True, None, False, True], dtype="boolean"),
            "when": pd.to_datetime(["2024-01-05", "2024-01-06", "2024-01-05", "2024-02-05", None, "2024-03-05"]),
            "label": ["neg", "pos"] * 3,
        }
    )
    (tmp_path / "written.csv").write_text(TABLE)
    # Letters and digits, so that another spelling makes other tokens.
    vocabulary = tmp_path / "tokenizer" / "vocab.txt"
    letters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary.write_text("\n".join(pieces) + "\n")
    sources = everywhere(frame, tmp_path) | {"written by hand": tmp_path / "written.csv"}
    data = {"type": "table", "label": "label", "train": None, "validation": None, "text": None, "cache": False}
    written = []
    for number, (name, source) in enumerate(sources.items()):
        section = {key: value for key, value in (tiny_config()["data"] | data).items() if value is not None}
        section["max_length"] = 128
        model = {"vocab_size": len(pieces), "max_position_embeddings": 128}
        config = tiny_config(model=model, environment={"output_dir": str(tmp_path / f"run-{number}")})
        config["data"] = section
        trainer = create_trainer(config=config)
        result = trainer.train(source)
        for part, rows in {"whole": source, "one": frame.iloc[[3]]}.items():
            write_predictions(open_trainer(result.directory), rows, tmp_path / f"{number}-{part}.csv")
        written.append((predictions(tmp_path / f"{number}-whole.csv"), predictions(tmp_path / f"{number}-one.csv")))
        assert written[-1] == written[0], name
    assert len(written[0][0]) == 7
    # The row means the same where it stands alone, though nothing but a gap is in a column.
    np.testing.assert_allclose(
        [float(cell) for cell in written[0][1][1].split(",")[2:]],
        [float(cell) for cell in written[0][0][4].split(",")[2:]],
        rtol=1e-4,
    )
