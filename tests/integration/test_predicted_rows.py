"""Rows to predict (`data.test`) as a part of the run: predicted once at the end of each fit, never scored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from stepbus import (
    Axis,
    CheckpointError,
    DataError,
    Fit,
    FitResult,
    Predictions,
    create_trainer,
    hookimpl,
    open_trainer,
)
from stepbus.plan.planning import describe_plan
from stepbus.plan.words import render

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def test_file(tmp_path: Path) -> Path:
    """Rows without labels, in no order of length."""
    file = tmp_path / "test.csv"
    lines = [f"a film {'and very ' * (row % 5)}{'good' if row % 2 else 'dull'}" for row in range(19)]
    file.write_text("\n".join(["text", *lines]) + "\n")
    return file


class Told:
    """Writes down what is told of the rows to predict."""

    def __init__(self) -> None:
        self.predictions: list[tuple[int, Predictions, bool]] = []
        self.evaluated: list[str] = []

    @hookimpl
    def on_predictions(self, state: Any, name: str, predictions: Predictions, final: bool) -> None:
        if name == "test":
            self.predictions.append((state.step, predictions, final))

    @hookimpl
    def on_evaluate_start(self, name: str) -> None:
        self.evaluated.append(name)

    @hookimpl
    def on_evaluate(self, name: str) -> None:
        self.evaluated.append(name)


def test_rows_are_predicted_once_with_the_weights_that_are_exported(
    tiny_config: Make, test_file: Path, tmp_path: Path
) -> None:
    told = Told()
    tree = tiny_config(data={"test": str(test_file)}, plugins={"progress": False, "early_stopping": {"patience": 1}})
    trainer = create_trainer(config=tree, plugins=[told])
    result = trainer.train()
    [(step, predictions, final)] = told.predictions
    assert (step, final, predictions.labels) == (result.steps, True, None)
    assert predictions.values.shape == (19, 2)
    assert predictions.row_ids.tolist() == list(range(19))
    assert set(told.evaluated) == {"validation"}
    assert not [name for name in result.metrics if "test" in name]
    assert result.predictions["test"].values.tobytes() == predictions.values.tobytes()
    assert result.model_path is not None
    opened = open_trainer(result.model_path).predict(str(test_file))
    assert opened.tobytes() == predictions.values.tobytes()
    resumed = create_trainer(config=tree, plugins=[Told()]).train(resume=True)
    assert resumed.predictions["test"].values.tobytes() == predictions.values.tobytes()
    assert resumed.predictions["test"].labels is None


def test_predicting_changes_nothing_of_the_training(tiny_config: Make, test_file: Path) -> None:
    plain = create_trainer(config=tiny_config()).train()
    beside = create_trainer(config=tiny_config(data={"test": str(test_file)})).train()
    assert plain.metrics == beside.metrics
    assert plain.predictions["validation"].values.tobytes() == beside.predictions["validation"].values.tobytes()
    assert list(beside.predictions) == ["validation", "test"]


def test_every_fold_predicts_the_same_rows(tiny_config: Make, test_file: Path) -> None:
    told = Told()
    tree = tiny_config(data={"test": str(test_file), "validation": None}, plugins={"cross_validation": {"folds": 3}})
    trainer = create_trainer(config=tree | {"plugins": {"progress": False, **tree["plugins"]}}, plugins=[told])
    trainer.train()
    assert len(told.predictions) == 3
    each = [fit.predict(str(test_file)) for fit in trainer.fits]
    for (_, predictions, _), again in zip(told.predictions, each, strict=True):
        assert predictions.values.tobytes() == again.tobytes()
    assert each[0].tobytes() != each[1].tobytes()


def test_a_frame_is_predicted_too_and_its_ids_are_kept(tiny_config: Make, review_files: dict[str, Path]) -> None:
    train = pd.read_csv(review_files["train"])
    train["key"] = [f"t{row}" for row in range(len(train))]
    test = pd.DataFrame({"key": ["b", "a"], "text": ["a good film", "the plot was dull"]})
    tree = tiny_config(data={"id": "key"}, training={"num_epochs": 1})
    result = create_trainer(config=tree).train(train, 0.2, test=test)
    assert result.predictions["test"].row_ids.tolist() == ["b", "a"]


def test_a_row_without_text_is_found_before_anything_is_trained(tiny_config: Make, test_file: Path) -> None:
    test_file.write_text("text,more\na film,1\n,2\n")
    with pytest.raises(DataError, match=r"test.csv:3: column 'text': expected text, got nothing"):
        create_trainer(config=tiny_config(data={"test": str(test_file)})).train()


def test_other_rows_to_predict_are_refused_at_a_resume(tiny_config: Make, test_file: Path) -> None:
    tree = tiny_config(data={"test": str(test_file)}, training={"num_epochs": 1})
    create_trainer(config=tree).train()
    test_file.write_text("text\na film\n")
    with pytest.raises(CheckpointError, match="test"):
        create_trainer(config=tree).train(resume=True)


def test_the_plan_shows_them(tiny_config: Make, test_file: Path) -> None:
    plan = describe_plan(tiny_config(data={"test": str(test_file)}))
    assert plan["problems"] == []
    assert plan["fits"][0]["sets"]["test"] == {"rows": 19, "roles": ["predict"], "labels": None}
    [line] = [line for line in render(plan, 100).splitlines() if line.split()[:2] == ["test", "19"]]
    assert line.endswith("predicted, not read")
    json.dumps(plan)


def test_the_training_rows_again_are_known_by_their_labels(tiny_config: Make, review_files: dict[str, Path]) -> None:
    plan = describe_plan(tiny_config(data={"test": str(review_files["train"]), "validation": None}))
    sets = plan["fits"][0]["sets"]
    assert sum(sets["train"]["labels"].values()) == 44
    assert sets["test"]["labels"] is None


def test_batches_without_labels_are_predicted(tiny_config: Make) -> None:
    import mlx.nn as nn

    draw = np.random.default_rng(0)

    def batches(number: int, *, labelled: bool) -> list[dict[str, Any]]:
        made = [{"x": draw.normal(size=(4, 3)).astype(np.float32)} for _ in range(number)]
        return [batch | ({"labels": (batch["x"][:, 0] > 0).astype(np.int32)} if labelled else {}) for batch in made]

    test = batches(2, labelled=False)
    told = Told()
    tree = {"plugins": {"progress": False}, "training": {"num_epochs": 1}, "environment": tiny_config()["environment"]}
    trainer = create_trainer(nn.Linear(3, 2), tree, loss=nn.losses.cross_entropy, plugins=[told])
    result = trainer.train(batches(5, labelled=True), batches(2, labelled=True), test=test)
    assert result.predictions["test"].labels is None
    assert result.predictions["test"].values.tobytes() == trainer.predict(test).tobytes()
    assert len(told.predictions) == 1


class TwoMembers:
    """Two members; the second is given sets of its own, without the rows to predict."""

    scope = "run"
    grows = (Axis("member"),)

    @hookimpl
    def expand_fits(self, fits: list[Fit]) -> list[Fit]:
        (fit,) = fits
        kept = {name: rows for name, rows in fit.sets.items() if name != "test"}
        return [
            evolve(fit, name=f"member-{place}", scope={"member": place}, sets=sets)
            for place, sets in enumerate((fit.sets, kept))
        ]

    @hookimpl
    def combine_results(self, results: list[FitResult]) -> FitResult:
        return results[-1]


def test_a_plan_that_loses_them_says_so(tiny_config: Make, test_file: Path) -> None:
    tree = tiny_config(data={"test": str(test_file)}, training={"max_steps": 1})
    said: list[str] = []

    class Listens:
        scope = "run"

        @hookimpl
        def on_message(self, text: str) -> None:
            said.append(text)

    words = "the run will say nothing of the test rows, because not all of its fits predict them: member-1 does not"
    assert "test" not in create_trainer(config=tree, plugins=[TwoMembers, Listens]).train().predictions
    assert [text for text in said if words in text]
    said.clear()
    create_trainer(config=tree, plugins=[Listens]).train()
    del tree["data"]["test"]
    create_trainer(config=tree, plugins=[TwoMembers, Listens]).train()
    assert not [text for text in said if "say nothing" in text]
