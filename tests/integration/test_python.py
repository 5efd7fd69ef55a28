"""stepbus from Python: models, trainers, frames, plugins as objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from mlx.utils import tree_flatten

from stepbus import (
    BadInput,
    Callback,
    ConfigError,
    create_model,
    create_trainer,
    hookimpl,
    open_trainer,
    write_columns,
    write_predictions,
)


class Count(Callback):
    """Counts epochs in the classic style."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def on_epoch_end(self, trainer: Any, state: Any) -> None:
        self.epochs.append(state.epoch)


def test_a_model_a_trainer_and_frames(
    tiny_config: Callable[..., dict[str, Any]], review_files: dict[str, Path], tokenizer_folder: Path
) -> None:
    tree = tiny_config()
    section = {name: value for name, value in tree.pop("model").items() if name != "type"}
    model = create_model("bert_with_head", head_type="binary_classification", **section)
    count = Count()
    train, dev = (pd.read_csv(review_files[name]) for name in ("train", "dev"))
    tree["data"] = {"label": "label", "batch_size": 4, "max_length": 16}
    trainer = create_trainer(model, config=tree, plugins=[count], num_epochs=3, learning_rate=1e-3)
    result = trainer.train(train, dev)
    assert result.status == "ok"
    assert result.steps == 33
    assert count.epochs == [0, 1, 2]
    assert trainer.model is model
    metrics = trainer.evaluate(dev)
    assert metrics["eval_accuracy"] == result.metrics["eval_accuracy"]
    probabilities = trainer.predict(dev.drop(columns="label"))
    assert probabilities.shape == (20, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    logits = trainer.predict(dev, return_logits=True)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), probabilities, atol=1e-6)
    assert result.model_path is not None
    opened = open_trainer(result.model_path)
    np.testing.assert_array_equal(opened.predict(dev), probabilities)


def test_training_goes_on_with_other_settings(tiny_config: Callable[..., dict[str, Any]]) -> None:
    trainer = create_trainer(config=tiny_config(), num_epochs=1)
    first = trainer.train()
    before = {name: np.array(array) for name, array in trainer.model.tensors().items()}
    trainer.update_config(learning_rate=1e-6, num_epochs=2)
    second = trainer.train()
    assert (first.steps, second.steps) == (11, 22)
    assert second.directory != first.directory
    # A rate of 1e-6 moves weights by about 22e-6 at most (Adam's bound), so they are still close to where they were.
    for name, array in trainer.model.tensors().items():
        np.testing.assert_allclose(np.array(array), before[name], atol=5e-5)


def test_the_command_to_try_next_names_a_model_that_opens(tiny_config: Callable[..., dict[str, Any]]) -> None:
    class Note:
        @hookimpl
        def on_run_end(self, run: Any) -> None:
            commands.append(run.next_command)

    commands: list[str] = []
    folds = {"progress": False, "cross_validation": {"folds": 2}}
    tree = tiny_config(plugins=folds, data={"validation": None}, training={"max_steps": 2})
    create_trainer(config=tree, plugins=[Note()]).train()
    (command,) = commands
    folder = command.removeprefix("stepbus predict ").removesuffix(" FILE")
    assert open_trainer(folder).predict(pd.DataFrame({"text": ["good film"]})).shape == (1, 2)


def test_a_checkpoint_by_hand(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 5}))
    trainer.train()
    path = trainer.save_checkpoint(tmp_path / "mine")
    before = {name: np.array(array) for name, array in trainer.model.tensors().items()}
    trainer.model.load_tensors({name: array * 0 for name, array in trainer.model.tensors().items()})
    trainer.load_checkpoint(path)
    for name, array in trainer.model.tensors().items():
        np.testing.assert_array_equal(np.array(array), before[name])


def test_a_wrong_keyword_is_said_with_a_suggestion(tiny_config: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="did you mean 'learning_rate'"):
        create_trainer(config=tiny_config(), learning_rat=1e-5)


