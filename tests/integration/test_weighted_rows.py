"""Rows that count by weight are rows repeated, and soft labels at 0 and 1 are hard ones: the same numbers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pandas as pd
import pytest
import yaml
from attrs import evolve

from stepbus import BadInput, FitResult, Trainer, create_trainer, hookimpl, open_trainer
from stepbus.cli.main import main
from stepbus.plan.planning import describe_plan

Make = Callable[..., dict[str, Any]]
# Sums of single precision in another order.
CLOSE = 2e-6
WORDS = ["good film", "the plot was dull", "a fine cast", "awful and poor the end", "it was very good a film", "bad"]
LABELS: dict[str, dict[str, list[Any]]] = {
    "binary": {"label": ["yes", "no", "yes", "no", "yes", "no"]},
    "multiclass": {"label": ["b", "a", "c", "a", "b", "c"]},
    "multilabel": {"x": [1, 0, 1, 0, 1, 1], "y": [0, 0, 1, 1, 1, 0]},
    "regression": {"label": [3.5, 1.25, 2.0, 8.5, 4.75, 0.5]},
}


def frame(task: str) -> pd.DataFrame:
    """Return 12 rows, of weights 0 to 3."""
    found = pd.DataFrame({"text": WORDS * 2, "w": [1, 2, 0, 3, 1, 1, 2, 0, 2, 1, 3, 1]})
    for name, values in LABELS[task].items():
        found[name] = values * 2
    return found


def repeated(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.loc[rows.index.repeat(rows["w"])].reset_index(drop=True)


def label_of(task: str) -> Any:
    return ["x", "y"] if task == "multilabel" else "label"


def tree_of(make: Make, task: str, name: str = "run", **data: Any) -> dict[str, Any]:
    """Return a configuration without chance: one whole batch an epoch, no dropout, plain gradient steps."""
    tree = make(optimizer={"type": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}, training={"num_epochs": 3})
    tree["model"] |= {"hidden_dropout": 0.0, "attention_dropout": 0.0, "dropout": 0.0}
    tree["environment"] = {"output_dir": str(Path(tree["environment"]["output_dir"]).parent / name)}
    tree["data"] = {"text": "text", "task": task, "label": label_of(task), "batch_size": 64, "max_length": 16, **data}
    return tree


class Updates:
    """Keeps the loss and the weight of each update."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float, int]] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.steps.append((step.loss, step.weight, step.sequences))


def train(tree: dict[str, Any], train: Any, validation: Any = None) -> tuple[Trainer, FitResult, Updates]:
    losses = Updates()
    trainer = create_trainer(config=tree, plugins=[losses])
    return trainer, trainer.train(train, validation), losses


def assert_the_same(
    one: tuple[Trainer, FitResult, Updates], other: tuple[Trainer, FitResult, Updates], close: float = CLOSE
) -> None:
    """Updates of all updates, metrics, and the weights after them, which plain gradient steps make of the gradients."""
    for mine, yours in zip(one[2].steps, other[2].steps, strict=True):
        assert mine[:2] == pytest.approx(yours[:2], abs=close)
    assert one[1].metrics == pytest.approx(other[1].metrics, abs=close)
    arrays = other[0].model.tensors()
    for name, array in one[0].model.tensors().items():
        np.testing.assert_allclose(np.array(array), np.array(arrays[name]), atol=close, err_msg=name)


@pytest.mark.parametrize("task", LABELS)
def test_integer_weights_are_repeated_rows(task: str, tiny_config: Make) -> None:
    """Equal losses, gradients and metrics; history and progress count rows, as ever."""
    rows = frame(task)
    weighted = train(tree_of(tiny_config, task, "weighted", weight="w"), rows, rows)
    many = train(tree_of(tiny_config, task, "many"), repeated(rows), repeated(rows))
    assert_the_same(weighted, many)
    assert [step[2] for step in weighted[2].steps] == [10] * 3  # two rows of weight 0 are left out
    assert [step[2] for step in many[2].steps] == [17] * 3
    plain = train(tree_of(tiny_config, task, "plain"), rows, rows)
    assert abs(plain[1].metrics["eval_loss"] - weighted[1].metrics["eval_loss"]) > 1e-4


