"""Hooks that take part whenever a model predicts: rows prepared, views combined; in the run, opened, on the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from attrs import evolve

from stepbus import ModelError, PluginFailure, Rows, create_trainer, hookimpl, import_module, open_run, open_trainer
from stepbus.cli.main import main
from stepbus.plan.planning import describe_plan
from stepbus.testing import Recorder, play

Make = Callable[..., dict[str, Any]]
fakes = import_module(str(Path(__file__).parents[1] / "fixtures" / "distributions.py"))
PLUGINS = Path(__file__).parents[1] / "fixtures" / "prediction_plugins.py"
LONG = {"long_or_short": {"use": f"{PLUGINS}:LongOrShort"}}
VIEWS = {"backwards": {"use": f"{PLUGINS}:Backwards", "shorter": 6}}


@pytest.fixture
def test_file(tmp_path: Path) -> str:
    file = tmp_path / "test.csv"
    lines = [f"a film {'and very ' * (row % 5)}{'good' if row % 2 else 'dull'}" for row in range(11)]
    file.write_text("\n".join(["text", *lines]) + "\n")
    return str(file)


def tree_of(tiny_config: Make, test: str, folds: int, plugins: Mapping[str, Any], **sections: Any) -> dict[str, Any]:
    tree = tiny_config(data={"test": test}, training={"num_epochs": 1}, **sections)
    tree["plugins"] |= plugins
    if folds:
        tree["data"]["validation"] = None
        tree["plugins"]["cross_validation"] = {"folds": folds}
    return tree


@pytest.mark.parametrize("folds", [0, 2])
@pytest.mark.parametrize("plugins", [LONG, VIEWS, {**LONG, **VIEWS}], ids=["prepared", "views", "both"])
def test_what_takes_part_does_so_wherever_the_model_predicts(
    plugins: Mapping[str, Any], folds: int, tiny_config: Make, test_file: str, tmp_path: Path
) -> None:
    trainer = create_trainer(config=tree_of(tiny_config, test_file, folds, plugins))
    result = trainer.train()
    values, run = result.predictions["test"].values, result.directory
    assert trainer.predict(test_file).tobytes() == values.tobytes()
    with pytest.raises(ModelError, match=r"imports .*prediction_plugins.py and makes its"):
        open_trainer(run)
    assert open_run(run, trust=True).predict(test_file).tobytes() == values.tobytes()
    assert main(["predict", str(run), test_file, "--trust", "--output", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_bytes() == (run / "test_predictions.csv").read_bytes()
    if not folds:
        scored = open_run(run, trust=True).evaluate(trainer.config.data.settings.validation)
        known = {
            name: value for name, value in result.metrics.items() if name.startswith("eval_") and "plain" not in name
        }
        assert scored == pytest.approx(known)


def test_rows_are_prepared_before_they_are_tokens(tiny_config: Make, test_file: str) -> None:
    tree = tree_of(tiny_config, test_file, 0, LONG)
    prepared = create_trainer(config=tree).train()
    # By other means: the same words written into the files.
    frames = {name: pd.read_csv(tree["data"][name]) for name in ("train", "validation", "test")}
    median = np.median([len(text) for text in frames["train"]["text"]])
    for frame in frames.values():
        frame["text"] = [f"{'very' if len(text) > median else 'plot'} {text}" for text in frame["text"]]
    plain = tree_of(tiny_config, test_file, 0, {})
    del plain["data"]["test"]
    written = create_trainer(config=plain).train(frames["train"], frames["validation"], test=frames["test"])
    assert written.metrics == prepared.metrics
    assert written.predictions["test"].values.tobytes() == prepared.predictions["test"].values.tobytes()
    assert describe_plan(tree)["problems"] == []


def test_views_are_combined_at_the_end_and_both_scores_are_kept(tiny_config: Make, test_file: str) -> None:
    recorder = Recorder()
    tree = tree_of(tiny_config, test_file, 0, VIEWS)
    tree["training"]["num_epochs"] = 2
    trainer = create_trainer(config=tree, plugins=[recorder])
    result = trainer.train()
    plain = create_trainer(config=tree_of(tiny_config, test_file, 0, {}) | {"training": tree["training"]})
    alone = plain.train()
    assert {name: value for name, value in result.history[-1].items() if "samples" not in name} == alone.history[-1]
    for name in ("accuracy", "auc_roc"):
        assert result.metrics[f"eval_plain_{name}"] == alone.metrics[f"eval_{name}"]
    assert result.metrics["eval_loss"] == alone.metrics["eval_loss"]
    # By other means: each view predicted by the plain model, and merged by hand.
    frame = pd.read_csv(test_file)
    words = [text.split() for text in frame["text"]]
    halves = [(each[: (len(each) + 1) // 2], each[(len(each) + 1) // 2 :]) for each in words]
    said = [
        plain.predict(frame),
        plain.predict(frame.assign(text=[" ".join(reversed(each)) for each in words])),
        np.mean([plain.predict(frame.assign(text=[" ".join(h[side]) or "the" for h in halves])) for side in (0, 1)], 0),
        plain.predict(frame.assign(text=[" ".join(each[:4]) for each in words])),
    ]
    np.testing.assert_allclose(result.predictions["test"].values, np.mean(said, axis=0), rtol=1e-4, atol=1e-6)
    # Never during training: asked once for each set.
    assert len(recorder.of("prediction_views")) == 2
    final = [each for each in recorder.of("on_predictions") if each["final"]]
    assert [each["name"] for each in final] == ["validation", "test"]


def test_labels_are_seen_of_training_rows_only(tiny_config: Make, test_file: str) -> None:
    class Looks:
        """Writes down the columns that it sees."""

        scope = "run"

        def __init__(self) -> None:
            self.seen: dict[str, list[str]] = {}
            self.whole: dict[str, Any] = {}

        @hookimpl
        def prepare_data(self, sets: Mapping[str, Rows]) -> None:
            for name, rows in sets.items():
                self.seen.setdefault(name, list(rows.frame.columns))
                self.whole.setdefault(name, rows.whole)

    looks = Looks()
    tree = tree_of(tiny_config, test_file, 2, {})
    tree["data"]["test"] = tree["data"]["train"]
    trainer = create_trainer(config=tree, plugins=[looks])
    trainer.train()
    assert looks.seen == {"train": ["text", "label"], "validation": ["text"], "test": ["text"]}
    assert looks.whole["validation"] is None and looks.whole["test"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda sets: {"train": sets["train"]}, "expected the sets train, validation, test, got train"),
        (lambda sets: {**sets, "test": sets["test"].take([0])}, "set 'test': expected the same 11 ids"),
        (lambda sets: {**sets, "test": sets["test"].frame}, "set 'test': expected .*Rows.*, got"),
        (lambda sets: {**sets, "train": sets["train"].take([])}, "set 'train': expected at least one row, got none"),
        (
            lambda sets: {**sets, "test": evolve(sets["test"], frame=sets["test"].frame.assign(label=1))},
            "set 'test': expected no labels, got a column 'label'",
        ),
        (lambda sets: [1], "expected a mapping from set names to rows"),
    ],
    ids=["sets", "ids", "frame", "none", "labels", "list"],
)
def test_other_rows_are_refused_by_the_name_of_the_plugin(
    change: Callable[[Any], Any], words: str, tiny_config: Make, test_file: str, tmp_path: Path
) -> None:
    class Changes:
        @hookimpl
        def prepare_data(self, sets: Mapping[str, Rows]) -> Any:
            return change(sets)

    with pytest.raises(PluginFailure, match=rf"(?i)changes.*{words}"):
        create_trainer(config=tree_of(tiny_config, test_file, 0, {}), plugins=[Changes()]).train()
    assert not (tmp_path / "run" / "fits").exists()


@pytest.mark.parametrize(
    ("views", "combines", "words"),
    [
        (lambda rows: [("plain", rows)], True, "none of them 'plain', got 'plain' twice"),
        (lambda rows: [("a", rows), ("a", rows)], True, "got 'a' twice"),
        (lambda rows: [("a", rows.take([0, 1]))], True, r"view 'a': expected rows of each of the \d+ ids"),
        (lambda rows: [("a",)], True, r"expected a list of \(name, rows\)"),
        (lambda rows: [("a", rows)], False, "gives views of rows, and no plugin combines"),
    ],
    ids=["plain", "twice", "ids", "no rows", "nobody"],
)
def test_bad_views_are_refused_by_the_name_of_the_plugin(
    views: Callable[[Any], Any], combines: bool, words: str, tiny_config: Make, test_file: str
) -> None:
    class Sees:
        @hookimpl
        def prediction_views(self, rows: Rows) -> Any:
            return views(rows)

    class Combines:
        @hookimpl
        def combine_views(self, predictions: Mapping[str, Any]) -> Any:
            return predictions["plain"]

    plugins = [Sees(), *([Combines()] if combines else [])]
    tree = tree_of(tiny_config, test_file, 0, {})
    tree["training"]["max_steps"] = 1
    with pytest.raises(PluginFailure, match=rf"(?i)sees.*{words}"):
        create_trainer(config=tree, plugins=plugins).train()


def test_a_checkpoint_predicts_with_them(tiny_config: Make, test_file: str) -> None:
    result = create_trainer(config=tree_of(tiny_config, test_file, 0, LONG)).train()
    [*_, last] = sorted((result.directory / "fits" / "fit" / "checkpoints").glob("step-*"))
    said = open_trainer(last, trust=True).predict(test_file)
    assert said.tobytes() == result.predictions["test"].values.tobytes()


def test_an_installed_plugin_takes_part_without_trust(tiny_config: Make, test_file: str, tmp_path: Path) -> None:
    offered = {"long_or_short": "LongOrShort", "members_by_accuracy": "MembersByAccuracy"}
    fakes.install(tmp_path, "taking-part", PLUGINS.read_text(), offered)
    tree = tree_of(tiny_config, test_file, 0, {name: {} for name in offered})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    run = tmp_path / "run"
    trained = fakes.stepbus("train", "run.yaml", paths=(tmp_path,), folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    predicted = fakes.stepbus("predict", str(run), test_file, "--output", "out.csv", paths=(tmp_path,), folder=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    assert (tmp_path / "out.csv").read_bytes() == (run / "test_predictions.csv").read_bytes()
    # Where the package is not installed, the sentence names what is missing, and nothing is predicted without it.
    for folder in (run, run / "fits" / "fit-1" / "model"):
        missing = fakes.stepbus("predict", str(folder), test_file, "--output", "none.csv", folder=tmp_path)
        assert missing.returncode == 2
        assert "expected an installed plugin" in missing.stderr and "Traceback" not in missing.stderr
    assert not (tmp_path / "none.csv").exists()


def test_the_kit_drives_them() -> None:
    class Takes:
        """Takes part in everything, and remembers what it saw."""

        def __init__(self) -> None:
            self.sets: list[str] = []
            self.views: list[str] = []

        @hookimpl
        def prepare_data(self, sets: Mapping[str, Any]) -> Mapping[str, Any]:
            self.sets = list(sets)
            return sets

        @hookimpl
        def prediction_views(self, rows: Any) -> Any:
            return [("again", rows)]

        @hookimpl
        def combine_views(self, predictions: Mapping[str, Any]) -> Any:
            self.views = list(predictions)
            return predictions["plain"]

    takes = Takes()
    played = play(takes, metrics=[{"eval_loss": 0.5, "eval_accuracy": 0.5}])
    assert (takes.sets, takes.views) == (["train", "validation"], ["plain", "again"])
    assert played.result is not None
    assert played.result.metrics["eval_plain_accuracy"] == 0.5
    assert [name for name in played.names if "view" in name] == ["prediction_views", "combine_views"]
