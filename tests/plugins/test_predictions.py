"""The file of what a run predicts of its test rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from stepbus import LabelCodec, Predictions, create_trainer
from stepbus_plugins.predictions import FILE, PredictedRows

Make = Callable[..., dict[str, Any]]


def written(tmp_path: Path, predictions: dict[str, Predictions], codec: LabelCodec | None) -> list[str]:
    """Return what the plugin says of a run that ends with some predictions."""
    said: list[str] = []
    settings = SimpleNamespace(data=SimpleNamespace(settings=SimpleNamespace(id="key")))
    run = SimpleNamespace(
        directory=tmp_path,
        codec=codec,
        config=settings,
        message=lambda text, level: said.append(f"{level}: {text}"),
        artifact=lambda kind, path: said.append(f"{kind}: {path.name}"),
    )
    PredictedRows().on_run_end(run, SimpleNamespace(predictions=predictions))  # type: ignore[arg-type]
    return said


def codec() -> LabelCodec:
    made = LabelCodec("mood", "binary")
    made.names = ["calm", "glad"]
    return made


def test_words_probabilities_and_ids(tmp_path: Path) -> None:
    values = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    said = written(tmp_path, {"test": Predictions(np.array(["b", "a"], object), values)}, codec())
    assert said == [f"predictions: {FILE}"]
    frame = pd.read_csv(tmp_path / FILE)
    assert frame.to_dict("list") == {
        "key": ["b", "a"],
        "mood": ["glad", "calm"],
        "probability_calm": [0.25, 0.5],
        "probability_glad": [0.75, 0.5],
    }


def test_what_a_reader_should_know_is_said(tmp_path: Path) -> None:
    values = np.array([[np.nan, np.nan], [0.5, 0.5]], np.float32)
    said = written(tmp_path, {"test": Predictions(np.array(["=b", "a"], object), values)}, codec())
    assert said[0] == f"warning: {tmp_path / FILE}: 1 of 2 predictions are no finite number, the first that of row 0"
    assert "a spreadsheet would calculate 1 cell" in said[1]
    assert said[-1] == f"predictions: {FILE}"


def test_nothing_to_predict_is_nothing_written(tmp_path: Path) -> None:
    scored = Predictions(np.arange(1), np.array([[0.5, 0.5]]), np.array([1]))
    assert written(tmp_path, {"validation": scored}, codec()) == []
    assert written(tmp_path, {"test": scored}, codec()) == []
    assert written(tmp_path, {"test": Predictions(np.arange(1), np.array([[0.5, 0.5]]))}, None) == []
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_switched_off(tiny_config: Make, review_files: dict[str, Path]) -> None:
    tree = tiny_config(data={"test": str(review_files["dev"])}, training={"max_steps": 2})
    tree["plugins"]["predictions"] = False
    result = create_trainer(config=tree).train()
    assert result.predictions["test"].values.shape == (20, 2)
    assert not (result.directory / FILE).exists()
