"""A class of metrics, or an instance, passed in Python: by a value worked out by hand, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stepbus import BadInput, ConfigError, Metric, StepbusError, create_trainer, open_trainer
from stepbus.cli.main import main


class MeanChance(Metric):
    """The mean probability of the second class."""

    greater_is_better = True
    tasks = ("binary",)

    def __init__(self, times: float = 1.0) -> None:
        self.times = times
        self.reset()

    def update(self, predictions: Any, targets: Any, weights: Any = None) -> None:
        self.rows.append(predictions[:, 1])
        self.weights.append(np.ones(len(targets)) if weights is None else weights)

    def compute(self) -> float:
        rows, weights = np.concatenate(self.rows), np.concatenate(self.weights)
        return float((rows * weights).sum() / weights.sum() * self.times)

    def reset(self) -> None:
        self.rows: list[Any] = []
        self.weights: list[Any] = []


class Rows(Metric):
    """How many rows there are; it takes no weights."""

    name = "rows_seen"

    def update(self, predictions: Any, targets: Any) -> None:
        self.number = len(targets)

    def compute(self) -> Any:
        return self.number


class Mass(Metric):
    """What the rows weigh; it must have weights."""

    def update(self, predictions: Any, targets: Any, *, weights: Any) -> None:  # type: ignore[override]
        self.weights = weights

    def compute(self) -> float:
        return float(self.weights.sum())


WAYS: dict[str, dict[str, Any]] = {
    "class": {"metrics": ["accuracy", MeanChance]},
    "instance": {"metrics": ["accuracy", MeanChance()]},
    "dotted": {"training.metrics": ["accuracy", MeanChance]},
    "section": {"training": {"metrics": ["accuracy", MeanChance]}},
    "plugin beside": {"plugins": [MeanChance], "metrics": ["accuracy"]},
    "both": {"plugins": [MeanChance], "metrics": ["accuracy", MeanChance]},
    "callback": {"callbacks": [MeanChance()], "metrics": ["accuracy"]},
}


@pytest.mark.parametrize("way", WAYS)
def test_it_scores_however_it_is_passed(way: str, tiny_config: Any) -> None:
    tree = tiny_config(training={"num_epochs": 1, "monitor": "eval_mean_chance"})
    result = create_trainer(config=tree, **WAYS[way]).train()
    assert {name for name in result.metrics if name.startswith("eval_")} == {
        "eval_loss", "eval_accuracy", "eval_mean_chance",
    }  # fmt: skip
    expected = result.predictions["validation"].values[:, 1].mean()
    assert result.metrics["eval_mean_chance"] == pytest.approx(expected)
    assert result.best is not None and result.best.value == result.metrics["eval_mean_chance"]


@pytest.mark.parametrize("make", [lambda: [MeanChance()] * 2, lambda: [MeanChance] * 2, lambda: ["accuracy"] * 2])
def test_one_that_is_named_twice_is_an_error_that_names_it(make: Any, tiny_config: Any) -> None:
    metrics = make()
    name = metrics[0] if isinstance(metrics[0], str) else "mean_chance"
    with pytest.raises(
        BadInput, match=rf"training\.metrics\[1\]: expected a name of its own .*, got {name} again; leav"
    ):
        create_trainer(config=tiny_config(training={"num_epochs": 1}), metrics=metrics).train()


def test_two_of_one_name_are_an_error_that_names_it(tiny_config: Any) -> None:
    other = type("Other", (MeanChance,), {"name": "mean_chance"})
    for metrics in ([MeanChance, other], [MeanChance(), MeanChance(2.0)], [MeanChance, MeanChance()]):
        with pytest.raises(
            BadInput, match="two metrics passed in Python are called 'mean_chance': give one a class with"
        ):
            create_trainer(config=tiny_config(), metrics=metrics)


def test_alone_it_stands_beside_the_metrics_of_the_task(tiny_config: Any) -> None:
    result = create_trainer(config=tiny_config(training={"num_epochs": 1}), plugins=[MeanChance(2.0)]).train()
    expected = 2 * result.predictions["validation"].values[:, 1].mean()
    assert result.metrics["eval_mean_chance"] == pytest.approx(expected)
    assert {"eval_accuracy", "eval_auc_roc"} <= result.metrics.keys()


def test_it_gets_weights_where_it_takes_them(tiny_config: Any, review_files: Any) -> None:
    for file in review_files.values():
        frame = pd.read_csv(file)
        frame.assign(w=np.arange(len(frame)) % 3).to_csv(file, index=False)
    tree = tiny_config(data={"weight": "w"}, training={"num_epochs": 1})
    trainer = create_trainer(config=tree, metrics=[MeanChance, Rows()])
    result = trainer.train()
    said = result.predictions["validation"]
    assert result.metrics["eval_mean_chance"] == pytest.approx(np.average(said.values[:, 1], weights=said.weights))
    assert result.metrics["eval_rows_seen"] == 20
    assert trainer.evaluate(str(review_files["dev"]))["eval_mean_chance"] == result.metrics["eval_mean_chance"]


@pytest.mark.parametrize("weighted", [True, False])
def test_one_that_must_have_weights_has_them_everywhere(weighted: bool, tiny_config: Any, review_files: Any) -> None:
    """Its rehearsal and the rows without weights called it without."""
    weights = np.array([0.25, 2.0, 1.5])
    for file in review_files.values():
        frame = pd.read_csv(file)
        frame.assign(w=weights[np.arange(len(frame)) % 3]).to_csv(file, index=False)
    tree = tiny_config(data={"weight": "w"} if weighted else {}, training={"num_epochs": 1})
    trainer = create_trainer(config=tree, metrics=["accuracy", Mass])
    dev, train = (weights[np.arange(rows) % 3].sum() if weighted else rows for rows in (20, 44))
    assert trainer.train().metrics["eval_mass"] == dev
    assert trainer.evaluate(str(review_files["dev"]))["eval_mass"] == dev
    folds = tree | {"plugins": {**tree["plugins"], "cross_validation": {"folds": 2}}}
    folds["data"] = {name: value for name, value in tree["data"].items() if name != "validation"}
    result = create_trainer(config=folds, metrics=[Mass]).train()
    assert result.metrics["oof_mass"] == sum(part.metrics["eval_mass"] for part in result.parts) == train


def test_each_fold_has_a_metric_of_its_own_and_the_whole_has_it_too(tiny_config: Any) -> None:
    tree = tiny_config(data={"validation": None}, plugins={"cross_validation": {"folds": 2}})
    for given in (MeanChance, MeanChance()):
        result = create_trainer(config=tree, metrics=[given], num_epochs=1).train()
        assert result.metrics["oof_mean_chance"] == pytest.approx(result.predictions["validation"].values[:, 1].mean())
        for part in result.parts:
            expected = part.predictions["validation"].values[:, 1].mean()
            assert part.metrics["eval_mean_chance"] == pytest.approx(expected)


def test_a_resumed_run_and_an_opened_model_want_it_again(tiny_config: Any, review_files: Any) -> None:
    trainer = create_trainer(config=tiny_config(training={"num_epochs": 1}), metrics=["accuracy", MeanChance])
    result = trainer.train()
    again = create_trainer(config=tiny_config(training={"num_epochs": 1}), metrics=["accuracy", MeanChance])
    assert again.train(resume=True).metrics == result.metrics
    opened = open_trainer(str(result.model_path), plugins=[MeanChance])
    assert opened.evaluate(str(review_files["dev"]))["eval_mean_chance"] == result.metrics["eval_mean_chance"]


@pytest.mark.parametrize("metrics", [["accuracy", MeanChance], [MeanChance()]])
def test_a_run_with_one_opens_without_it(metrics: Any, tiny_config: Any, review_files: Any, tmp_path: Path) -> None:
    """No prediction needs it, and nobody could hand it to the command that the result recommends."""
    trainer = create_trainer(config=tiny_config(training={"num_epochs": 1}), metrics=metrics)
    result, dev = trainer.train(), str(review_files["dev"])
    opened = open_trainer(result.directory)
    np.testing.assert_array_equal(opened.predict(dev), trainer.predict(dev))
    kept = {name: value for name, value in result.metrics.items() if name not in ("train_loss", "eval_mean_chance")}
    assert opened.evaluate(dev) == kept
    again = open_trainer(result.directory, metrics=["accuracy", MeanChance]).evaluate(dev)
    assert again["eval_mean_chance"] == result.metrics["eval_mean_chance"]
    assert main(["predict", str(result.directory), dev, "--output", str(tmp_path / "said.csv")]) == 0


class Two(Metric):
    """Two numbers of one metric, each by a name of its own."""

    greater_is_better = True

    def update(self, predictions: Any, targets: Any) -> None:
        self.said = predictions[:, 1]

    def compute(self) -> dict[str, float]:
        return {"mean": float(self.said.mean()), "most": float(self.said.max())}


def test_each_number_of_a_metric_can_be_watched_and_its_own_name_cannot(tiny_config: Any, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(), metrics=["accuracy", Two], monitor="eval_mean", num_epochs=3)
    result = trainer.train()
    assert result.best is not None and result.best.metric == "eval_mean"
    assert result.best.value == max(record["eval_mean"] for record in result.history)
    with pytest.raises(ConfigError, match=r"this run computes, got .eval_two.*eval_loss, eval_mean, eval_most"):
        create_trainer(config=tiny_config(), metrics=["accuracy", Two], monitor="eval_two", output_dir="b").train()
    with pytest.raises(ConfigError, match=r"expected true, because more eval_mean is better, got false"):
        create_trainer(config=tiny_config(), metrics=[Two], monitor="eval_mean", greater_is_better=False).train()


def test_of_a_file(tiny_config: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from stepbus import Metric\n\n\nclass Largest(Metric):\n    greater_is_better = True\n\n"
        "    def update(self, predictions, targets):\n        self.found = predictions.max()\n\n"
        "    def compute(self):\n        return self.found\n"
    )
    tree = tiny_config(plugins={"mine": {"use": "./mine.py:Largest"}}, training={"metrics": ["accuracy"]})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    result = create_trainer(config=tmp_path / "run.yaml").train()
    assert result.metrics["eval_largest"] == pytest.approx(result.predictions["validation"].values.max())


# What is none ---------------------------------------------------------------------------------------------------------


class NoCompute(Metric):
    def update(self, predictions: Any, targets: Any) -> None:
        pass


class OtherArguments(Metric):
    def update(self, one: Any) -> None:  # type: ignore[override]  # the fault
        pass

    def compute(self) -> float:
        return 0.0


class SaysText(Rows):
    name = ""

    def compute(self) -> Any:
        return "good"


class WantsMore(Rows):
    name = ""

    def __init__(self, k: int) -> None:
        self.k = k


class Accuracy(Rows):
    name = ""


class TwoWords(Rows):
    name = "two words"


class OfValues(Rows):
    name, tasks = "", ("regression",)


class NoMetric:
    def update(self, predictions: Any, targets: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (NoCompute, "NoCompute has no compute(); write it"),
        (OtherArguments, "the metric 'other_arguments' raised TypeError: OtherArguments.update() takes 2 positional"),
        (SaysText, "expected a number, or numbers by name, from it, got 'good'"),
        (WantsMore, "WantsMore"),
        (Accuracy, "two plugins offer the metric 'accuracy'"),
        (TwoWords, "TwoWords: expected name = a text of letters, digits, _, . and -, got 'two words'"),
        (OfValues, "of_values is for regression, and this data is binary; leave it out"),
        (NoMetric, "got the class NoMetric; a metric of your own is a class that extends stepbus.Metric, or an"),
        (Metric, "metrics[1]: expected a number, text, true, false, None, a list or a mapping, got the class Metric;"),
        (np.mean, "; a metric of your own is a class that extends stepbus.Metric, or an instance of it"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_none_gets_one_sentence_before_training(
    metric: Any, said: str, tiny_config: Any, tmp_path: Path
) -> None:
    with pytest.raises(StepbusError) as caught:
        create_trainer(config=tiny_config(), metrics=["accuracy", metric]).train()
    assert said in str(caught.value)
    assert "\n" not in str(caught.value).strip()
    assert not (tmp_path / "run").exists()
    assert isinstance(caught.value, BadInput) or "metric" in str(caught.value)
