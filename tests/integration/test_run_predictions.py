"""What a run says of rows without labels: the same in the run, opened in Python, and on the command line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from attrs import evolve

from stepbus import (
    BadInput,
    ConfigError,
    ModelError,
    PluginFailure,
    Predictions,
    create_trainer,
    hookimpl,
    open_run,
    open_trainer,
    write_predictions,
)
from stepbus.cli.main import main
from stepbus.storage.digests import sealed
from stepbus.storage.durable import write_json_atomically

Make = Callable[..., dict[str, Any]]
PLUGINS = Path(__file__).parents[1] / "fixtures" / "prediction_plugins.py"
TASKS: dict[str, dict[str, Any]] = {
    "binary": {"label": "label"},
    "bfloat16": {"label": "label", "precision": "bfloat16"},
    "small batches": {"label": "label", "eval_batch_size": 7},
    "multiclass": {"label": "mood"},
    "multilabel": {"label": ["funny", "sad"]},
    "regression": {"label": "stars"},
    "log target": {"label": "stars", "target": "log1p"},
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """rows.csv of 24 rows with labels of each kind, test.csv of 13 without, in no order of length."""
    draw = np.random.default_rng(0)
    words = ["a good film", "the plot was dull", "fine", "the cast and the plot and the end", "very very awful"]
    rows = pd.DataFrame({"key": [f"k{row}" for row in range(24)], "text": [words[row % 5] for row in range(24)]})
    rows["label"] = draw.permutation([0, 1] * 12)
    rows["mood"] = draw.permutation(["glad", "sad", "calm"] * 8)
    rows["funny"], rows["sad"] = draw.permutation([0, 1] * 12), draw.permutation([1, 0] * 12)
    rows["stars"] = draw.uniform(1, 90, 24).round(2)
    test = pd.DataFrame({"key": [f"t{row}" for row in range(13)], "text": [words[(3 * row) % 5] for row in range(13)]})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    test.to_csv(tmp_path / "test.csv", index=False)
    return {"train": str(tmp_path / "rows.csv"), "test": str(tmp_path / "test.csv")}


def tree_of(tiny_config: Make, files: dict[str, str], folds: int, plugins: Any = None, **data: Any) -> dict[str, Any]:
    """Return a configuration of one fit, or of folds, that predicts the test rows."""
    precision = {"precision": data.pop("precision")} if "precision" in data else {}
    tree = tiny_config(training={"num_epochs": 1, **precision})
    tree["data"] = {
        **files,
        "label": "label",
        "id": "key",
        "batch_size": 4,
        "max_length": 16,
        "validation": 0.25,
        **data,
    }
    if folds:
        del tree["data"]["validation"]
        tree["plugins"]["cross_validation"] = {"folds": folds, "strategy": "kfold"}
    tree["plugins"] |= plugins or {}
    return tree


@pytest.mark.parametrize("folds", [0, 3])
@pytest.mark.parametrize("task", TASKS)
def test_all_ways_to_predict_give_the_same_bytes(
    task: str, folds: int, tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    trainer = create_trainer(config=tree_of(tiny_config, files, folds, **TASKS[task]))
    result = trainer.train()
    said = result.predictions["test"]
    assert said.labels is None
    assert said.row_ids.tolist() == [f"t{row}" for row in range(13)]
    values = said.values.tobytes()
    run = result.directory
    if folds:
        each = [fit.predict(files["test"]) for fit in trainer.fits]
        mean = np.mean(np.array(each, np.float64), axis=0).astype(each[0].dtype)
        np.testing.assert_allclose(said.values, mean, rtol=1e-6)
        assert not np.array_equal(each[0], each[1])
    assert trainer.predict(files["test"]).tobytes() == values
    assert trainer.predict(pd.read_csv(files["test"])).tobytes() == values
    assert open_run(run).predict(files["test"]).tobytes() == values
    assert open_trainer(run).predict(files["test"]).tobytes() == values
    written = (run / "test_predictions.csv").read_bytes()
    write_predictions(trainer, files["test"], tmp_path / "python.csv")
    assert main(["predict", str(run), files["test"], "--output", str(tmp_path / "named.csv")]) == 0
    assert main(["predict", str(run), "--output", str(tmp_path / "kept.csv")]) == 0
    assert {(tmp_path / name).read_bytes() for name in ("python.csv", "named.csv", "kept.csv")} == {written}
    frame = pd.read_csv(run / "test_predictions.csv")
    assert frame["key"].tolist() == said.row_ids.tolist()
    if said.values.ndim == 1:
        np.testing.assert_array_equal(frame["stars"], said.values)


def test_a_resume_of_a_finished_run_says_the_same(tiny_config: Make, files: dict[str, str]) -> None:
    tree = tree_of(tiny_config, files, 3)
    first = create_trainer(config=tree).train()
    before = {name: (first.directory / name).read_bytes() for name in ("predict.json", "predict.npz")}
    again = create_trainer(config=tree).train(resume=True)
    assert again.predictions["test"].values.tobytes() == first.predictions["test"].values.tobytes()
    assert {name: (first.directory / name).read_bytes() for name in before} == before


def test_rows_of_another_model_by_now_are_predicted_anew(
    tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, files, 0)
    first = create_trainer(config=tree).train()
    kept = (first.directory / "predict.json").read_bytes()
    tree["training"]["num_epochs"] = 2
    second = create_trainer(config=tree).train(resume=True, allow_changed=True)
    assert second.predictions["test"].values.tobytes() != first.predictions["test"].values.tobytes()
    fresh = (first.directory / "test_predictions.csv").read_bytes()
    # A kill before the run's end leaves what the model of one epoch said.
    (first.directory / "predict.json").write_bytes(kept)
    assert open_run(first.directory).predicted_rows() == (None, files["test"])
    assert main(["predict", str(first.directory), "--output", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_bytes() == fresh


def test_a_project_that_moved_with_its_plugin_says_how_it_predicts_again(
    tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    """The plugin's file is named where it lay; a resume by the configuration that moved along names the new place."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    shutil.copy(PLUGINS, before / "mine.py")
    tree = tree_of(tiny_config, files, 2)

    def train(folder: Path, *, resume: bool = False) -> Path:
        plugins = {**tree["plugins"], "threshold": {"use": f"{folder / 'mine.py'}:Threshold"}}
        moved = {**tree, "plugins": plugins, "environment": {"output_dir": str(folder / "run")}}
        return create_trainer(config=moved).train(resume=resume).directory

    said = open_run(train(before), trust=True).predict(files["test"])
    before.rename(after)
    with pytest.raises(ModelError, match=r"expected the file .*mine\.py") as caught:
        open_run(after / "run", trust=True)
    assert f"`stepbus train … --resume {after / 'run'}` where it lies now" in str(caught.value)
    train(after, resume=True)
    assert open_run(after / "run", trust=True).predict(files["test"]).tobytes() == said.tobytes()