@pytest.mark.parametrize("accumulated", [1, 3])
def test_weights_count_over_accumulated_batches(accumulated: int, tiny_config: Make) -> None:
    rows = frame("binary")
    tree = tree_of(tiny_config, "binary", "some", weight="w", batch_size=4)
    tree["training"] |= {"gradient_accumulation_steps": accumulated, "num_epochs": 1}
    losses = train(tree, rows)[2].steps
    assert sum(weight for _, weight, _ in losses) == 17
    if accumulated == 3:
        whole = tree_of(tiny_config, "binary", "whole", weight="w")
        whole["training"]["num_epochs"] = 1
        assert losses[0] == pytest.approx(train(whole, rows)[2].steps[0], abs=CLOSE)


def soft_columns(rows: pd.DataFrame, task: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the rows with a column for each class, at 0 and 1."""
    if task == "multilabel":
        return rows.assign(px=rows["x"].astype(float), py=rows["y"].astype(float)), {"x": "px", "y": "py"}
    classes = sorted(set(rows["label"]))
    columns = {name: f"p_{name}" for name in classes}
    return rows.assign(**{columns[name]: (rows["label"] == name).astype(float) for name in classes}), columns


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_soft_labels_at_0_and_1_are_hard_ones(task: str, named: bool, tiny_config: Make) -> None:
    rows, columns = soft_columns(frame(task), task)
    hard = train(tree_of(tiny_config, task, "hard", weight="w"), rows, rows)
    label = label_of(task) if named else None
    soft = train(tree_of(tiny_config, task, "soft", weight="w", label=label, soft_labels=columns), rows, rows)
    assert_the_same(soft, hard, close=1e-7)
    np.testing.assert_allclose(soft[0].predict(rows[["text"]]), hard[0].predict(rows[["text"]]), atol=1e-7)


def test_soft_labels_are_learnt(tiny_config: Make) -> None:
    """The loss is the cross-entropy with the probabilities, and what is right is told by the label."""
    rows = frame("binary").assign(chance=[0.9, 0.2, 0.8, 0.4, 0.7, 0.1] * 2)
    tree = tree_of(tiny_config, "binary", soft_labels={"yes": "chance"})
    trainer, result, _ = train(tree, rows, rows)
    chances, soft = trainer.predict(rows)[:, 1].astype(np.float64), rows["chance"].to_numpy()
    expected = -(soft * np.log(chances) + (1 - soft) * np.log(1 - chances)).mean()
    assert result.metrics["eval_loss"] == pytest.approx(expected, abs=1e-6)
    assert result.metrics["eval_accuracy"] == ((chances > 0.5) == (rows["label"] == "yes")).mean()
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(expected, abs=1e-6)


class Teacher:
    """Gives training rows the weights and soft labels of its own."""

    scope = "run"

    @hookimpl
    def expand_fits(self, fits: list[Any]) -> list[Any]:
        return [evolve(fit, sets={**fit.sets, "train": self.taught(fit.sets["train"])}) for fit in fits]

    def taught(self, rows: Any) -> Any:
        sure = (rows.frame["label"] == "yes").to_numpy(float)
        return rows.with_weights(rows.frame["w"]).with_soft_labels(np.stack([sure, 1 - sure], 1), ["yes", "no"])


def test_a_plugin_gives_them_as_columns_do(tiny_config: Make) -> None:
    """Also where folds are dealt out afterwards, and where validation rows have certain labels alone."""
    rows = frame("binary")
    plain = tree_of(tiny_config, "binary", "columns", weight="w")
    by_columns = train(plain, rows, rows.drop(columns="w"))
    losses = Updates()
    trainer = create_trainer(config=tree_of(tiny_config, "binary", "plugin"), plugins=[Teacher(), losses])
    result = trainer.train(rows, rows.drop(columns="w"))
    assert_the_same((trainer, result, losses), by_columns, close=1e-7)


def test_out_of_fold_scores_are_by_weight(tiny_config: Make, tmp_path: Path) -> None:
    from sklearn.metrics import accuracy_score

    rows, columns = soft_columns(frame("binary"), "binary")
    tree = tree_of(tiny_config, "binary", weight="w", label=None, soft_labels=columns)
    tree["plugins"] = {"progress": False, "cross_validation": {"folds": 2}}
    result = create_trainer(config=tree).train(rows)
    whole = result.predictions["validation"]
    assert whole.weights is not None
    assert whole.weights.tolist() == rows["w"].tolist()
    assert whole.fold is not None
    expected = accuracy_score(rows["label"] == "yes", whole.values.argmax(1), sample_weight=rows["w"])
    assert result.metrics["oof_accuracy"] == pytest.approx(expected, abs=1e-12)
    written = pd.read_csv(tmp_path / "run" / "out_of_fold.csv")
    assert written["label"].tolist() == rows["label"].tolist()  # the most probable class, where no column says it
    assert written["weight"].tolist() == rows["w"].tolist()
    assert written["fold"].tolist() == (whole.fold + 1).tolist()


# What else hears of them ----------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rows, _ = soft_columns(frame("binary"), "binary")
    found = {name: tmp_path / f"{name}.csv" for name in ("rows", "other", "bare")}
    rows.to_csv(found["rows"], index=False)
    rows.assign(w=rows["w"].replace(3, 4)).to_csv(found["other"], index=False)
    rows[["text", "label"]].to_csv(found["bare"], index=False)
    return found


def test_a_folder_weighs_what_it_evaluates(
    tiny_config: Make, files: dict[str, Path], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, "binary", weight="w", soft_labels={"yes": "p_yes", "no": None})
    trainer, result, _ = train(tree, str(files["rows"]), str(files["rows"]))
    opened = open_trainer(tmp_path / "run")
    caplog.clear()
    assert opened.evaluate(files["rows"]) == trainer.evaluate(files["rows"])
    assert opened.evaluate(files["rows"])["eval_loss"] == result.metrics["eval_loss"]
    assert opened.evaluate(files["other"]) != opened.evaluate(files["rows"])
    assert not [text for text in caplog.messages if "weight" in text or "label" in text]
    caplog.clear()
    bare = opened.evaluate(files["bare"])
    assert bare["eval_accuracy"] == (opened.predict(files["bare"]).argmax(1) == np.tile([1, 0], 6)).mean()
    assert [text for text in caplog.messages if "has seen" not in text] == [
        f"{files['bare']}: there is no column 'w' (data.weight), so each row counts 1",
        f"{files['bare']}: there is no column 'p_yes' (data.soft_labels), so the labels in 'label' are certain",
    ]


def test_a_model_of_soft_labels_alone_evaluates_certain_ones(
    tiny_config: Make, files: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its predictions are called label; another column may be named when it is opened."""
    columns = {"no": "p_no", "yes": "p_yes"}
    tree = tree_of(tiny_config, "binary", label=None, soft_labels=columns)
    train(tree, str(files["rows"]))
    certain = open_trainer(tmp_path / "run").evaluate(files["bare"])
    assert certain == pytest.approx(open_trainer(tmp_path / "run").evaluate(files["rows"]), abs=1e-7)
    said = f"{files['bare']}: there is no column 'p_no' (data.soft_labels), so the labels in 'label' are certain"
    assert said in caplog.messages
    gold = pd.read_csv(files["bare"]).rename(columns={"label": "gold"})
    with pytest.raises(BadInput, match=r"data\.soft_labels: expected a column 'p_no', got text, gold"):
        open_trainer(tmp_path / "run").evaluate(gold)
    assert open_trainer(tmp_path / "run", label="gold").evaluate(gold) == certain


def test_the_command_line_says_the_same(
    tiny_config: Make, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = tree_of(tiny_config, "binary", weight="w", train=str(files["rows"]), validation=str(files["rows"]))
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    assert main(["evaluate", str(tmp_path / "run"), str(files["rows"])]) == 0
    said = capsys.readouterr().out
    expected = open_trainer(tmp_path / "run").evaluate(files["rows"])
    assert f"eval_accuracy   {expected['eval_accuracy']:.6f}\n" in said
    assert main(["predict", str(tmp_path / "run"), str(files["bare"]), "--output", str(tmp_path / "said.csv")]) == 0
    assert len(pd.read_csv(tmp_path / "said.csv")) == 12


def test_a_plan_says_what_counts(tiny_config: Make, files: dict[str, Path]) -> None:
    tree = tree_of(tiny_config, "binary", weight="w", soft_labels={"yes": "p_yes", "no": None})
    tree["data"] |= {"train": str(files["rows"]), "validation": str(files["rows"])}
    plan = describe_plan(tree)
    assert plan["told"]["weights"] == "by column 'w' (data.weight): from 1 to 3, mean 1.7; 2 rows of weight 0 left out"
    assert plan["told"]["soft labels"] == "yes from 'p_yes', no: the rest (data.soft_labels)"
    assert plan["fits"][0]["sets"]["train"]["rows"] == 10
    assert plan["fits"][0]["sets"]["validation"]["rows"] == 12
    assert not plan["problems"]


@pytest.mark.parametrize("change", ["weight", "soft", "hard"])
def test_a_resume_with_others_is_refused_by_name(change: str, tiny_config: Make, files: dict[str, Path]) -> None:
    tree = tree_of(tiny_config, "binary", weight="w", soft_labels={"yes": "p_yes", "no": "p_no"})
    tree["data"] |= {"train": str(files["rows"]), "validation": str(files["rows"])}
    create_trainer(config=tree).train()
    rows = pd.read_csv(files["rows"])
    if change == "weight":
        rows["w"] = rows["w"].replace(3, 2.999)
    if change == "soft":
        rows[["p_yes", "p_no"]] = rows[["p_yes", "p_no"]].clip(0.001, 0.999)
    if change == "hard":
        rows.loc[0, "label"] = "no"
    rows.to_csv(files["rows"], index=False)
    with pytest.raises(BadInput, match=r"fit: .*rows\.csv:2 is another row than before"):
        create_trainer(config=tree).train(resume=True)


@pytest.mark.parametrize("name", ["train", "validation"])
def test_a_set_in_which_nothing_counts_is_refused(name: str, tiny_config: Make) -> None:
    rows = frame("binary")
    sets = {"train": rows, "validation": rows} | {name: rows.assign(w=0)}
    with pytest.raises(BadInput, match=rf"expected a {name} row of a weight above 0, got 0 for all 12"):
        train(tree_of(tiny_config, "binary", weight="w"), **sets)


def test_a_table_tells_no_weight_and_no_soft_label(tiny_config: Make) -> None:
    """They would be labels among the features."""
    rows, columns = soft_columns(frame("binary"), "binary")
    tree = tree_of(tiny_config, "binary", weight="w", soft_labels=columns, type="table")
    del tree["data"]["text"]
    trainer = train(tree, rows, rows)[0]
    assert trainer.encoder.source.columns == ["text"]
    with pytest.raises(BadInput, match=r"expected columns that are no label, got 'p_yes', which data\.soft_labels"):
        train(tree | {"data": tree["data"] | {"columns": ["text", "p_yes"]}}, rows, rows)
    tree = tree_of(tiny_config, "binary", soft_labels=columns)
    with pytest.raises(BadInput, match=r"data\.text: expected a column that is no label, got 'p_no', which data\.soft"):
        train(tree | {"data": tree["data"] | {"text": "p_no"}}, rows, rows)


class Strict:
    """A metric of a stranger, which knows no weights."""

    from stepbus import Metric

    class Right(Metric):
        """The rows right."""

        def update(self, predictions: Any, targets: Any) -> None:
            self.right = predictions.argmax(-1) == targets

        def compute(self) -> float:
            return float(self.right.mean())

    components = (Right.component("right", greater_is_better=True),)

    @hookimpl
    def on_fit_start(self) -> None:
        pass


class Heard:
    """Keeps what was said."""

    scope = "run"

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)


def test_a_metric_that_takes_no_weights_is_named_once(tiny_config: Make, caplog: pytest.LogCaptureFixture) -> None:
    rows, heard = frame("binary"), Heard()
    tree = tree_of(tiny_config, "binary", weight="w")
    tree["training"]["metrics"] = ["accuracy", "right"]
    trainer = create_trainer(config=tree, plugins=[Strict, heard])
    result = trainer.train(rows, rows)
    words = "rows have weights, which right cannot count by: a metric gets them by an argument called weights"
    assert [text for text in heard.said if "have weights" in text] == [words]
    caplog.clear()
    chances = trainer.predict(rows)
    assert result.metrics["eval_right"] == (chances.argmax(1) == (rows["label"] == "yes")).mean()
    with caplog.at_level(logging.WARNING):
        trainer.evaluate(rows)
    assert [text for text in caplog.messages if "has seen" not in text] == [words]


def test_a_head_that_takes_class_numbers_alone_is_named(tiny_config: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepbus_plugins.heads.outputs import SoftmaxHead

    def loss(self: Any, logits: mx.array, labels: mx.array) -> mx.array:
        return mx.logsumexp(logits, -1) - mx.take_along_axis(logits, labels[:, None], axis=-1).squeeze(-1)

    rows, columns = soft_columns(frame("binary"), "binary")
    monkeypatch.setattr(SoftmaxHead, "loss", loss)
    train(tree_of(tiny_config, "binary", "hard"), rows, rows)
    with pytest.raises(BadInput, match=r"the head SoftmaxHead: .*soft labels are probabilities \[B, K\]"):
        train(tree_of(tiny_config, "binary", "soft", soft_labels=columns), rows, rows)


# Loaders --------------------------------------------------------------------------------------------------------------


class Small(nn.Module):
    """One layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def __call__(self, x: mx.array) -> mx.array:
        return self.layer(x)


def losses_of(outputs: mx.array, labels: mx.array) -> mx.array:
    return nn.losses.cross_entropy(outputs, labels)


def loader_run(batch: dict[str, Any], folder: Path) -> tuple[dict[str, float], np.ndarray[Any, Any]]:
    mx.random.seed(3)
    tree = {
        "data": {"task": "binary"},
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
        "training": {"num_epochs": 2},
        "environment": {"output_dir": str(folder)},
        "plugins": {"progress": False},
    }
    trainer = create_trainer(Small(), config=tree, loss=losses_of)
    return trainer.train([batch], [batch]).metrics, np.array(trainer.model.layer.weight)


def test_batches_of_a_loader_count_alike(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    x, labels, weights = draw.normal(size=(9, 3)), draw.integers(0, 2, 9), np.array([1, 0, 2, 3, 1, 1, 0, 2, 1])
    weighted = loader_run({"x": x, "labels": labels, "weights": weights}, tmp_path / "weighted")
    many = loader_run({"x": np.repeat(x, weights, 0), "labels": np.repeat(labels, weights)}, tmp_path / "many")
    soft = loader_run({"x": x, "labels": np.eye(2)[labels], "weights": weights}, tmp_path / "soft")
    for other in (many, soft):
        assert weighted[0] == pytest.approx(other[0], abs=CLOSE)
        np.testing.assert_allclose(weighted[1], other[1], atol=CLOSE)


def test_an_update_in_which_nothing_counts_is_refused(tmp_path: Path) -> None:
    """Its loss was NaN, which is nobody's fault."""
    batch = {"x": np.ones((2, 3)), "labels": [0, 1], "weights": [0, 0]}
    trainer = create_trainer(
        Small(),
        config={"training": {"num_epochs": 1}, "environment": {"output_dir": str(tmp_path / "run")}},
        loss=losses_of,
    )
    with pytest.raises(BadInput, match=r"train: epoch 1, update 2: expected a row of a weight above 0, got 0 for all"):
        trainer.train([{**batch, "weights": [0, 1]}, batch])


def test_the_ledger_keeps_weights(tiny_config: Make, tmp_path: Path) -> None:
    """A resumed run scores by what it scored by before."""
    rows = frame("binary")
    tree = tree_of(tiny_config, "binary", weight="w")
    tree["plugins"] = {"progress": False, "cross_validation": {"folds": 2}}
    first = create_trainer(config=tree).train(rows)
    again = create_trainer(config=tree).train(rows, resume=True)
    assert again.metrics == first.metrics
    np.testing.assert_array_equal(again.predictions["validation"].weights, first.predictions["validation"].weights)
