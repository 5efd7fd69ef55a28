"""Predictions by command line, in Python and by hand: the same numbers for each task, of a fit and out of fold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlx.utils import tree_map

from stepbus import BadInput, create_trainer, open_trainer, write_predictions
from stepbus.cli.main import main

TASKS: dict[str, dict[str, Any]] = {
    "binary": {"label": "mood"},
    "multiclass": {"label": "kind"},
    "multilabel": {"label": ["joy", "probability_joy"]},
    "regression": {"label": "price", "task": "regression"},
    "regression with log1p": {"label": "price", "task": "regression", "target": "log1p"},
}
TEXTS = ["a good film", "the plot was dull", "it was fine", "poor cast", "great end", "awful film and plot"]


def table(rows: int) -> pd.DataFrame:
    draw = np.random.default_rng(rows)
    number = np.arange(rows)
    return pd.DataFrame(
        {
            "id": [f"{row:03d}" for row in number],
            "text": [TEXTS[row % 6] for row in number],
            "mood": np.where(number % 2 == 0, "=good", "-bad"),
            "kind": np.array(["x", "y", "z"])[number % 3],
            "joy": number % 2,
            "probability_joy": (number % 3 == 0).astype(int),
            "price": np.round(np.exp(draw.normal(11, 1, rows)) - 2000, 2).clip(-0.5),
        }
    )


@pytest.fixture
def train(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that trains on 36 rows and returns the run's folder; test.csv has 10 more."""
    table(36).to_csv(tmp_path / "train36.csv", index=False)
    table(10).to_csv(tmp_path / "test.csv", index=False)

    def train(data: dict[str, Any], **sections: Any) -> Path:
        tree = tiny_config(training={"max_steps": 4}, plugins={"progress": False, **sections.pop("plugins", {})})
        rows = {"train": str(tmp_path / "train36.csv"), "text": "text", "id": "id", "batch_size": 4, "max_length": 16}
        tree["data"] = {**rows, **data}
        create_trainer(config=tree).train()
        return tmp_path / "run"

    return train


