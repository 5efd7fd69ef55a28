"""The walk: metrics of classes and of values, and what is counted of the loss (lines 85 to 96, 165)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as scores

from stepbus import create_trainer, hookimpl

NAMES = ["accuracy", "precision", "recall", "f1", "auc_roc", "auc_pr"]
VALUES = ["mse", "mae", "rmse", "r2"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def classes(train_once: Any) -> Any:
    return train_once(training={"metrics": NAMES, "num_epochs": 3})


def values_of(world: Any, folder: Path, *names: Any) -> Any:
    """Return a trained regression of how many words a text has, with metrics."""
    frames = []
    for name in ("train", "dev"):
        rows = world.frame(name)
        frames.append(pd.DataFrame({"text": rows["text"], "length": rows["text"].str.split().str.len() * 1.5}))
    tree = world.tree(folder, training={"metrics": list(names), "num_epochs": 1})
    tree["data"] |= {"label": "length", "task": "regression"}
    trainer = create_trainer(config=tree)
    return trainer.train(*frames)


@pytest.fixture(scope="session")
def values(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return values_of(world, tmp_path_factory.mktemp("values"), *VALUES)


def told(result: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions of the validation rows."""
    kept = result.predictions["validation"]
    return np.asarray(kept.labels), np.asarray(kept.values)


def test_line_085_accuracy_precision_recall_f1(classes: Any) -> None:
    labels, probabilities = told(classes.result)
    decided = probabilities.argmax(axis=1)
    for name, by_hand in (
        ("accuracy", scores.accuracy_score(labels, decided)),
        ("precision", scores.precision_score(labels, decided, zero_division=0.0)),
        ("recall", scores.recall_score(labels, decided)),
        ("f1", scores.f1_score(labels, decided)),
    ):
        assert classes.result.metrics[f"eval_{name}"] == pytest.approx(by_hand), name


def test_line_086_areas(classes: Any) -> None:
    labels, probabilities = told(classes.result)
    found = classes.result.metrics
    assert found["eval_auc_roc"] == pytest.approx(scores.roc_auc_score(labels, probabilities[:, 1]))
    assert found["eval_auc_pr"] == pytest.approx(scores.average_precision_score(labels, probabilities[:, 1]))


def test_line_087_the_confusion_matrix(classes: Any) -> None:
    labels, probabilities = told(classes.result)
    by_hand = scores.confusion_matrix(labels, probabilities.argmax(axis=1))
    (title, _, rows) = next(each for each in classes.recorder.reports if "confusion" in each[0])
    assert [[int(cell) for cell in row[1:3]] for row in rows] == by_hand.tolist(), title  # as it was shown
    (file,) = classes.folder.rglob("confusion_matrix*.csv")
    written = pd.read_csv(file)
    assert written.select_dtypes("number").to_numpy()[:, -2:].tolist() == by_hand.tolist()


def test_line_088_each_class(classes: Any) -> None:
    labels, probabilities = told(classes.result)
    decided = probabilities.argmax(axis=1)
    (file,) = classes.folder.rglob("per_class*.csv")
    written = pd.read_csv(file)
    by_hand = scores.precision_recall_fscore_support(labels, decided, zero_division=0.0)
    # The precision of what nobody predicted is 0, as that of the metric is.
    for name, column in zip(("precision", "recall", "support"), (*by_hand[:2], by_hand[3]), strict=True):
        np.testing.assert_allclose(written[name], column, atol=1e-6)
    np.testing.assert_allclose(written["f1"], scores.f1_score(labels, decided, average=None, zero_division=0.0))


def test_line_089_squares_and_differences(values: Any) -> None:
    labels, predicted = told(values)
    found = values.metrics
    assert found["eval_mse"] == pytest.approx(scores.mean_squared_error(labels, predicted))
    assert found["eval_mae"] == pytest.approx(scores.mean_absolute_error(labels, predicted))
    assert found["eval_rmse"] == pytest.approx(found["eval_mse"] ** 0.5)