def test_predicting_before_training_says_what_to_do(tiny_config: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(BadInput, match="call train first"):
        create_trainer(config=tiny_config()).predict(pd.DataFrame({"text": ["good"]}))


def test_a_plugin_may_change_the_rate_and_stop(tiny_config: Callable[..., dict[str, Any]]) -> None:
    class Halve:
        asks = ("stop",)

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            rates.append(state.learning_rate)
            if state.step == 3:
                trainer.optimizer.learning_rate *= 0.5
            if state.step == 5:
                trainer.control.request_stop("enough")

    rates: list[float] = []
    config = tiny_config(scheduler={"type": "constant"})
    result = create_trainer(config=config, plugins=[Halve()]).train()
    assert rates == [3e-3, 3e-3, 3e-3, 1.5e-3, 1.5e-3]
    assert (result.status, result.steps) == ("stopped", 5)
    assert result.reason == "halve at step 5: enough"


@pytest.mark.parametrize(
    ("sections", "columns", "task"),
    [
        ({"label": "label"}, {"label": ["no", "yes", "maybe"]}, "multiclass"),
        ({"label": ["funny", "sad"]}, {"funny": [0, 1, 1], "sad": [1, 1, 0]}, "multilabel"),
        ({"label": "stars", "task": "regression"}, {"stars": [1.5, 3.0, 4.5]}, "regression"),
    ],
)
def test_other_kinds_of_labels(
    sections: dict[str, Any],
    columns: dict[str, list[Any]],
    task: str,
    tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    frame = pd.DataFrame({"text": ["a good film", "the plot was dull", "it was fine"] * 6})
    for name, values in columns.items():
        frame[name] = values * 6
    tree = tiny_config(training={"num_epochs": 1})
    tree["data"] = {"batch_size": 4, "max_length": 16, **sections}
    trainer = create_trainer(config=tree)
    result = trainer.train(frame, frame)
    assert trainer.encoder.codec.task == task
    assert np.isfinite(list(result.metrics.values())).all()
    predictions = trainer.predict(frame)
    assert len(predictions) == 18
    from stepbus import write_predictions

    write_predictions(trainer, frame, tmp_path / "p.csv")
    table = pd.read_csv(tmp_path / "p.csv")
    for name in columns:
        assert name in table.columns


@pytest.mark.parametrize("model", ["bert", {"type": "bert"}])
def test_a_text_or_a_mapping_is_the_section_model(model: Any, tiny_config: Callable[..., dict[str, Any]]) -> None:
    trainer = create_trainer(model, config=tiny_config(model={"pooling": "cls"}))
    assert trainer.model is None
    assert trainer.config.model.settings.pooling.name == "cls"
    assert create_trainer(model=model).config.model.name == "bert"


@pytest.mark.parametrize(("model", "got"), [(5, "an int"), ([], "a list"), (Path("m"), "a PosixPath")])
def test_what_is_no_model_is_one_sentence(model: Any, got: str) -> None:
    with pytest.raises(BadInput, match=f"^model: expected a model as create_model returns it, .* got {got}$"):
        create_trainer(model)


@pytest.mark.parametrize(("path", "got"), [(5, "int: 5"), (None, "None"), ([], r"list: \[\]"), (b"x", "bytes: b'x'")])
def test_what_is_no_path_is_one_sentence(path: Any, got: str) -> None:
    with pytest.raises(BadInput, match=f"^expected a path as text, got {got}$"):
        open_trainer(path)
    with pytest.raises(BadInput, match=f"^expected a path as text, got {got}$"):
        write_columns(path, [])


@pytest.mark.parametrize("name", ["cross_validation", "gradient_clipping", "progress"])
@pytest.mark.parametrize(("value", "shown"), [(5, "5"), (1.0, "1.0"), ("on", "'on'")])
def test_a_plugins_name_with_a_value_that_is_no_settings(name: str, value: Any, shown: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: expected settings, true, false or null, got {shown}$"):
        create_trainer(**{name: value})


@pytest.mark.parametrize("place", ["https://user:geheim@host/x.csv", Path("https://user:geheim@host/x.csv")])
def test_nothing_is_written_to_a_url(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for setting, value in (("environment.output_dir", {"output_dir": place}), ("data.cache", {"cache": place})):
        with pytest.raises(
            ConfigError, match=f"^{setting}: expected .*a folder of this machine, got 'https:"
        ) as caught:
            create_trainer(**value)
        assert "geheim" not in str(caught.value)
    with pytest.raises(BadInput, match=r"^https:/.*: expected a file to write, got a URL") as refused:
        write_columns(place, [])
    assert "geheim" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (["f1", "f1"], "got f1 again; leave one out"),
        (
            [{"type": "f1", "average": "macro"}, {"type": "f1", "average": "micro"}],
            "got f1 again; give one of them a name: {type: f1, name: f1_micro_2, …}, or take f1_macro",
        ),
        (
            [{"type": "calibration_error", "bins": 5}, {"type": "calibration_error", "bins": 10}],
            "got calibration_error again; give one of them a name: "
            "{type: calibration_error, name: calibration_error_10, …}",
        ),
        (["mcc", {"type": "f1", "name": "mcc"}], "got mcc again; give one of them a name: {type: f1, name: f1_2, …}"),
        (["mcc", {"type": "f1", "name": "loss"}], "got loss again; give one of them a name"),
    ],
)
def test_a_metric_that_comes_twice_is_refused(
    metrics: Any, said: str, tmp_path: Path, tiny_config: Callable[..., Any]
) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text(yaml.safe_dump(tiny_config(training={"metrics": metrics})))
    line = [number for number, text in enumerate(file.read_text().splitlines(), 1) if "- " in text][-1]
    with pytest.raises(ConfigError) as caught:
        create_trainer(config=file).train()
    assert str(caught.value).startswith(f"{file}:{line}: training.metrics[1]: expected a name of its own for each")
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_plugins_name_is_no_plugin() -> None:
    for plugins in (["early_stopping"], "early_stopping"):
        with pytest.raises(BadInput, match=r"got 'early_stopping'; write early_stopping=True in place of it$"):
            create_trainer(plugins=plugins)


def test_the_patience_of_the_training_is_that_of_early_stopping() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'plugins\.early_stopping\.patience' or"):
        create_trainer(config={"training": {"patience": 3}})


def test_two_frames_in_one_are_no_rows(tiny_config: Callable[..., dict[str, Any]]) -> None:
    frame = pd.DataFrame({"text": ["good"], "label": [1]})
    with pytest.raises(BadInput, match=r"expected a dictionary of columns, got .*; expected (?!is)"):
        create_trainer(config=tiny_config()).train((frame, frame))


def test_a_label_that_the_split_loses_is_named(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    words = r"got 1: a; the only rows of 'b' went to the validation rows: data.stratify: true or another split"
    found = []
    for place in range(10):
        file.write_text("text,label\n" + "".join(f"good,{'b' if row == place else 'a'}\n" for row in range(10)))
        trainer = create_trainer(config=tiny_config(data={"train": str(file), "validation": 0.2, "task": "binary"}))
        try:
            trainer.train()
        except BadInput as error:
            found.append(str(error))
    assert any(re.search(words, error) for error in found)


def test_a_kind_that_the_training_rows_are_not(tiny_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("Sex,label\nmale,0\nfemale,1\n")
    tree = tiny_config()
    tree["data"] = {"type": "table", "train": str(file), "label": "label", "kinds": {"Sex": "number"}}
    with pytest.raises(
        BadInput, match=r"rows\.csv:2: column 'Sex': expected a number, as data\.kinds says of Sex, got 'm"
    ):
        create_trainer(config=tree).train()


def test_folds_keep_what_is_frozen_in_the_model_that_was_given(tiny_config: Callable[..., dict[str, Any]]) -> None:
    config = tiny_config(training={"max_steps": 2}, data={"validation": None})
    section = {**config.pop("model")}
    model = create_model("bert_with_head", head_type="binary_classification", **section)
    model.encoder.freeze()
    head = [name for name, _ in tree_flatten(model.trainable_parameters())]
    before = {name: np.array(array) for name, array in model.tensors().items()}
    seen: list[tuple[list[str], bool]] = []

    class See:
        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            trained = trainer.model.trainable_parameters()
            seen.append(([name for name, _ in tree_flatten(trained)], trainer.model is model))

    create_trainer(model, config, plugins=[See()], cross_validation={"folds": 2}).train()
    assert head and not any(name.startswith("encoder") for name in head)
    assert seen == [(head, False), (head, False)]
    assert all(np.array_equal(np.array(array), before[name]) for name, array in model.tensors().items())


def test_a_model_that_is_frozen_as_a_whole_is_refused(tiny_config: Callable[..., dict[str, Any]]) -> None:
    config = tiny_config(training={"max_steps": 2})
    model = create_model("bert_with_head", head_type="binary_classification", **config.pop("model"))
    model.freeze()
    trainer = create_trainer(model, config)
    with pytest.raises(BadInput, match=r"^model: expected parameters to train, .* frozen; .*model\.unfreeze\(\)"):
        trainer.train()
    assert not Path(config["environment"]["output_dir"]).exists()
    model.head.unfreeze()
    assert trainer.train().steps == 2


def test_a_result_is_a_few_lines(tiny_config: Callable[..., dict[str, Any]]) -> None:
    result = create_trainer(config=tiny_config()).train()
    assert repr(result) == f"<FitResult fit: ok, 22 steps, eval_loss {result.metrics['eval_loss']:.4f}>"
    heads = [line.split()[0] for line in str(result).splitlines()]
    assert heads == ["status", "steps", "best", "metrics", "folder", "next"]


def test_metrics_without_a_prefix(tiny_config: Callable[..., dict[str, Any]], review_files: dict[str, Path]) -> None:
    trainer = create_trainer(config=tiny_config())
    trainer.train()
    named = trainer.evaluate(review_files["dev"])
    assert trainer.evaluate(review_files["dev"], prefix="") == {
        name.removeprefix("eval_"): value for name, value in named.items()
    }


@pytest.mark.parametrize(("config", "kind"), [(5, "int"), ({1}, "set")])
def test_what_is_no_configuration_is_one_sentence(config: Any, kind: str) -> None:
    with pytest.raises(
        BadInput, match=f"^config: expected a preset's name, a path, a mapping or a configuration, got {kind}$"
    ):
        create_trainer(config=config)


def test_numbers_of_numpy_are_settings(tiny_config: Callable[..., dict[str, Any]]) -> None:
    rates = np.logspace(-4, -2, 3)
    trainer = create_trainer(config=tiny_config(), learning_rate=rates[1], text=pd.Index(["text"]))
    assert trainer.config.optimizer.settings.learning_rate == rates[1]
    assert trainer.train(num_epochs=np.int64(1)).steps == 11


def test_predictions_of_no_trainer_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"^trainer: expected a trained or opened one, got a str; open_trainer"):
        write_predictions("runs", "test.csv", tmp_path / "p.csv")  # type: ignore[arg-type]
    assert not (tmp_path / "p.csv").exists()