def by_hand(model: Path, rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return predictions from logits and config.json alone."""
    logits = open_trainer(model).predict(rows[["text", "id"]], return_logits=True).astype(np.float64)
    config = json.loads((model / "model" / "config.json").read_text())
    if target := config.get("stepbus_target"):
        values = logits[:, 0] * target["sd"] + target["mean"]
        return np.expm1(values) if target["transform"] == "log1p" else values
    if config["problem_type"] == "multi_label_classification":
        return 1 / (1 + np.exp(-logits))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


@pytest.mark.parametrize("task", TASKS)
def test_the_command_line_python_and_the_hand_agree(task: str, train: Callable[..., Path], tmp_path: Path) -> None:
    data = TASKS[task]
    run = train(data)
    assert main(["predict", str(run), str(tmp_path / "test.csv"), "--output", str(tmp_path / "p.csv")]) == 0
    written = pd.read_csv(tmp_path / "p.csv", dtype={"id": str})
    rows = table(10)
    expected, python = by_hand(run, rows), open_trainer(run).predict(tmp_path / "test.csv")
    assert written["id"].tolist() == rows["id"].tolist()
    np.testing.assert_allclose(python, expected, rtol=1e-5)
    if task.startswith("regression"):
        assert list(written) == ["id", "price"]
        assert written["price"].tolist() == python.tolist()  # to the last digit
        return
    names = {"binary": ["-bad", "=good"], "multiclass": ["x", "y", "z"], "multilabel": ["joy", "probability_joy"]}[task]
    chances = [f"probability_{name}" for name in names]
    if task == "multilabel":
        chances[0] += "_2"  # a label has that name
        for column, position in (("joy", 0), ("probability_joy", 1)):
            assert written[column].tolist() == (expected[:, position] >= 0.5).astype(int).tolist()
    else:
        assert written[data["label"]].tolist() == [names[best] for best in expected.argmax(axis=1)]
    np.testing.assert_array_equal(written[chances].to_numpy().astype(np.float32), python)
    assert set(written) == {"id", *([data["label"]] if isinstance(data["label"], str) else data["label"]), *chances}


@pytest.mark.parametrize("task", TASKS)
def test_out_of_fold_predictions_are_those_of_each_folds_model(task: str, train: Callable[..., Path]) -> None:
    data = TASKS[task]
    run = train(data, plugins={"cross_validation": {"folds": 2}})
    written, rows = pd.read_csv(run / "out_of_fold.csv", dtype={"id": str}), table(36)
    assert written["id"].tolist() == rows["id"].tolist()
    for label in [data["label"]] if isinstance(data["label"], str) else data["label"]:
        assert written[label].tolist() == rows[label].tolist()
    for fold in (1, 2):
        mine = (written["fold"] == fold).to_numpy()
        expected = by_hand(run / "fits" / f"fold-{fold}", rows[mine])
        if task.startswith("regression"):
            np.testing.assert_allclose(written["prediction"][mine], expected, rtol=1e-5)
            continue
        chances = [name for name in written if name.startswith("probability_") and name != "probability_joy"]
        np.testing.assert_allclose(written[chances][mine], expected, rtol=1e-5)
        if task == "multilabel":
            assert chances == ["probability_joy_2", "probability_probability_joy"]
            flags = written[["prediction_joy", "prediction_probability_joy"]][mine]
            assert flags.to_numpy().tolist() == (expected >= 0.5).astype(int).tolist()
        else:
            names = [name.removeprefix("probability_") for name in chances]
            assert written["prediction"][mine].tolist() == [names[best] for best in expected.argmax(axis=1)]


def test_a_score_from_the_file_is_the_score_of_evaluate(
    train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(TASKS["regression with log1p"], plugins={})
    assert main(["predict", str(run), str(tmp_path / "test.csv"), "--output", str(tmp_path / "p.jsonl")]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), str(tmp_path / "test.csv"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    written = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    error = np.array([row["price"] for row in written]) - table(10)["price"]
    assert scores["eval_rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-12)


def test_rows_without_ids_beside_a_label_called_row(
    train: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table(36).rename(columns={"kind": "row"})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    run = train({"train": str(tmp_path / "rows.csv"), "label": "row", "id": None})
    assert write_predictions(open_trainer(run), frame[:3], tmp_path / "p.csv") == 3
    written = pd.read_csv(tmp_path / "p.csv")
    assert written["row_2"].tolist() == [0, 1, 2]
    assert set(written["row"]) <= {"x", "y", "z"}
    assert f"{tmp_path / 'p.csv'}: two columns would be called 'row': column 1 is 'row_2' instead" in caplog.text


def test_what_a_spreadsheet_would_calculate_is_said_once(
    train: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, test, place = train(TASKS["binary"]), str(tmp_path / "test.csv"), tmp_path / "p.csv"
    assert main(["predict", str(run), test, "--output", str(place)]) == 0
    (record,) = caplog.records
    assert "a spreadsheet would calculate 10 cells" in record.message
    raw = pd.read_csv(place)["mood"]
    caplog.clear()
    assert main(["predict", str(run), test, "--output", str(place), "--spreadsheet-safe"]) == 0
    assert pd.read_csv(place)["mood"].tolist() == [f"'{word}" for word in raw]
    assert caplog.records == []


def test_predictions_that_are_no_number_are_said(
    train: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = open_trainer(train(TASKS["binary"]))
    trainer.model.update(tree_map(lambda array: array * float("nan"), trainer.model.parameters()))
    write_predictions(trainer, tmp_path / "test.csv", tmp_path / "p.jsonl")
    assert f"10 of 10 predictions are no finite number, the first that of {tmp_path / 'test.csv'}:2" in caplog.text
    first = json.loads((tmp_path / "p.jsonl").read_text().splitlines()[0])
    assert first == {"id": "000", "mood": None, "probability_-bad": None, "probability_=good": None}


def test_rows_that_cannot_be_used(
    train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, place = train(TASKS["binary"]), tmp_path / "p.csv"
    place.write_text("old")
    (tmp_path / "nothing.csv").write_text("")
    table(5)[:0].to_csv(tmp_path / "head.csv", index=False)
    pd.concat([table(5), table(2)]).to_csv(tmp_path / "twice.csv", index=False)
    table(5).drop(columns="mood").to_csv(tmp_path / "unlabelled.csv", index=False)
    sentences = {"nothing": "got an empty file", "head": "expected rows after the header", "twice": "got '000' again"}
    for name, words in sentences.items():
        for command in (["predict", "--output", str(place)], ["evaluate"]):
            assert main([command[0], str(run), str(tmp_path / f"{name}.csv"), *command[1:]]) == 2
            error = capsys.readouterr().err
            assert words in error
            assert len(error.splitlines()) == 1
    assert main(["evaluate", str(run), str(tmp_path / "unlabelled.csv")]) == 2
    assert "data.label: expected a column 'mood'" in capsys.readouterr().err
    assert place.read_text() == "old"
    assert main(["predict", str(run), str(tmp_path / "unlabelled.csv"), "--output", str(place)]) == 0
    assert len(pd.read_csv(place)) == 5


def test_rows_that_were_read_are_never_written_over(train: Callable[..., Path], tmp_path: Path) -> None:
    trainer, before = open_trainer(train(TASKS["binary"])), (tmp_path / "test.csv").read_bytes()
    with pytest.raises(BadInput, match="expected another file than the rows that were read"):
        write_predictions(trainer, tmp_path / "test.csv", tmp_path / "test.csv")
    assert (tmp_path / "test.csv").read_bytes() == before


def test_metrics_that_are_no_number_are_null(
    train: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(TASKS["binary"])
    table(10).query("mood == '=good'").to_csv(tmp_path / "one.csv", index=False)  # no AUC without the other class
    assert main(["evaluate", str(run), str(tmp_path / "one.csv"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert None in scores.values()


SHELL = """
set -u
stepbus() { "%s" -m stepbus.cli "$@"; }
ended() { [ "$1" = "$2" ] || { echo "ended with $1"; cat "$3"; exit 9; }; }
stepbus predict run test.csv --output - > dash.csv 2> dash.err; ended $? 0 dash.err
echo old > log; stepbus predict run test.csv --output /dev/stdout >> log 2> log.err; ended $? 0 log.err
stepbus predict run test.csv --output - 2> gone.err | true; ended "${PIPESTATUS[0]}" 1 gone.err
PYTHONUNBUFFERED= stepbus evaluate run test.csv 2> evaluate.err | true
for unbuffered in "" 1; do
    export PYTHONUNBUFFERED=$unbuffered
    stepbus predict run test.csv --output - 2>> full.err > /dev/full; ended $? 2 full.err
    stepbus evaluate run test.csv 2>> full.err > /dev/full; ended $? 1 full.err
done
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
def test_standard_output_in_a_shell(train: Callable[..., Path], tmp_path: Path) -> None:
    run = train(TASKS["multiclass"])
    command = ["bash", "-c", SHELL % sys.executable]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    write_predictions(open_trainer(run), tmp_path / "test.csv", tmp_path / "p.csv")
    content = (tmp_path / "p.csv").read_text()
    assert (tmp_path / "dash.csv").read_text() == content
    assert (tmp_path / "dash.err").read_text() == "10 predictions: -\n"
    assert (tmp_path / "log").read_text() == f"old\n{content}"
    assert (tmp_path / "gone.err").read_text() in ("", "10 predictions: -\n")
    assert (tmp_path / "evaluate.err").read_text() == ""
    assert (tmp_path / "full.err").read_text().splitlines() == [
        "stepbus: standard output: expected a file that can be written, got 'No space left on device'; "
        "make room or name another output",
        "stepbus: standard output cannot be written: No space left on device",
    ] * 2


def test_a_file_that_nobody_named_is_never_replaced(
    train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(train(TASKS["multiclass"]))
    monkeypatch.chdir(tmp_path)
    assert main(["predict", run, "test.csv"]) == 0
    assert "10 predictions: predictions.csv" in capsys.readouterr().out
    (tmp_path / "predictions.csv").write_text("mine")
    assert main(["predict", run, "test.csv"]) == 2
    assert "predictions.csv: it is there already; name a file with --output" in capsys.readouterr().err
    assert (tmp_path / "predictions.csv").read_text() == "mine"
    assert main(["predict", run, "test.csv", "--output", "predictions.csv"]) == 0
    assert len(pd.read_csv("predictions.csv")) == 10


@pytest.mark.parametrize("output", ["-", "/dev/stdout", "/dev/fd/1"])
def test_a_closed_standard_output_takes_no_predictions(output: str, tmp_path: Path) -> None:
    command = ["bash", "-c", '"$0" -m stepbus.cli predict run rows.csv --output "$1" >&-', sys.executable, output]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    name = "standard output" if output == "-" else output
    assert ran.returncode == 2
    assert ran.stderr == (
        f"stepbus: {name}: expected a file that can be written, got 'it is closed'; mend it or name another output\n"
    )