def test_line_090_r2(values: Any) -> None:
    assert values.metrics["eval_r2"] == pytest.approx(scores.r2_score(*told(values)))


def test_line_091_explained_variance(world: Any) -> None:
    result = values_of(world, Path.cwd(), "explained_variance")
    assert result.metrics["eval_explained_variance"] == pytest.approx(scores.explained_variance_score(*told(result)))


def test_line_092_mean_absolute_percentage_error(world: Any) -> None:
    result = values_of(world, Path.cwd(), "mape")
    assert result.metrics["eval_mape"] == pytest.approx(scores.mean_absolute_percentage_error(*told(result)))


def test_line_093_quantile_loss(world: Any) -> None:
    result = values_of(world, Path.cwd(), {"type": "quantile_loss", "quantile": 0.9})
    (name,) = (name for name in result.metrics if "quantile" in name)
    assert result.metrics[name] == pytest.approx(scores.mean_pinball_loss(*told(result), alpha=0.9))


def test_line_094_averaged_loss(done: Any) -> None:
    labels, probabilities = told(done.result)
    assert done.result.metrics["eval_loss"] == pytest.approx(scores.log_loss(labels, probabilities), abs=1e-6)


def test_line_095_batch_and_epoch(done: Any) -> None:
    losses = [given["step"].loss for given in done.recorder.of("on_step_end")]
    # 32 rows in batches of 4: every update weighs the same.
    assert [record["loss"] for record in done.recorder.records[:2]] == pytest.approx(
        [np.mean(losses[:3]), np.mean(losses[3:6])]
    )
    epochs = [given["state"].metrics["train_loss"] for given in done.recorder.of("on_epoch_end")]
    assert epochs == pytest.approx([np.mean(losses[:8]), np.mean(losses[8:])])


def test_line_096_several_components(train_once: Any) -> None:
    """R-Drop's loss has a part of its own, which is seen by itself: in each update, and as the mean of each epoch."""
    done = train_once(plugins={"progress": False, "rdrop": {"alpha": 2.0}}, training={"num_epochs": 1})
    steps = [given["step"].scalars for given in done.recorder.of("on_step_end")]
    (name,) = (name for name in steps[0] if "rdrop" in name)
    (final,) = (given["state"].metrics for given in done.recorder.of("on_epoch_end"))
    assert final[f"train_{name}"] == pytest.approx(np.mean([each[name] for each in steps]))


def test_line_165_custom_metric(world: Any, done: Any) -> None:
    from stepbus import Metric

    class CustomMetric(Metric):
        greater_is_better = True

        def __init__(self) -> None:
            self.reset()

        def update(self, predictions: Any, targets: Any) -> None:
            # Update internal state
            self.right += int((predictions.argmax(axis=1) == targets).sum())
            self.rows += len(targets)

        def compute(self) -> float:
            # Return final metric value
            return self.right / self.rows

        def reset(self) -> None:
            # Reset for new epoch
            self.right = self.rows = 0

    tree = world.tree(Path.cwd())
    result = create_trainer(config=tree, plugins=[CustomMetric]).train()
    assert result.metrics["eval_custom_metric"] == result.metrics["eval_accuracy"]
    assert [each["eval_custom_metric"] for each in result.history] == [each["eval_accuracy"] for each in result.history]


def test_line_165_a_metric_that_a_plugin_offers(world: Any) -> None:
    from stepbus import Metric

    class Rows(Metric):
        number = 0

        def update(self, predictions: Any, targets: Any) -> None:
            self.number = len(targets)

        def compute(self) -> float:
            return float(self.number)

    class Offers:
        components = (Rows.component("rows", greater_is_better=None),)

        @hookimpl
        def on_epoch_end(self) -> None:
            """Hears of epochs, as it happens."""

    tree = world.tree(Path.cwd(), training={"metrics": ["rows"], "num_epochs": 1})
    assert create_trainer(config=tree, plugins=[Offers]).train().metrics["eval_rows"] == 16
