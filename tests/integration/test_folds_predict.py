"""After a cross-validation: predictions are those of all folds and say so, and each fold is a trainer of its own."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from stepbus import BadInput, Trainer, create_trainer, hookimpl, open_trainer, write_predictions
from stepbus.base import PluginFailure
from stepbus.cli.main import main
from stepbus.storage.digests import sealed, unsealed
from stepbus.storage.durable import write_json_atomically
from stepbus.storage.exports import check_export
from stepbus.text.rows import table

Make = Callable[..., dict[str, Any]]
SAID = "predictions are those of 3 fits, put together by cross_validation: fold-1, fold-2, fold-3"
TASKS: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    "binary": ({"label": "label"}, {"label": ["no", "yes", "yes"]}),
    "multiclass": ({"label": "label"}, {"label": ["no", "yes", "maybe"]}),
    "multilabel": ({"label": ["funny", "sad"]}, {"funny": [0, 1, 1], "sad": [1, 1, 0]}),
    "regression": ({"label": "stars", "task": "regression"}, {"stars": [1.5, 3.0, 4.5]}),
}


def rows(task: str) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"key": [f"k{row}" for row in range(24)], "text": ["a good film", "the plot was dull", "fine"] * 8}
    )
    for name, values in TASKS[task][1].items():
        frame[name] = values * 8
    return frame


def folds(tiny_config: Make, task: str = "binary", *plugins: Any, **settings: Any) -> Trainer:
    tree = tiny_config(plugins={"progress": False, "cross_validation": {"folds": 3}}, training={"num_epochs": 1})
    tree["data"] = {"batch_size": 4, "max_length": 16, "id": "key", **TASKS[task][0]}
    return create_trainer(config=tree, plugins=plugins, **settings)


@pytest.mark.parametrize("task", TASKS)
def test_predictions_are_the_mean_of_the_folds(
    task: str, tiny_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = rows(task)
    test = frame.sample(frac=1.0, random_state=1).reset_index(drop=True)
    trainer = folds(tiny_config, task)
    result = trainer.train(frame)
    assert trainer.model is None
    each = [fit.predict(test) for fit in trainer.fits]
    raw = [fit.predict(test, return_logits=True) for fit in trainer.fits]
    assert not np.array_equal(each[0], each[1])
    caplog.clear()
    with caplog.at_level(logging.WARNING, "stepbus"):
        mean = trainer.predict(test)
    assert [record.getMessage() for record in caplog.records] == [SAID]
    np.testing.assert_allclose(mean, np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_allclose(trainer.predict(test, return_logits=True), np.mean(raw, axis=0), rtol=1e-5, atol=1e-6)
    unit = [text for text in caplog.messages if text.startswith("raw outputs count in the deviations")]
    assert bool(unit) == (task == "regression")

    caplog.clear()
    metrics = trainer.evaluate(test)
    assert SAID in caplog.messages
    losses = [fit.evaluate(test)["eval_loss"] for fit in trainer.fits]
    assert "eval_loss" not in metrics, "what they say together has none of its own"
    assert metrics["eval_loss_mean_of_fits"] == pytest.approx(np.mean(losses))
    if task == "regression":
        assert metrics["eval_mae"] == pytest.approx(np.abs(mean - test["stars"]).mean())
    if task == "multiclass":
        names = sorted(set(test["label"]))
        found = [names[place] for place in mean.argmax(axis=1)]
        assert metrics["eval_accuracy"] == pytest.approx(np.mean(found == test["label"]))

    # The folder of the run gives the same, in Python and on the command line.
    opened = open_trainer(result.directory)
    np.testing.assert_array_equal(opened.predict(test), mean)
    assert opened.evaluate(test) == metrics
    assert [fit.predict(test).tolist() for fit in opened.fits] == [values.tolist() for values in each]
    test.to_csv(tmp_path / "test.csv", index=False)
    assert main(["evaluate", str(result.directory), str(tmp_path / "test.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pytest.approx(metrics)
    caplog.clear()
    assert (
        main(["predict", str(result.directory), str(tmp_path / "test.csv"), "--output", str(tmp_path / "c.csv")]) == 0
    )
    assert SAID in caplog.messages
    write_predictions(trainer, test, tmp_path / "python.csv")
    assert (tmp_path / "c.csv").read_text() == (tmp_path / "python.csv").read_text()
    # As one model writes them: its ids and columns.
    write_predictions(trainer.fits[0], test, tmp_path / "one.csv")
    written, one = pd.read_csv(tmp_path / "c.csv"), pd.read_csv(tmp_path / "one.csv")
    assert written["key"].tolist() == test["key"].tolist()
    assert list(written) == list(one)
    numbers = written[[name for name in written if name.startswith("probability") or task == "regression"]]
    numbers = numbers.drop(columns="key", errors="ignore").to_numpy()
    np.testing.assert_allclose(numbers.reshape(mean.shape), mean, rtol=1e-6)


def test_each_fold_is_a_trainer(tiny_config: Make, review_files: dict[str, Path]) -> None:
    trainer = folds(tiny_config)
    assert list(trainer.fits) == []
    result = trainer.train(rows("binary"))
    fits = trainer.fits
    assert len(fits) == 3
    assert all(isinstance(fit, Trainer) for fit in fits)
    frame = rows("binary")
    each = [fit.predict(frame) for fit in fits]
    np.testing.assert_array_equal(fits[-1].predict(frame), each[2])
    assert [fit.predict(frame).tolist() for fit in fits[1:]] == [values.tolist() for values in each[1:]]
    assert fits[3:] == []
    with pytest.raises(IndexError):
        fits[3]
    # Each predicts its own held-out rows as it did at the end of its fit.
    held = pd.read_csv(result.directory / "out_of_fold.csv").set_index("key").loc[frame["key"]]
    for fold, values in enumerate(each, 1):
        mine = (held["fold"] == fold).to_numpy()
        assert mine.sum() == 8
        np.testing.assert_allclose(values[mine, 1], held["probability_yes"][mine], rtol=1e-5)


def test_a_mean_is_not_trained(tiny_config: Make) -> None:
    result = folds(tiny_config).train(rows("binary"))
    opened = open_trainer(result.directory)
    with pytest.raises(
        BadInput, match=r"^this trainer is the mean of 3 fits, which cannot be trained as one; go on with"
    ):
        opened.train(rows("binary"))
    with pytest.raises(BadInput, match="there is no training state to save: each fit of the run has a model"):
        opened.save_checkpoint()
    one = opened.fits[1]
    before = {name: np.array(array) for name, array in one.model.tensors().items()}
    one.update_config(output_dir=str(result.directory.with_name("on")), num_epochs=1, batch_size=4)
    one.train(rows("binary"))
    assert any(not np.array_equal(before[name], np.array(array)) for name, array in one.model.tensors().items())


def test_stages_around_a_cross_validation(tiny_config: Make, review_files: dict[str, Path]) -> None:
    frame = rows("binary")
    trainer = folds(tiny_config)
    trainer.update_config(cross_validation=False)
    trainer.train(frame)
    alone = trainer.predict(frame)
    kept = {name: np.array(array) for name, array in trainer.model.tensors().items()}
    trainer.update_config(cross_validation={"folds": 3})
    trainer.train(frame)
    # The folds started from the present weights, and left them as they were.
    for name, array in trainer.model.tensors().items():
        np.testing.assert_array_equal(np.array(array), kept[name])
    assert not np.array_equal(trainer.predict(frame), alone)
    assert len(trainer.fits) == 3
    trainer.update_config(cross_validation=False)
    result = trainer.train(frame)
    assert (len(trainer.fits), result.directory.name) == (1, "run-3")
    assert trainer.fits[0] is trainer


class FailsIn:
    """Fail in a fold, once."""

    scope = "run"

    def __init__(self, fold: str) -> None:
        self.fold: str | None = fold

    @hookimpl
    def on_step_end(self, trainer: Any) -> None:
        if trainer.fit_name == self.fold:
            self.fold = None
            raise RuntimeError("broken")


def test_a_run_that_is_not_finished_has_no_mean(
    tiny_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = rows("binary")
    frame.to_csv(tmp_path / "test.csv", index=False)
    trainer = folds(tiny_config, "binary", FailsIn("fold-3"))
    with pytest.raises(PluginFailure):
        trainer.train(frame)
    words = "3 fits, and no model of fold-3 yet"
    for call in (trainer.predict, trainer.evaluate):
        with pytest.raises(BadInput, match=words):
            call(frame)
    assert len(trainer.fits) == 2
    assert trainer.fits[0].predict(frame).shape == (24, 2)
    with pytest.raises(BadInput, match=words):
        open_trainer(tmp_path / "run")
    for command in ("predict", "evaluate"):
        assert main([command, str(tmp_path / "run"), str(tmp_path / "test.csv")]) == 2
        assert words in capsys.readouterr().err
    trainer.train(frame, resume=True)
    assert trainer.predict(frame).shape == (24, 2)
    assert len(trainer.fits) == 3
    # A finished one, resumed by somebody else.
    other = folds(tiny_config, "binary", FailsIn("none"))
    other.train(frame, resume=True)
    np.testing.assert_array_equal(other.predict(frame), trainer.predict(frame))


@pytest.mark.parametrize("damage", ["a bit", "no model", "no fold"])
def test_a_damaged_fold_is_named(
    damage: str, tiny_config: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = rows("binary")
    frame.to_csv(tmp_path / "test.csv", index=False)
    trainer = folds(tiny_config)
    run = trainer.train(frame).directory
    model = run / "fits" / "fold-2" / "model"
    if damage == "a bit":
        content = bytearray((model / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (model / "model.safetensors").write_bytes(content)
    else:
        shutil.rmtree(model if damage == "no model" else model.parent)
    for call in (trainer.predict, trainer.evaluate, lambda rows: open_trainer(run).predict(rows)):
        with pytest.raises(BadInput, match="fold-2"):
            call(frame)
    output = tmp_path / "out.csv"
    output.write_text("mine")
    assert main(["predict", str(run), str(tmp_path / "test.csv"), "--output", str(output)]) == 2
    said = capsys.readouterr().err
    assert "fold-2" in said
    assert "Traceback" not in said
    assert output.read_text() == "mine"
    assert open_trainer(run / "fits" / "fold-1").predict(frame).shape == (24, 2)


def test_a_model_that_another_fold_wrote_has_no_part(tiny_config: Make) -> None:
    frame = rows("binary")
    run = folds(tiny_config).train(frame).directory
    one, other = (run / "fits" / name / "model" for name in ("fold-1", "fold-3"))
    shutil.rmtree(other)
    shutil.copytree(one, other)
    with pytest.raises(BadInput, match=r"fold-3/model: expected the model that fold-3 of .* wrote, got another one"):
        open_trainer(run)
    assert open_trainer(other).predict(frame).shape == (24, 2)


def test_the_plan_of_the_run_says_which_models_are_its(tiny_config: Make) -> None:
    frame = rows("binary")
    tree = tiny_config(training={"num_epochs": 1})
    tree["data"] = {"batch_size": 4, "max_length": 16, "id": "key", "label": "label"}
    run = create_trainer(config=tree).train(frame).directory
    alone = open_trainer(run).predict(frame)
    folded = folds(tiny_config)
    folded.train(frame, resume=True, allow_changed=True)
    np.testing.assert_array_equal(open_trainer(run).predict(frame), folded.predict(frame))
    assert not np.array_equal(open_trainer(run).predict(frame), alone)
    assert np.array_equal(open_trainer(run / "model").predict(frame), alone)


def test_a_run_without_a_model_says_how_to_get_one(tiny_config: Make) -> None:
    frame = rows("binary")
    run = folds(tiny_config).train(frame).directory
    shutil.rmtree(run / "fits")
    (run / "fits").mkdir()
    with pytest.raises(BadInput, match="no model of fold-1, fold-2, fold-3 yet; go on with `stepbus train"):
        open_trainer(run)
    (run / "run.json").unlink()
    with pytest.raises(BadInput, match=r"found no stepbus\.json in it; of a run, run\.json is missing"):
        open_trainer(run)


def test_folds_that_mean_different_things_have_no_mean(tiny_config: Make) -> None:
    frame = rows("multiclass")
    first = folds(tiny_config).train(rows("binary")).directory
    second = folds(tiny_config, "multiclass").train(frame).directory
    shutil.rmtree(first / "fits" / "fold-2" / "model")
    shutil.copytree(second / "fits" / "fold-2" / "model", first / "fits" / "fold-2" / "model")
    # An entry and a description that vouch for it, as those of a plugin's own folds might.
    entry = first / "fits" / "fold-2" / "result.json"
    saved, said = unsealed(entry.read_bytes()), unsealed((first / "predict.json").read_bytes())
    saved["model"]["digest"] = said["fits"][1]["model"] = check_export(first / "fits" / "fold-2" / "model")[1]
    write_json_atomically(entry, sealed(saved))
    write_json_atomically(first / "predict.json", sealed(said))
    with pytest.raises(
        BadInput,
        match=r"outputs of fold-1 stand for no, yes, and those of fold-2 for maybe, no, yes, so they say nothing",
    ):
        open_trainer(first).predict(frame)


def test_code_of_ones_own_predicts_after_its_run(tiny_config: Make, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        '''
from stepbus import Component
from stepbus_plugins.text_data import TextData

part = next(each for each in TextData.components if each.kind == "data")

class Own:
    """Offer rows."""
    components = [Component("data", "own", part.config, part.build)]
'''
    )
    tree = tiny_config(training={"max_steps": 1})
    tree["plugins"] = {"progress": False, "cross_validation": {"folds": 2}, "own": {"use": "./own.py:Own"}}
    tree["data"] = {"type": "own", "text": "text", "label": "label", "batch_size": 4, "max_length": 16}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    trainer = create_trainer(config=tmp_path / "run.yaml")
    trainer.train(rows("binary").drop(columns="key"))
    assert trainer.predict(rows("binary")).shape == (24, 2)
    resumed = create_trainer(config=tmp_path / "run.yaml")
    resumed.train(rows("binary").drop(columns="key"), resume=True)
    np.testing.assert_array_equal(resumed.predict(rows("binary")), trainer.predict(rows("binary")))


def test_a_file_is_read_once_for_all_folds(tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(label: str, *settings: Any) -> Any:
        read.append(label)
        return original(label, *settings)

    read: list[str] = []
    original = table.read_table
    trainer = folds(tiny_config)
    trainer.train(rows("binary"))
    rows("binary").to_csv(tmp_path / "test.csv", index=False)
    monkeypatch.setattr(table, "read_table", counting)
    for call in (trainer.predict, trainer.evaluate):
        read.clear()
        call(tmp_path / "test.csv")
        assert read == [str(tmp_path / "test.csv")]
