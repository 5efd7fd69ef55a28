"""The worst errors of the scored rows: which they are, what the file holds, and what is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import LabelCodec, create_trainer
from stepbus.testing import Recorder, assert_conforms
from stepbus_plugins.error_table import ErrorTable, errors

Make = Callable[..., dict[str, Any]]


def test_how_wrong_a_row_is() -> None:
    binary = LabelCodec("label", "binary")
    values = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0]], np.float32)
    size, wrong = errors(binary, values, np.array([0, 0, 0]))
    np.testing.assert_allclose(size, [-np.log(0.9), -np.log(0.2), -np.log(1e-12)], rtol=1e-6)
    assert wrong.tolist() == [False, True, True]
    several = LabelCodec(["a", "b"], "multilabel")
    size, wrong = errors(several, np.array([[0.8, 0.4], [0.8, 0.6]]), np.array([[1, 0], [1, 0]], np.float32))
    np.testing.assert_allclose(size, [-(np.log(0.8) + np.log(0.6)) / 2, -(np.log(0.8) + np.log(0.4)) / 2])
    assert wrong.tolist() == [False, True]
    value = LabelCodec("stars", "regression")
    size, wrong = errors(value, np.array([1.0, 5.0]), np.array([1.0, 2.5]))
    assert (size.tolist(), wrong.tolist()) == ([0.0, 2.5], [False, True])


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_the_file_holds_the_worst_rows_with_their_cells(task: str, tiny_config: Make, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"key": [f"k{row}" for row in range(40)], "text": ["a good film", "the dull plot"] * 20})
    frame["more"] = [f"x{row}" for row in range(40)]
    if task == "binary":
        frame["label"], labels = draw.permutation(["no", "yes"] * 20), "label"
    elif task == "multilabel":
        frame["a"], frame["b"], labels = draw.permutation([0, 1] * 20), draw.permutation([0, 1] * 20), ["a", "b"]
    else:
        frame["stars"], labels = draw.uniform(0, 9, 40).round(1), "stars"
    tree = tiny_config(plugins={"progress": False, "error_table": {"rows": 4, "shown": 2}}, training={"num_epochs": 1})
    tree["data"] = {"label": labels, "id": "key", "batch_size": 4, "max_length": 16}
    recorder = Recorder()
    trainer = create_trainer(config=tree, plugins=[recorder])
    result = trainer.train(frame.iloc[:24], frame.iloc[24:])
    path = next(each["path"] for each in recorder.of("on_artifact") if each["kind"] == "errors")
    assert path.name == "errors.csv"
    written = pd.read_csv(path)
    said = result.predictions["validation"]
    assert 1 <= len(written) <= 4
    names = {"binary": ["label"], "multilabel": ["a", "b"], "regression": ["stars"]}[task]
    kind = "error" if task == "regression" else "loss"
    assert list(written.columns[:2]) == ["key", kind]
    assert list(written.columns[-len(names) - 2 :]) == [*names, "text", "more"]
    assert written[kind].is_monotonic_decreasing
    for _, row in written.iterrows():
        place = said.row_ids.tolist().index(row["key"])
        source = frame[frame["key"] == row["key"]].iloc[0]
        assert [row[name] for name in (*names, "more")] == [source[name] for name in (*names, "more")]
        if task == "regression":
            assert row["error"] == pytest.approx(abs(said.values[place] - source["stars"]))
            assert row["prediction"] == pytest.approx(said.values[place])
        elif task == "binary":
            assert row["prediction"] != row["label"]
            assert row["probability_yes"] == pytest.approx(said.values[place][1], rel=1e-5)
    [report] = [each for each in recorder.of("on_report") if "errors in 16 rows" in each["title"]]
    assert report["title"].startswith("validation: the worst of ")
    assert len(report["rows"]) == min(2, len(written))
    assert list(report["columns"]) == list(written.columns)


def test_folds_have_a_file_each_and_test_rows_none(tiny_config: Make, review_files: dict[str, Path]) -> None:
    tree = tiny_config(
        data={"validation": None, "test": str(review_files["dev"])},
        training={"num_epochs": 1},
        plugins={"progress": False, "error_table": {}, "cross_validation": {"folds": 2, "inner_validation": 0.3}},
    )
    result = create_trainer(config=tree).train()
    for fold in ("fold-1", "fold-2"):
        names = {path.name for path in (result.directory / "fits" / fold).glob("errors*.csv")}
        assert names == {"errors.csv", "errors_stop.csv"}


def test_it_keeps_what_every_plugin_keeps() -> None:
    assert_conforms(ErrorTable)
