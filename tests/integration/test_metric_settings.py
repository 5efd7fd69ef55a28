"""Metrics as a configuration picks them: several of one, thresholds, tables; and what everything else makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stepbus import BadInput, ConfigError, DataError, create_trainer, hookimpl, load_config, open_trainer
from stepbus.cli.main import main


class Messages:
    """Keep what a run says."""

    scope = "run"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.artifacts: list[str] = []
        self.titles: list[str] = []

    @hookimpl
    def on_message(self, text: str) -> None:
        self.texts.append(text)

    @hookimpl
    def on_artifact(self, path: Path) -> None:
        self.artifacts.append(path.name)

    @hookimpl
    def on_report(self, title: str) -> None:
        self.titles.append(title)


def flags(path: Path, rows: int, seed: int) -> Path:
    """Write rows with two labels."""
    draw = np.random.default_rng(seed)
    words = ["good fine", "bad awful", "film plot", "good bad"]
    frame = pd.DataFrame({"text": [words[n] for n in draw.integers(0, 4, rows)]})
    frame["toxic"], frame["rude"] = frame.text.str.contains("bad").astype(int), draw.integers(0, 2, rows)
    frame.to_csv(path, index=False)
    return path


# Several of one metric ------------------------------------------------------------------------------------------------


def test_several_of_one_metric_have_names(tiny_config: Any, review_files: Any) -> None:
    metrics = [
        "accuracy",
        {"type": "f1", "average": "macro"},
        {"type": "f1", "average": "micro", "name": "micro"},
        {"type": "calibration_error", "name": "ece.5", "bins": 5},
        "calibration_error",
    ]
    trainer = create_trainer(config=tiny_config(training={"metrics": metrics, "monitor": "eval_micro"}))
    result = trainer.train()
    scored = {name for name in result.metrics if name.startswith("eval_")}
    assert scored == {f"eval_{name}" for name in ("loss", "accuracy", "f1", "micro", "ece.5", "calibration_error")}
    assert result.metrics["eval_micro"] == result.metrics["eval_accuracy"]  # of two classes they are one
    assert result.best is not None and result.best.metric == "eval_micro"
    # What was written down gives the same names again.
    assert result.model_path is not None
    opened = open_trainer(str(result.model_path)).evaluate(str(review_files["dev"]))
    assert {name: opened[name] for name in scored} == {name: result.metrics[name] for name in scored}


@pytest.mark.parametrize("name", ["", "two words", "3rd", "a/b", 3])
def test_a_name_that_is_none(name: Any, tiny_config: Any) -> None:
    with pytest.raises(ConfigError, match=r"^training\.metrics\[0\]\.name: expected "):
        create_trainer(config=tiny_config(training={"metrics": [{"type": "f1", "name": name}]}))


def test_more_places_than_classes_are_refused_before_weights(
    tiny_config: Any, review_files: Any, tmp_path: Path
) -> None:
    for file in review_files.values():
        frame = pd.read_csv(file)
        frame["label"] = ["a", "b", "c", "d"] * (len(frame) // 4)
        frame.to_csv(file, index=False)
    with pytest.raises(
        ConfigError, match=r"^training\.metrics\[1\]\.k: expected fewer than the 4 classes, all of which"
    ):
        create_trainer(config=tiny_config(training={"metrics": ["accuracy", {"type": "top_k", "k": 5}]})).train()
    assert not (tmp_path / "run").exists()
    metrics = [{"type": "top_k", "k": 2}, {"type": "top_k", "k": 3, "name": "top_3"}]
    result = create_trainer(config=tiny_config(training={"metrics": metrics})).train()
    chances, labels = result.predictions["validation"].values, result.predictions["validation"].labels
    assert labels is not None
    places = np.argsort(np.argsort(-chances, axis=1), axis=1)[np.arange(len(labels)), labels.astype(int)]
    assert result.metrics["eval_top_k"] == pytest.approx((places < 2).mean())
    assert result.metrics["eval_top_3"] == pytest.approx((places < 3).mean())


# Thresholds -----------------------------------------------------------------------------------------------------------


def test_one_threshold_for_metrics_tables_errors_and_written_predictions(
    tiny_config: Any, review_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = Messages()
    tree = tiny_config(data={"threshold": 0.9, "test": str(review_files["dev"])}, plugins={"error_table": {"rows": 99}})
    result = create_trainer(config=tree, plugins=[told]).train()
    dev = pd.read_csv(review_files["dev"])
    chances = result.predictions["validation"].values[:, 1]
    decided = (chances >= np.float32(0.9)).astype(int)
    assert (decided != (chances >= 0.5)).any()  # it makes a difference
    assert result.metrics["eval_accuracy"] == pytest.approx((decided == dev.label).mean())
    assert result.metrics["eval_recall"] == pytest.approx(decided[dev.label == 1].mean())
    folder = tmp_path / "run" / "fits" / "fit"
    matrix = pd.read_csv(folder / "confusion_matrix.csv", index_col=0)
    assert matrix.to_numpy().tolist() == [
        [int(((dev.label == a) & (decided == b)).sum()) for b in (0, 1)] for a in (0, 1)
    ]
    assert pd.read_csv(folder / "per_class.csv").threshold.tolist()[1] == 0.9
    assert any("from a probability of 0.9 on" in title for title in told.titles)
    assert pd.read_csv(folder / "errors.csv").shape[0] == (decided != dev.label).sum()
    assert pd.read_csv(tmp_path / "run" / "test_predictions.csv").label.tolist() == decided.tolist()
    # The model alone, opened elsewhere, decides as it did.
    capsys.readouterr()
    assert main(["predict", str(result.model_path), str(review_files["dev"]), "--output", str(tmp_path / "p.csv")]) == 0
    assert pd.read_csv(tmp_path / "p.csv").label.tolist() == decided.tolist()
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), str(review_files["dev"]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["eval_accuracy"] == result.metrics["eval_accuracy"]


def test_a_threshold_of_each_label(tiny_config: Any, tmp_path: Path) -> None:
    train, dev = flags(tmp_path / "train.csv", 44, 1), flags(tmp_path / "dev.csv", 20, 2)
    data = {"train": str(train), "validation": str(dev), "label": ["toxic", "rude"], "threshold": {"rude": 0.45}}
    result = create_trainer(config=tiny_config(data=data)).train()
    said = result.predictions["validation"]
    assert said.labels is not None
    decided = said.values >= np.array([0.5, 0.45], dtype=np.float32)
    assert result.metrics["eval_accuracy"] == pytest.approx((decided == said.labels).all(axis=1).mean())
    each = pd.read_csv(tmp_path / "run" / "fits" / "fit" / "per_class.csv", index_col=0)
    assert each.threshold.to_dict() == {"toxic": 0.5, "rude": 0.45}
    matrix = pd.read_csv(tmp_path / "run" / "fits" / "fit" / "confusion_matrix.csv", index_col=0)
    assert matrix.loc["rude"].to_dict() == {
        f"{right}_{kind}": int((((decided == said.labels)[:, 1] == (right == "true")) & (decided[:, 1] == flag)).sum())
        for right, kind, flag in (
            ("true", "negative", 0), ("false", "positive", 1), ("false", "negative", 0), ("true", "positive", 1)
        )
    }  # fmt: skip
    written = open_trainer(str(result.model_path)).predict(str(dev))
    assert np.array_equal(written, said.values)


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        ({"toxic": 0.3}, "data.threshold: expected one number for two classes, from which a row is of the second"),
        (1.0, "data.threshold: expected numbers between 0 and 1, got 1.0"),
    ],
)
def test_a_threshold_that_is_none(threshold: Any, said: str, tiny_config: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        create_trainer(config=tiny_config(data={"threshold": threshold})).train()
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_threshold_that_is_none_is_said_with_its_line(
    tiny_config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"train": str(flags(tmp_path / "train.csv", 44, 1)), "validation": 0.3, "label": ["toxic", "rude"]}
    for more, said in (
        ({"data": {**data, "threshold": {"toxc": 0.3}}}, "data.threshold: expected a label out of toxic, rude, got"),
        (
            {"data": data, "training": {"metrics": [{"type": "f1", "threshold": {"toxc": 0.3}}]}},
            "training.metrics[0].threshold: expected a label out of toxic, rude, got 'toxc' (did you mean 'toxic'?)",
        ),
    ):
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(tiny_config(**more)))
        for command in ("train", "plan"):
            assert main([command, str(file)]) == 2
            told = capsys.readouterr()
            assert f"{file}:" in told.out + told.err and said in told.out + told.err
    assert not (tmp_path / "run").exists()


def test_all_that_is_wrong_with_metrics_is_said_at_once_and_where(
    tiny_config: Any, review_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_csv(review_files["train"])
    rows["label"] = [("low", "mid", "high")[place % 3] for place in range(len(rows))]
    rows.to_csv(tmp_path / "ordered.csv", index=False)
    ordered = {"train": str(tmp_path / "ordered.csv"), "validation": 0.3}
    for more, said in (
        (
            {"training": {"metrics": ["accuracy", "quadratic_kappa", "top_k", "rmse"]}},
            [
                "training.metrics[1]: quadratic_kappa is for multiclass, and this data is binary; leave it out",
                "training.metrics[2]: top_k is for multiclass, and this data is binary; leave it out",
                "training.metrics[3]: rmse is for regression, and this data is binary; leave it out",
            ],
        ),
        (
            {
                "data": ordered,
                "training": {
                    "metrics": ["quadratic_kappa", {"type": "cohen_kappa", "weights": "linear", "order": ["lo"]}]
                },
            },
            [
                "training.metrics[0].order: expected the classes from the lowest to the highest, because words",
                "training.metrics[1].order: expected the classes high, low and mid, got 'lo' (did you mean 'low'?)",
            ],
        ),
    ):
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(tiny_config(**more)))
        with pytest.raises(ConfigError) as caught:
            create_trainer(config=tiny_config(**more)).train()
        assert len(caught.value.problems) == len(said)
        for command in ("train", "plan"):
            assert main([command, str(file)]) == 2
            told = capsys.readouterr()
            for words in said:
                assert (told.out + told.err).count(words) == 1
                assert words in str(caught.value)
            assert (told.out + told.err).count(f"{file}:") == len(said)


def test_a_metric_that_decides_otherwise_says_so(tiny_config: Any) -> None:
    told = Messages()
    metrics = [{"type": "accuracy", "threshold": 0.3}, "mcc"]
    result = create_trainer(config=tiny_config(training={"metrics": metrics}), plugins=[told]).train()
    chances, labels = result.predictions["validation"].values[:, 1], result.predictions["validation"].labels
    assert result.metrics["eval_accuracy"] == pytest.approx(((chances >= np.float32(0.3)) == labels).mean())
    assert (
        "accuracy decides at a threshold of its own, and tables and written predictions at 0.5; data.threshold is "
        "that of all of them"
    ) in told.texts


# Tables ---------------------------------------------------------------------------------------------------------------


def test_folds_have_their_tables_and_so_has_the_whole(tiny_config: Any, review_files: Any, tmp_path: Path) -> None:
    told = Messages()
    rows = pd.read_csv(review_files["train"])
    rows["label"] = rows.label.map({0: "=bad", 1: "good"})
    rows["w"] = np.arange(len(rows)) % 3 + 0.5
    rows.to_csv(review_files["train"], index=False)
    data = {"validation": None, "weight": "w"}
    tree = tiny_config(data=data, plugins={"cross_validation": {"folds": 2}}, training={"num_epochs": 1})
    result = create_trainer(config=tree, plugins=[told]).train()
    whole = pd.read_csv(tmp_path / "run" / "confusion_matrix.csv", index_col=0)
    parts = [pd.read_csv(tmp_path / "run" / "fits" / f"fold-{k}" / "confusion_matrix.csv", index_col=0) for k in (1, 2)]
    assert whole.index.tolist() == whole.columns.tolist() == ["=bad", "good"]
    np.testing.assert_allclose(whole.to_numpy(), sum(part.to_numpy() for part in parts))
    assert whole.to_numpy().sum() == pytest.approx(rows.w.sum())
    each = pd.read_csv(tmp_path / "run" / "per_class.csv", index_col=0)
    assert each.support.to_dict() == pytest.approx(rows.groupby("label").w.sum().to_dict())
    said = result.predictions["validation"]
    assert said.labels is not None and said.weights is not None
    recall = np.average(said.values.argmax(1)[said.labels == 1] == 1, weights=said.weights[said.labels == 1])
    assert each.recall["good"] == pytest.approx(recall)
    assert told.artifacts.count("per_class.csv") == 3
    assert [text for text in told.texts if "a spreadsheet" in text and "per_class.csv" in text], told.texts


def test_tables_are_reached_from_a_result_also_of_a_resumed_run(tiny_config: Any, tmp_path: Path) -> None:
    tree = tiny_config(plugins={"cross_validation": {"folds": 2}}, data={"validation": None})
    for result in (
        create_trainer(config=tree, num_epochs=1).train(),
        create_trainer(config=tree, num_epochs=1).train(resume=True),
    ):
        assert {"confusion_matrix", "per_class", "out_of_fold"} <= set(result.tables)
        assert result.tables["confusion_matrix"].columns.tolist() == ["true", "0", "1"]
        whole = result.tables["confusion_matrix"][["0", "1"]].to_numpy()
        parts = [part.tables["confusion_matrix"][["0", "1"]].to_numpy() for part in result.parts]
        assert whole.tolist() == (parts[0] + parts[1]).tolist()
        assert whole.trace() / whole.sum() == pytest.approx(result.metrics["oof_accuracy"])
    one = create_trainer(
        config=tiny_config(training={"num_epochs": 1}, environment={"output_dir": str(tmp_path / "one")})
    ).train()
    f1 = one.tables["per_class"].set_index("class").f1
    assert f1[1] == pytest.approx(one.metrics["eval_f1"])
    with pytest.raises(KeyError, match=r"there is no table 'per_clas' \(did you mean 'per_class'\?\)"):
        _ = one.tables["per_clas"]


def test_what_is_written_down_of_a_configuration_loads_again_with_the_same_names() -> None:
    metrics = ["accuracy", {"type": "f1", "average": "micro", "name": "micro"}, {"type": "f1", "name": "own"}]
    first = load_config({"training": {"metrics": metrics}, "data": {"threshold": {"toxic": 0.3}}})
    again = load_config(first.resolved())
    assert [each.called or each.name for each in again.training.metrics or ()] == ["accuracy", "micro", "own"]
    assert again.digest() == first.digest()
    assert again.data.settings.threshold == {"toxic": 0.3}
    renamed = [metrics[0], {**dict(metrics[1]), "name": "other"}, metrics[2]]  # type: ignore[arg-type]  # a mapping
    assert (
        load_config({"training": {"metrics": renamed}}).digest()
        != load_config({"training": {"metrics": metrics}}).digest()
    )


def test_a_threshold_said_at_opening_decides_there(tiny_config: Any, review_files: dict[str, Path]) -> None:
    """The one of the training came back with the labels, over what was said."""
    trainer = create_trainer(config=tiny_config(data={"threshold": 0.4}, training={"num_epochs": 1}))
    result, dev = trainer.train(), review_files["dev"]
    labels, said = pd.read_csv(dev)["label"].to_numpy(), trainer.predict(str(dev))[:, 1]
    halfway = float(np.median(said))
    for given, threshold in (({}, 0.4), ({"threshold": halfway}, halfway), ({"data__threshold": None}, 0.5)):
        found = open_trainer(result.directory, **given).evaluate(str(dev))
        assert found["eval_accuracy"] == pytest.approx(((said >= threshold) == labels).mean()), given
    with pytest.raises(DataError, match=r"^data\.threshold: expected one number for two classes"):
        open_trainer(result.directory, threshold={"maybe": 0.3})


@pytest.mark.parametrize(("setting", "was", "now"), [("target", "none", "log1p"), ("task", "binary", "multiclass")])
def test_what_a_model_was_trained_for_cannot_be_said_otherwise_at_opening(
    setting: str, was: str, now: str, tiny_config: Any
) -> None:
    result = create_trainer(config=tiny_config(training={"num_epochs": 1})).train()
    assert open_trainer(result.directory, **{setting: was}).config.data is not None
    with pytest.raises(ConfigError, match=f"data.{setting}: expected '{was}', which the model was .*, got '{now}'"):
        open_trainer(result.directory, **{setting: now})
