"""Rows to tokens with labels, and the state that prediction needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from stepbus.base.errors import DataError, PluginFailure
from stepbus.config.sections import DataSettings
from stepbus.text.encoder import RowEncoder, TextSource
from stepbus.text.labels.codec import LabelCodec
from stepbus.text.rows.table import Rows, read_rows


class Shouting:
    """A source with a memory: how many rows it was fitted on."""

    def __init__(self, short: bool = False) -> None:
        self.seen = 0
        self.short = short

    def fit(self, rows: Rows) -> None:
        self.seen = len(rows)

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        texts = [f"good {text}" for text in rows.frame["text"]]
        return (texts[1:] if self.short else texts), None

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.seen = saved["seen"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ngood\nbad\nfilm\n")
    return tmp_path


def encoder(folder: Path, source: TextSource) -> RowEncoder:
    config = DataSettings(label="label", max_length=8, cache=str(folder / "cache"))
    return RowEncoder(source, folder, LabelCodec("label"), config)


def rows(name: str = "train", **columns: list[Any]) -> Rows:
    return read_rows(pd.DataFrame(columns), name=name, config=DataSettings())


def test_rows_become_labelled_tokens(folder: Path) -> None:
    source = Shouting()
    assert isinstance(source, TextSource)
    made = encoder(folder, source)
    train = rows(text=["film", "bad film", "film " * 20], label=["x", "y", "x"])
    made.fit(train)
    tokens = made.encode(train, labelled=True)
    assert source.seen == 3
    assert tokens.ids[:4].tolist() == [2, 5, 7, 3]
    assert tokens.lengths.tolist() == [4, 5, 8]
    assert tokens.truncated == 1
    assert tokens.labels is not None
    assert tokens.labels.tolist() == [0, 1, 0]
    assert tokens.row_ids.tolist() == [0, 1, 2]
    assert len(list((folder / "cache").iterdir())) == 1
    # The cache holds tokens only: labels come from the rows, every time.
    other = made.encode(rows(text=["film", "bad film", "film " * 20], label=["y", "y", "y"]), labelled=True)
    assert other.labels is not None
    assert other.labels.tolist() == [1, 1, 1]


def test_prediction_needs_no_labels_and_only_the_state(folder: Path) -> None:
    made = encoder(folder, Shouting())
    made.fit(rows(text=["film", "bad"], label=["x", "y"]))
    state = json.loads(json.dumps(made.state_dict()))
    fresh = encoder(folder, Shouting())
    fresh.load_state_dict(state)
    tokens = fresh.encode(rows("test", text=["bad"]), labelled=False)
    assert tokens.labels is None
    assert tokens.ids.tolist() == [2, 5, 6, 3]
    assert fresh.codec.names == ["x", "y"]
    assert fresh.state_dict() == made.state_dict()
    assert "tokenizer.json" in fresh.tokenizer_files


def test_a_state_of_another_version_and_a_source_that_loses_rows_are_refused(folder: Path) -> None:
    made = encoder(folder, Shouting(short=True))
    with pytest.raises(DataError, match="data state: expected version 1, got 0"):
        made.load_state_dict({"version": 0})
    with pytest.raises(DataError, match="expected a text for each of 2 rows, got 1"):
        made.encode(rows(text=["film", "bad"]), labelled=False)


def pairs(number: int) -> dict[str, list[Any]]:
    draw = ["film", "bad film", "film " * 20, "good"]
    return {
        "text": [f"{draw[at % 4]} {'bad ' * (at % 3)}" for at in range(number)],
        "label": list("xy" * (number // 2)),
    }


def test_every_part_of_a_source_comes_from_one_file_and_is_as_if_read_by_itself(folder: Path) -> None:
    source = rows(**pairs(20))
    by_itself = DataSettings(label="label", max_length=8, cache=False)
    for parts in ([[3, 1, 2], [0, 19, 7]], [list(range(10)), list(range(10, 20))], [[5], [2, 2]]):
        for indices in parts:
            part = source.take(indices)
            made = encoder(folder, Shouting())
            plain = RowEncoder(Shouting(), folder, LabelCodec("label"), by_itself)
            for each in (made, plain):
                each.fit(source)
            tokens, expected = (each.encode(part, labelled=True) for each in (made, plain))
            assert tokens.digest() == expected.digest()
            assert tokens.truncated == expected.truncated
            assert tokens.pad_id == expected.pad_id
    assert len(list((folder / "cache").iterdir())) == 1


class Fragile(Shouting):
    """A source that cannot tell some rows."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        if "broken" in rows.frame["text"].tolist():
            raise self.error("no text")
        return super().texts(rows)


@pytest.mark.parametrize("error", [DataError, ValueError])
def test_rows_of_the_source_that_are_in_no_set_need_no_text(error: type[Exception], folder: Path) -> None:
    source = rows(text=["film", "broken", "bad"], label=["x", "y", "x"])
    made = encoder(folder, Fragile(error))
    assert made.encode(source.take([2, 0]), labelled=False).ids.tolist() == [2, 5, 6, 3, 2, 5, 7, 3]
    with pytest.raises(PluginFailure if error is ValueError else error, match="no text"):
        made.encode(source, labelled=False)


class Numbered(Shouting):
    """A source whose texts depend on what they stand among."""

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        return [("film " * len(rows)).strip() for _ in range(len(rows))], None


def test_texts_that_depend_on_what_they_stand_among_are_read_by_themselves(folder: Path) -> None:
    source = rows(text=["a", "b", "c"], label=["x", "y", "x"])
    made = encoder(folder, Numbered())
    assert made.encode(source.take([0]), labelled=False).ids.tolist() == [2, 7, 3]
    assert made.encode(source.take([1, 0]), labelled=False).ids.tolist() == [2, 7, 7, 3, 2, 7, 7, 3]


def test_a_set_whose_rows_were_changed_is_read_by_itself(folder: Path) -> None:
    source = rows(text=["film", "bad"], label=["x", "y"])
    changed = evolve(source.take([1]), frame=pd.DataFrame({"text": ["good"], "label": ["y"]}))
    moved = evolve(source.take([1]), numbers=np.array([77]))
    made = encoder(folder, Shouting())
    assert made.encode(changed, labelled=False).ids.tolist() == [2, 5, 5, 3]
    assert made.encode(moved, labelled=False).ids.tolist() == [2, 5, 6, 3]