def test_a_description_of_other_models_is_not_taken_for_theirs(
    tiny_config: Make, files: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What plugins learnt and decided goes with the models of then: a kill, or a copy, may leave it beside others."""
    tree = tree_of(tiny_config, files, 2)
    tree["plugins"]["checkpoint"] = {"keep_finished": True}  # the folds train on
    run = create_trainer(config=tree).train().directory
    other = create_trainer(config=tree).train().directory
    kept, foreign = (run / "predict.json").read_bytes(), (other / "predict.json").read_bytes()
    tree["training"]["num_epochs"] = 2
    create_trainer(config=tree).train(resume=run, allow_changed=True)
    fresh = (run / "predict.json").read_bytes()
    command = ["predict", str(run), files["test"], "--output", str(tmp_path / "out.csv")]
    for content, words in ((kept, "that from before fold-1 and fold-2 went on"), (foreign, "that of another run")):
        (run / "predict.json").write_bytes(content)
        assert main(command) == 2
        said = capsys.readouterr().err
        assert f"{run / 'predict.json'}: expected how the models of this run predict together, got {words}" in said
        assert f"`stepbus train … --resume {run}` writes it anew" in said
        assert not (tmp_path / "out.csv").exists()
    create_trainer(config=tree).train(resume=run)  # as the sentence says
    assert (run / "predict.json").read_bytes() == fresh
    assert main(command) == 0
    assert (tmp_path / "out.csv").read_bytes() == (run / "test_predictions.csv").read_bytes()


@pytest.mark.parametrize("given", ["file", "frame"])
def test_loaded_weights_say_something_of_their_own(
    given: str, tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, files, 0, {"checkpoint": {}})
    test = None if given == "file" else pd.read_csv(files["test"])
    trainer = create_trainer(config=tree)
    trainer.train(test=test)
    earlier, now = trainer.predict(files["test"]), tmp_path / "now.csv"
    checkpoint = trainer.save_checkpoint(tmp_path / "kept")
    result = trainer.train(test=test)
    assert not np.array_equal(earlier, result.predictions["test"].values)
    trainer.load_checkpoint(checkpoint)
    if given == "frame":
        with pytest.raises(
            BadInput, match="given in Python and are not kept; its weights are others now, so name a file"
        ):
            write_predictions(trainer, None, now)
        return
    assert write_predictions(trainer, None, now) == 13
    assert np.array_equal(pd.read_csv(now)[["probability_0", "probability_1"]].to_numpy(np.float32), earlier)


@pytest.mark.parametrize("folds", [0, 2])
def test_rows_that_python_gives_are_not_those_of_the_configuration(
    folds: int, tiny_config: Make, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    test = pd.read_csv(files["test"]).iloc[:5]
    result = create_trainer(config=tree_of(tiny_config, files, folds)).train(test=test)
    said, _ = open_run(result.directory).predicted_rows()
    assert said is not None and len(said.row_ids) == 5
    document = json.loads((result.directory / "predict.json").read_bytes())
    assert document["test"] is None
    del document["digest"]
    document["fits"][0]["model"] = "0" * 64  # as if the model were another one by now
    write_json_atomically(result.directory / "predict.json", sealed(document))
    assert main(["predict", str(result.directory), "--output", "-"]) == 2
    # Of folds, what combines them is held against the models first.
    words = "expected how the models of this run predict together" if folds else "were given in Python and are not kept"
    assert words in capsys.readouterr().err


def test_without_rows_of_its_own_a_file_is_asked_for(
    tiny_config: Make, files: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, files, 0)
    del tree["data"]["test"]
    run = create_trainer(config=tree).train().directory
    assert not (run / "test_predictions.csv").exists()
    assert main(["predict", str(run), "--output", str(tmp_path / "out.csv")]) == 2
    assert "expected rows to predict, got none, and this run has none of its own" in capsys.readouterr().err
    assert main(["predict", str(run / "model"), "--output", str(tmp_path / "out.csv")]) == 2
    assert "of a model by itself no such rows are known: name a file" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flipped", "missing", "no JSON", "no fits", "predictions"])
def test_a_damaged_description_is_one_sentence(
    damage: str, tiny_config: Make, files: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, files, 2)
    run = create_trainer(config=tree).train().directory
    place, written = run / "predict.json", (run / "test_predictions.csv").read_bytes()
    if damage == "flipped":
        place.write_text(place.read_text().replace('"fold-1"', '"fold-2"'))
    elif damage == "missing":
        place.unlink()
    elif damage == "no JSON":
        place.write_text("{")
    elif damage == "no fits":
        said = {key: value for key, value in json.loads(place.read_text()).items() if key != "digest"}
        write_json_atomically(place, sealed({**said, "fits": []}))
    else:
        (run / "predict.npz").write_bytes(b"something else")
    assert main(["predict", str(run), "--output", str(tmp_path / "out.csv")]) == 2
    said = capsys.readouterr().err
    assert "predict." in said and f"--resume {run}" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out.csv").exists()
    create_trainer(config=tree).train(resume=True)  # as the sentence says
    assert main(["predict", str(run), "--output", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_bytes() == written


def test_what_plugins_learnt_and_decided_comes_back(tiny_config: Make, files: dict[str, str], tmp_path: Path) -> None:
    plugins = {
        "members_by_accuracy": {"use": f"{PLUGINS}:MembersByAccuracy"},
        "prior_shift": {"use": f"{PLUGINS}:PriorShift", "strength": 2.0},
    }
    trainer = create_trainer(config=tree_of(tiny_config, files, 0, plugins))
    result = trainer.train()
    values, run = result.predictions["test"].values, result.directory
    # By other means: the weights from the members' own metrics, the shares by hand.
    weights = np.array([part.metrics["eval_accuracy"] ** 2 for part in trainer.result.parts])  # type: ignore[union-attr]
    each = np.array([fit.predict(files["test"]) for fit in trainer.fits], np.float64)
    mean = (each * weights[:, None, None]).sum(axis=0) / weights.sum()
    moved = mean * np.array([0.75, 0.25]) ** 2
    np.testing.assert_allclose(values, moved / moved.sum(axis=1, keepdims=True), rtol=1e-5)
    said = json.loads((run / "predict.json").read_text())
    assert list(said["plugins"]) == ["members_by_accuracy", "prior_shift"]
    assert said["decisions"] == {"prior_shift": {"share": 0.75}}
    assert said["axes"] == [{"name": "member", "combined_by": "members_by_accuracy"}]
    assert trainer.predict(files["test"]).tobytes() == values.tobytes()
    # They are the user's own code, so a folder that names them wants trust.
    with pytest.raises(ModelError, match=r"imports .*prediction_plugins.py and makes its MembersByAccuracy"):
        open_run(run)
    assert open_run(run, trust=True).predict(files["test"]).tobytes() == values.tobytes()
    assert main(["predict", str(run), files["test"], "--trust", "--output", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_bytes() == (run / "test_predictions.csv").read_bytes()
    # A file of arrays that is damaged is found before anything is predicted.
    arrays = bytearray((run / "predict.safetensors").read_bytes())
    arrays[-1] ^= 1
    (run / "predict.safetensors").write_bytes(arrays)
    with pytest.raises(ModelError, match=r"predict.safetensors: .*--resume"):
        open_run(run, trust=True)


def test_a_threshold_decides_the_words_that_are_written(
    tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, files, 0, {"threshold": {"use": f"{PLUGINS}:Threshold"}}, label="label")
    result = create_trainer(config=tree).train()
    run = result.directory
    decision = json.loads((run / "predict.json").read_text())["decisions"]["threshold"]
    frame = pd.read_csv(run / "test_predictions.csv")
    chances = result.predictions["test"].values[:, 1]
    assert frame["label"].tolist() == (chances >= decision).astype(int).tolist()
    assert decision != 0.5
    written = (run / "test_predictions.csv").read_bytes()
    for command in (["predict", str(run), "--trust"], ["predict", str(run), files["test"], "--trust"]):
        assert main([*command, "--output", str(tmp_path / "out.csv")]) == 0
        assert (tmp_path / "out.csv").read_bytes() == written
    # A resume tells nothing twice, and what was decided then still stands.
    (run / "predict.json").unlink()
    create_trainer(config=tree).train(resume=True)
    assert json.loads((run / "predict.json").read_text())["decisions"]["threshold"] == decision
    assert (run / "test_predictions.csv").read_bytes() == written


def own_plugin(folder: Path, name: str, more: str = "") -> str:
    """Write a plugin that trains two fits of other seeds, and return what names it."""
    source = folder / "own.py"
    source.write_text(
        "from attrs import evolve\n"
        "from stepbus import Axis, Predictions, hookimpl\n"
        f"class {name}:\n"
        "    'Two fits of other seeds.'\n"
        "    scope = 'run'\n"
        "    grows = (Axis('member'),)\n"
        "    @hookimpl\n"
        "    def expand_fits(self, fits):\n"
        "        return [evolve(fits[0], name=f'member-{n}', scope={'member': n}, seed=n) for n in range(2)]\n"
        "    @hookimpl\n"
        "    def combine_results(self, results):\n"
        f"        return results[0]\n{more}"
    )
    return f"{source}:{name}"


def test_an_object_that_took_part_is_asked_for(tiny_config: Make, files: dict[str, str]) -> None:
    class Halves:
        """Takes part without a name that anybody else knows."""

        @hookimpl
        def finish_predictions(self, predictions: Predictions) -> Predictions:
            return evolve(predictions, values=predictions.values / 2)

    trainer = create_trainer(config=tree_of(tiny_config, files, 0), plugins=[Halves()])
    result = trainer.train()
    half = result.predictions["test"].values
    np.testing.assert_allclose(half.sum(axis=1), 0.5, rtol=1e-6)
    assert trainer.predict(files["test"]).tobytes() == half.tobytes()
    with pytest.raises(ModelError, match=r"predict.json: expected the plugin 'halves', which takes part"):
        open_run(result.directory)
    opened = open_run(result.directory, plugins=[Halves()])
    assert opened.predict(files["test"]).tobytes() == half.tobytes()
    # The loss is that of what the model said; what the plugin made of it has none of its own.
    scores = opened.evaluate(files["train"])
    assert scores["eval_loss_mean_of_fits"] == open_trainer(result.model_path).evaluate(files["train"])["eval_loss"]
    assert "eval_loss" not in scores


def test_what_the_command_line_cannot_pass_is_said(
    tiny_config: Make, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Same:
        @hookimpl
        def finish_predictions(self, predictions: Predictions) -> Predictions:
            return predictions

    run = create_trainer(config=tree_of(tiny_config, files, 0), plugins=[Same()]).train().directory
    assert main(["predict", str(run), files["test"], "--output", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err == (
        f"stepbus: {run}/predict.json: expected the plugin 'same', which takes part in what this run predicts and was "
        "passed in Python, got none; in Python pass it again, open_run(RUN, plugins=[…]); the command line cannot pass "
        "one, and takes the model of a fit\n"
    )


MEANS = (
    "    @hookimpl\n"
    "    def combine_predictions(self, predictions):\n"
    "        from stepbus import mean_predictions\n"
    "        return mean_predictions(predictions)\n"
)


def test_the_next_command_trusts_what_the_run_wrote_and_a_missing_file_is_named(
    tiny_config: Make, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[str] = []

    class Note:
        scope = "run"
        affects_result = False

        @hookimpl
        def on_run_end(self, run: Any) -> None:
            commands.append(run.next_command)

    tree = tree_of(tiny_config, files, 0, {"means": {"use": own_plugin(tmp_path, "Means", MEANS)}})
    run = create_trainer(config=tree, plugins=[Note]).train().directory
    assert commands == [f"stepbus predict {run} FILE --trust"]
    words = commands[0].replace("FILE", files["test"]).split()[1:]
    assert main([*words, "--output", str(tmp_path / "out.csv")]) == 0
    # A plugin that prediction does not need, and that is the user's own as well, wants no trust.
    watches = tree_of(tiny_config, files, 0, {"prints": {"use": f"{tmp_path}/prints.py:Prints"}})
    (tmp_path / "prints.py").write_text(
        "from stepbus import hookimpl\nclass Prints:\n    @hookimpl\n    def on_step_end(self): ...\n"
    )
    commands.clear()
    other = create_trainer(config=watches, plugins=[Note]).train().directory
    assert commands == [f"stepbus predict {other} FILE"]
    assert main(["predict", str(other), files["test"], "--output", str(tmp_path / "other.csv")]) == 0
    (tmp_path / "own.py").rename(tmp_path / "elsewhere.py")
    capsys.readouterr()
    assert main([*words, "--output", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err == (
        f"stepbus: {run}/predict.json: plugins.means.use: expected the file {tmp_path}/own.py, whose code takes part "
        "in what this predicts, found none; bring it back to where it was\nput there what it names, "
        f"or say `stepbus train … --resume {run}` where it lies now, which writes this file anew\n"
    )


def test_a_combination_that_fails_says_that_the_fits_are_kept(
    tiny_config: Make, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gives = MEANS.replace("mean_predictions(predictions)", "predictions[0].values")
    plugin = {"gives": {"use": own_plugin(tmp_path, "Gives", gives)}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree_of(tiny_config, files, 0, plugin)))
    assert main(["train", str(tmp_path / "run.yaml")]) == 1
    said = capsys.readouterr().err
    assert "gives, own.py: combine_predictions: expected a stepbus.Predictions from it, got array([[" in said
    kept = f"`stepbus train … --resume {tmp_path}/run --allow-changed` takes them as they are"
    assert f"stepbus: the fits are done and kept: mend the plugin, and {kept}\n" in said
    fits = sorted((tmp_path / "run" / "fits").iterdir())
    before = [(path / "result.json").stat().st_mtime_ns for path in fits]
    assert len(before) == 2
    own_plugin(tmp_path, "Gives", MEANS)
    for name in [name for name in sys.modules if name.startswith("stepbus_local_own")]:
        del sys.modules[name]
    assert main(["train", str(tmp_path / "run.yaml"), "--resume", str(tmp_path / "run"), "--allow-changed"]) == 0
    assert [(path / "result.json").stat().st_mtime_ns for path in fits] == before, "they are not trained again"
    assert len(pd.read_csv(tmp_path / "run" / "test_predictions.csv")) == 13


def test_other_rows_from_a_plugin_are_refused_by_its_name(
    tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    loses = (
        "    @hookimpl\n"
        "    def combine_predictions(self, predictions):\n"
        "        return Predictions(predictions[0].row_ids[1:], predictions[0].values[1:])\n"
    )
    tree = tree_of(tiny_config, files, 0, {"loses": {"use": own_plugin(tmp_path, "Loses", loses)}})
    with pytest.raises(PluginFailure, match=r"loses: combine_predictions: expected predictions of the 13 rows"):
        create_trainer(config=tree).train()


def test_a_plan_that_nobody_combines_is_refused_before_training(
    tiny_config: Make, files: dict[str, str], tmp_path: Path
) -> None:
    tree = tree_of(tiny_config, files, 0, {"twice": {"use": own_plugin(tmp_path, "Twice")}})
    with pytest.raises(ConfigError, match=r"twice, .*combines the fits along member, which predict test rows, and has"):
        create_trainer(config=tree).train()
    assert not (tmp_path / "run" / "fits").exists()
    del tree["data"]["test"]
    run = create_trainer(config=tree).train().directory
    with pytest.raises(PluginFailure, match=r"twice combines the fits along member, and gave no predictions"):
        open_run(run, trust=True).predict(files["test"])


def test_a_run_is_not_a_model_and_moves(tiny_config: Make, files: dict[str, str], tmp_path: Path) -> None:
    result = create_trainer(config=tree_of(tiny_config, files, 2)).train()
    moved = tmp_path / "elsewhere"
    shutil.move(result.directory, moved)
    assert open_run(moved).predict(files["test"]).tobytes() == result.predictions["test"].values.tobytes()
    with pytest.raises(ModelError, match=r"expected a run's folder, found no run.json in it"):
        open_run(moved / "fits" / "fold-1")


def test_yaml_and_paths_beside_the_file(tiny_config: Make, files: dict[str, str], tmp_path: Path) -> None:
    tree = tree_of(tiny_config, files, 0)
    tree["data"]["test"] = "test.csv"
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree))
    assert main(["train", str(tmp_path / "run.yaml")]) == 0
    assert len(pd.read_csv(tmp_path / "run" / "test_predictions.csv")) == 13
