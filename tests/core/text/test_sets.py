"""The rows of a run, and labels that are held against each other before any training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import create_trainer, load_config
from stepbus.base.errors import DataError
from stepbus.config.load import Config
from stepbus.kernel.fits import Fit
from stepbus.plan.planning import describe_plan
from stepbus.text.data import TextData
from stepbus.text.rows.table import Rows, read_rows
from stepbus.text.sets import check_labels, read_sets

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def config(tiny_config: Make) -> Callable[..., Config]:
    def make(model: dict[str, Any] | None = None, **data: Any) -> Config:
        tree = tiny_config(model=model or {})
        tree["data"].update(data)
        return load_config(tree)

    return make


def table(labels: list[Any], **more: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"text": [f"row {number}" for number in range(len(labels))], "label": labels, **more})


@pytest.mark.parametrize("value", [0, 1, 1.0, 0.0, -0.5, 2, True, False, np.float64(1.5), float("nan")])
def test_a_fraction_is_between_0_and_1(config: Callable[..., Config], value: Any) -> None:
    with pytest.raises(DataError, match=r"data.validation: expected rows, a file, or a fraction between 0 and 1, got"):
        read_sets(config(), table(["a", "b"] * 5), value)


@pytest.mark.parametrize("value", [0.2, np.float64(0.2)])
def test_a_fraction_sets_rows_aside(config: Callable[..., Config], value: Any) -> None:
    sets = read_sets(config(), table(["a", "b"] * 5), value)
    assert {name: len(rows) for name, rows in sets.items()} == {"train": 8, "validation": 2}
    assert sets["train"].origin is sets["validation"].origin


@pytest.mark.parametrize("said", [{"task": "multiclass"}, {"model": {"head": "multiclass"}}])
def test_a_split_keeps_the_classes_of_the_task_that_was_said(
    config: Callable[..., Config], said: dict[str, Any]
) -> None:
    rows = table([number % 25 for number in range(100)])
    sets = read_sets(config(stratify=True, **said), rows, 0.25)
    assert sorted(sets["validation"].frame["label"]) == list(range(25))


def test_a_split_keeps_the_tenths_of_a_quantity_and_the_combinations_of_labels(config: Callable[..., Config]) -> None:
    quantity = table([number * 1.5 for number in range(200)])
    _, validation = read_sets(config(stratify=True), quantity, 0.1).values()
    assert np.bincount(validation.ids // 20).tolist() == [2] * 10
    small = table([number * 1.5 for number in range(20)])
    assert len(read_sets(config(stratify=True), small, 0.2)["validation"]) == 4
    flags = table([0, 0, 1, 1] * 10, more=[0, 1, 0, 1] * 10)
    _, validation = read_sets(config(stratify=True, label=["label", "more"]), flags, 0.2).values()
    assert np.bincount(validation.ids % 4).tolist() == [2] * 4


def test_groups_are_cells_and_none_is_empty(config: Callable[..., Config]) -> None:
    rows = table(["a", "b"] * 6, group=[1, 1, 2, 2, 3, 3] * 2)
    train, validation = read_sets(config(group="group"), rows, 0.3).values()
    assert not set(train.frame["group"]) & set(validation.frame["group"])
    with pytest.raises(DataError, match=r"row 2: column 'group': expected a group, got an empty field"):
        read_sets(config(group="group"), table(["a", "b"] * 2, group=[1, None, 2, 2]), 0.5)
    with pytest.raises(DataError, match=r"row 1: column 'group': expected one value, got a list"):
        read_sets(config(group="group"), table(["a", "b"], group=[[1], [2]]), 0.5)


def test_validation_rows_that_are_training_rows_are_said(
    config: Callable[..., Config], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frame = table(["a", "b"] * 5, key=list(range(10)))
    frame.to_csv(tmp_path / "train.csv", index=False)
    (tmp_path / "link.csv").symlink_to(tmp_path / "train.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "train.csv")
    (tmp_path / "copy.csv").write_bytes((tmp_path / "train.csv").read_bytes().replace(b"\n", b"\r\n"))
    frame.sample(frac=0.5, random_state=0).to_parquet(tmp_path / "part.parquet")
    frame.assign(key=[number + 50 for number in range(10)]).to_csv(tmp_path / "keys.csv", index=False)
    for name in ("train.csv", "link.csv", "hard.csv"):
        caplog.clear()
        read_sets(config(id="key"), tmp_path / "train.csv", tmp_path / name)
        assert f"{name} is the file of the training rows: its scores say nothing of new rows" in caplog.text
    for source in (tmp_path / "copy.csv", tmp_path / "part.parquet", tmp_path / "keys.csv", frame):
        caplog.clear()
        read_sets(config(id="key"), tmp_path / "train.csv", source)
        assert "also stands in" in caplog.text, source
    caplog.clear()
    read_sets(config(id="key"), tmp_path / "train.csv", frame.assign(text="another"))
    assert not caplog.records


def test_labels_of_every_fit_are_looked_at(config: Callable[..., Config]) -> None:
    rows = read_rows(table(["a", "b", "a", "b", "c", "c"]), name="train", config=config().data.settings)

    def fit(number: int, train: list[int], held: list[int]) -> Fit:
        return Fit(f"fold-{number}", {"train": rows.take(train), "validation": rows.take(held)}, 1, {"fold": number})

    check_labels(config(), [fit(1, [0, 1, 2, 4], [3, 5]), fit(2, [1, 2, 3, 5], [0, 4])])
    with pytest.raises(
        DataError,
        match=r"row 5: column 'label': expected a label that training has seen \(a, b\), got 'c'; the split of "
        r"fold-2 left no row of this class in training: take the class out, or deal it out by class",
    ):
        check_labels(config(), [fit(1, [0, 1, 4], [2, 3]), fit(2, [0, 1, 2, 3], [4, 5])])
    with pytest.raises(
        DataError, match=r"expected rows of each class in .* every fit, got none of 'c' in fold-1; take"
    ):
        check_labels(config(), [fit(1, [0, 1], [2, 3]), fit(2, [0, 1, 4], [5])])
    with pytest.raises(DataError, match=r"got none of 'c' in fold-2; take"):
        check_labels(config(), [fit(1, [0, 1, 4], [5]), fit(2, [0, 1], [2, 3])])


def test_a_fold_has_the_task_of_the_whole(config: Callable[..., Config]) -> None:
    rows = read_rows(table([*range(25), *range(25)]), name="train", config=config().data.settings)
    few = rows.take(list(range(15)))
    check_labels(config(), [Fit("fold-1", {"train": few, "validation": rows.take([20, 21])}, 1)])


def test_nothing_is_written_before_labels_are_known_to_fit(tiny_config: Make, tmp_path: Path) -> None:
    rows = table(["a", "b"] * 10 + ["rare"])
    trainer = create_trainer(config=tiny_config(plugins={"cross_validation": {"folds": 3, "strategy": "kfold"}}))
    trainer.config = trainer.config.updated({"validation": None})
    with pytest.raises(DataError, match=r"row 21: .*got 'rare'; the split of fold-\d left no row of this class"):
        trainer.train(rows)
    assert not (tmp_path / "run").exists()
    trainer = create_trainer(config=tiny_config())
    with pytest.raises(DataError, match=r"validation frame, row 2: .*that training has seen \(a, b\), got 'c'$"):
        trainer.train(table(["a", "b"] * 4), table(["a", "c"]))
    assert not (tmp_path / "run").exists()


def test_a_text_that_only_a_later_fit_sees_is_looked_at_before_the_first(tiny_config: Make, tmp_path: Path) -> None:
    rows = table(["a", "b"] * 10)
    rows.loc[18, "text"] = None
    folds = {"cross_validation": {"folds": 3, "strategy": "time_series"}}
    config = tiny_config(plugins=folds)
    del config["data"]["validation"]
    with pytest.raises(DataError, match=r"train frame, row 19: column 'text': expected text, got nothing"):
        create_trainer(config=config).train(rows)
    assert not (tmp_path / "run").exists()


def test_rows_are_taken_as_they_are(config: Callable[..., Config]) -> None:
    rows = read_rows(table(["a", "b"]), name="mine", config=config().data.settings)
    sets = read_sets(config(), rows, rows.take([0]))
    assert isinstance(sets["validation"], Rows)
    assert sets["train"] is rows


def test_rows_to_predict_need_no_labels(config: Callable[..., Config], tmp_path: Path) -> None:
    file = tmp_path / "test.csv"
    file.write_text("text\na film\nthe plot\n")
    sets = read_sets(config(test=str(file)), table(["a", "b"] * 5), 0.2)
    assert list(sets) == ["train", "validation", "test"]
    assert (sets["test"].source, len(sets["test"]), len(sets["train"])) == (str(file), 2, 8)
    frame = read_sets(config(test=str(file)), table(["a", "b"] * 5), None, table(["c"]).drop(columns="label"))["test"]
    assert (frame.source, frame.name) == ("test frame", "test")
    fit = Fit("fit", sets, 42)
    check_labels(config(), [fit])
    with pytest.raises(DataError, match=r"data.label: expected a column 'label', got text"):
        check_labels(config(), [Fit("fit", sets, 42, roles={"test": ("predict", "score")})])


def test_labels_of_rows_to_predict_are_named_once_and_not_read(
    config: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    sets = read_sets(config(validation=None), table(["a", "b"] * 5), None, table(["unknown", ""]))
    check_labels(config(), [Fit("fit", sets, 42)])
    [said] = [text for text in caplog.messages if "data.test" in text]
    assert said == (
        "test frame: data.test: its labels (column 'label') are not read, because its rows are predicted and not "
        "scored; `stepbus evaluate RUN FILE` scores them (in Python: trainer.evaluate(rows))"
    )


def test_a_file_to_predict_that_is_not_there_is_a_problem_of_the_plan(tiny_config: Make) -> None:
    [problem] = describe_plan(tiny_config(data={"test": "not-there.csv"}))["problems"]
    assert problem["message"].endswith("not-there.csv: expected a file, got nothing")


def test_rows_are_said_to_be_cut_to_what_the_model_takes(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It named data.max_length, which some of the rows that were cut are shorter than."""
    seen: list[dict[str, str]] = []
    whole = TextData.describe
    monkeypatch.setattr(TextData, "describe", lambda self: seen.append(whole(self)) or seen[-1])
    tree = tiny_config(model={"max_position_embeddings": 8}, training={"max_steps": 1}, plugins={"progress": True})
    create_trainer(config=tree).train()
    assert {words["cut"].partition(" longer")[2] for words in seen} == {" than 8 tokens"}
