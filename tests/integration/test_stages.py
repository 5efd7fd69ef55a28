"""`train` again: every time a run of its own from the present weights, whatever happened before."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import (
    BadInput,
    CheckpointError,
    DataError,
    ModelError,
    PluginError,
    Trainer,
    create_model,
    create_trainer,
    hookimpl,
    open_trainer,
)
from stepbus.base import Interrupted, PluginFailure

Make = Callable[..., dict[str, Any]]


class Counts:
    """Counts updates."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.steps.append(state.step)


class StopsAt:
    """Asks for the stop once, at a step of the first run."""

    asks = ("stop",)

    def __init__(self, step: int) -> None:
        self.step = step
        self.done = False

    @hookimpl
    def on_step_end(self, trainer: Any, state: Any) -> None:
        if state.step == self.step and not self.done:
            self.done = True
            trainer.control.request_stop("enough")


class Remembers:
    """Counts updates of one run, in a state."""

    def __init__(self, steps: int = 0) -> None:
        self.steps, self.began = steps, list[int]()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.steps = saved["steps"]

    @hookimpl
    def on_fit_start(self) -> None:
        self.began.append(self.steps)

    @hookimpl
    def on_step_end(self) -> None:
        self.steps += 1


def weights(model: Any) -> dict[str, Any]:
    return {name: np.array(array) for name, array in model.tensors().items()}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


STAGES: list[dict[str, Any]] = [{"num_epochs": 1}, {"learning_rate": 1e-3, "num_epochs": 2}, {"num_epochs": 1}]


def own_model(tree: dict[str, Any]) -> Any:
    section = {name: value for name, value in tree["model"].items() if name != "type"}
    return create_model("bert_with_head", head_type="binary_classification", **section)


@pytest.mark.parametrize("given", [False, True], ids=["the configuration's model", "a model of the caller's"])
def test_three_stages_are_three_runs_that_hand_over_weights(given: bool, tiny_config: Make, tmp_path: Path) -> None:
    tree = tiny_config()
    model = own_model(tree) if given else None
    counts, stops = Counts(), StopsAt(13)
    trainer = create_trainer(model, config=tree, plugins=[counts, stops])
    stages, folders, statuses = [], [], []
    for settings in STAGES:
        trainer.update_config(**settings)
        result = trainer.train()
        stages.append(weights(trainer.model))
        folders.append(result.directory.name)
        statuses.append(result.status)
    # Two epochs of 11 updates are cut after 13 and 12 more would follow: the third stage begins at step 1 again.
    assert counts.steps == [*range(1, 12), *range(1, 14), *range(1, 12)]
    assert statuses == ["ok", "stopped", "ok"]
    assert folders == ["run", "run-2", "run-3"]
    assert (trainer.model is model) == given

    before: Any = None
    fresh = own_model(tree) if given else None
    settings: dict[str, Any] = {}
    for number, stage in enumerate(STAGES):
        settings |= stage
        plugins = [StopsAt(13)] if number == 1 else []
        apart: dict[str, Any] = {"environment": {"output_dir": str(tmp_path / f"apart-{number}")}}
        if given:
            other = create_trainer(fresh, config=tree | apart, plugins=plugins, **settings)
        else:
            apart["model"] = tree["model"] if before is None else {"type": "bert", "pretrained": str(before)}
            other = create_trainer(config=tree | apart, plugins=plugins, **settings)
        before = other.train().model_path
        assert_same(weights(other.model), stages[number])


def test_objects_find_the_state_that_they_had_before_the_first_run(tiny_config: Make) -> None:
    remembers = Remembers()
    trainer = create_trainer(config=tiny_config(), plugins=[remembers], num_epochs=1)
    remembers.steps = 100  # after the trainer was made, and before the first run
    for _ in range(3):
        trainer.train()
        assert remembers.steps == 111
    assert remembers.began == [100, 100, 100]


@pytest.mark.parametrize("method", ["state_dict", "load_state_dict"])
def test_an_object_whose_state_fails_is_named(method: str, tiny_config: Make) -> None:
    class Broken(Remembers):
        """Cannot."""

    def fails(*_: Any) -> None:
        raise KeyError("steps")

    setattr(Broken, method, fails)
    with pytest.raises(PluginError, match=rf"^Broken \(passed in Python\): {method} raised KeyError: 'steps'"):
        create_trainer(config=tiny_config(), plugins=[Broken()]).train()


def test_epochs_are_an_argument_of_one_stage(tiny_config: Make) -> None:
    trainer = create_trainer(config=tiny_config())
    assert [trainer.train(num_epochs=1).steps, trainer.train().steps, trainer.train(num_epochs=3).steps] == [11, 22, 33]
    with pytest.raises(BadInput, match=r"num_epochs: expected .*, got 'two'"):
        trainer.train(num_epochs="two")  # type: ignore[arg-type]
    assert trainer.config.training.num_epochs == 2


def fails_at(step: int) -> Any:
    class Fails:
        """Fail once."""

        def __init__(self) -> None:
            self.armed = True

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if self.armed and state.step == step:
                self.armed = False
                raise RuntimeError("broken")

    return Fails()


def test_after_a_failure_the_next_run_starts_from_the_present_weights(tiny_config: Make, tmp_path: Path) -> None:
    counts = Counts()
    trainer = create_trainer(config=tiny_config(), plugins=[counts, fails_at(5)], num_epochs=1)
    with pytest.raises(PluginFailure, match="on_step_end raised RuntimeError at step 5: broken"):
        trainer.train()
    assert trainer.result is None
    present = trainer.model.tensors()
    result = trainer.train()
    assert counts.steps == [1, 2, 3, 4, 5, *range(1, 12)]
    assert (result.status, result.steps, result.directory.name) == ("ok", 11, "run-2")

    tree = tiny_config()
    model = own_model(tree)
    model.load_tensors(present)
    other = create_trainer(model, config=tree, num_epochs=1, output_dir=str(tmp_path / "apart"))
    other.train()
    assert_same(weights(other.model), weights(trainer.model))


def test_bad_rows_change_nothing(tiny_config: Make, review_files: dict[str, Path]) -> None:
    trainer = create_trainer(config=tiny_config(), num_epochs=1)
    dev = review_files["dev"]
    with pytest.raises(BadInput, match="call train first"):
        trainer.predict(dev)
    trainer.train()
    before, said = weights(trainer.model), trainer.predict(dev)
    for rows in (
        "missing.csv",
        pd.DataFrame({"text": ["good"], "other": [1]}),
        pd.DataFrame({"text": [], "label": []}),
    ):
        with pytest.raises(BadInput):
            trainer.train(rows)
        assert_same(weights(trainer.model), before)
        np.testing.assert_array_equal(trainer.predict(dev), said)
    assert trainer.train().steps == 11


def test_after_ctrl_c(tiny_config: Make) -> None:
    class Presses:
        """Send SIGINT in step 5 of the first run."""

        def __init__(self) -> None:
            self.armed = True

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if self.armed and state.step == 5:
                self.armed = False
                os.kill(os.getpid(), signal.SIGINT)

    counts = Counts()
    trainer = create_trainer(config=tiny_config(), plugins=[counts, Presses()], num_epochs=1)
    with pytest.raises(Interrupted, match="a checkpoint was written"):
        trainer.train()
    cut = counts.steps[-1]
    assert cut < 11
    result = trainer.train()
    assert counts.steps == [*range(1, cut + 1), *range(1, 12)]
    assert result.directory.name == "run-2"
    # And the one that was cut goes on where it was cut.
    counts.steps.clear()
    resumed = trainer.train(resume=result.directory.with_name("run"))
    assert counts.steps == [*range(cut + 1, 12)]
    assert (resumed.status, resumed.directory.name) == ("ok", "run")


# A changed section `model` -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
def test_a_changed_section_builds_the_model_anew_from_the_present_weights(
    given: bool, tiny_config: Make, tmp_path: Path
) -> None:
    tree = tiny_config()
    trainer = create_trainer(own_model(tree) if given else None, config=tree, num_epochs=1)
    first = trainer.train()
    old = trainer.model
    trainer.update_config(dropout=0.5, pooling="cls")
    trainer.train()
    assert trainer.model is not old
    assert trainer.model.dropout._p_1 == 0.5
    assert type(trainer.model.pooling) is not type(old.pooling)
    again = trainer.model
    trainer.train()
    assert trainer.model is again

    settings = {"type": "bert", "pretrained": str(first.model_path), "dropout": 0.5, "pooling": "cls"}
    apart = {"model": settings, "environment": {"output_dir": str(tmp_path / "apart")}}
    other = create_trainer(config=tree | apart, num_epochs=1)
    other.train()
    encoders = [
        {name: array for name, array in weights(each).items() if name.startswith("bert.encoder")}
        for each in (other.model, again)
    ]
    assert encoders[0].keys() == encoders[1].keys()


def test_weights_that_do_not_fit_a_changed_section_are_said(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(), num_epochs=1)
    trainer.train()
    trainer.update_config(model={"hidden_size": 32})
    with pytest.raises(
        ModelError,
        match=r"model: the present weights do not fit what the section describes now \(hidden_size 16 against 32",
    ):
        trainer.train()
    trainer.update_config(model={"hidden_size": 16, "pretrained": str(tmp_path / "run" / "model")})
    with pytest.raises(ModelError, match=r"model\.pretrained: it was None, is .*; create another trainer"):
        trainer.train()
    trainer.update_config(model={"pretrained": None})
    assert trainer.train().status == "ok"


def test_other_labels_start_a_head_anew_and_keep_the_encoder(tiny_config: Make, review_files: dict[str, Path]) -> None:
    frame = pd.read_csv(review_files["train"])
    frame["label"] = np.arange(len(frame)) % 3
    trainer = create_trainer(config=tiny_config(), num_epochs=1)
    trainer.train()
    encoder = weights(trainer.model)["bert.encoder.layer.0.output.dense.weight"]
    trainer.update_config(learning_rate=1e-7)
    trainer.train(frame, frame)
    assert trainer.predict(frame).shape == (44, 3)
    after = weights(trainer.model)["bert.encoder.layer.0.output.dense.weight"]
    np.testing.assert_allclose(after, encoder, atol=1e-5)
    # A model of the caller's is not replaced behind their back.
    mine = create_trainer(own_model(tiny_config()), config=tiny_config(), num_epochs=1)
    mine.train()
    with pytest.raises(DataError, match="expected two different labels for binary, got 3"):
        mine.train(frame, frame)
    mine.update_config(model={"head": "auto"})
    mine.train(frame, frame)
    assert mine.predict(frame).shape == (44, 3)


def test_how_a_model_was_loaded_is_said_once(tiny_config: Make) -> None:
    class Hears:
        def __init__(self) -> None:
            self.said: list[str] = []

        @hookimpl
        def on_message(self, text: str) -> None:
            self.said.append(text)

    hears, tree = Hears(), tiny_config()
    folder = create_trainer(config=tree, num_epochs=1).train().model_path
    frame = pd.DataFrame({"text": ["good", "bad", "fine"] * 8, "label": ["a", "b", "c"] * 8})
    tree["model"] = {"type": "bert", "pretrained": str(folder)}
    trainer = create_trainer(config=tree, plugins=[hears], num_epochs=1)
    trainer.train(frame, frame)
    assert [text for text in hears.said if "newly initialised" in text]
    hears.said.clear()
    trainer.train(frame, frame)
    assert [text for text in hears.said if "newly initialised" in text] == []


# Resuming from Python -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [False, True])
def test_a_finished_run_that_is_resumed(given: bool, tiny_config: Make, review_files: dict[str, Path]) -> None:
    tree, dev = tiny_config(), review_files["dev"]
    first = create_trainer(own_model(tree) if given else None, config=tree, num_epochs=1)
    done = first.train()
    counts = Counts()
    model = own_model(tree) if given else None
    trainer = create_trainer(model, config=tree, plugins=[counts], num_epochs=1)
    result = trainer.train(resume=True, allow_changed=True)
    assert (result.metrics, result.steps, counts.steps) == (done.metrics, 11, [])
    np.testing.assert_array_equal(trainer.predict(dev), first.predict(dev))
    assert_same(weights(trainer.model), weights(first.model))
    if given:
        assert trainer.model is model
    (only,) = trainer.fits
    assert only is trainer
    # The next run starts from these weights.
    trainer.train()
    first.train()
    assert_same(weights(trainer.model), weights(first.model))


def test_what_differs_at_a_resume_is_allowed_or_refused(tiny_config: Make) -> None:
    trainer = create_trainer(config=tiny_config(), num_epochs=1)
    trainer.train()
    trainer.update_config(learning_rate=1e-4)
    with pytest.raises(BadInput, match=r"optimizer\.learning_rate was 0\.003, is 0\.0001"):
        trainer.train(resume=True)
    assert trainer.train(num_epochs=2, resume=True, allow_changed=True).steps == 22
    assert trainer.train().directory.name == "run-2"


# Trainers of one's own ----------------------------------------------------------------------------------------------


def test_a_subclass_with_a_constructor_of_its_own(tiny_config: Make, review_files: dict[str, Path]) -> None:
    class Mine(Trainer):
        def __init__(self, name: str, tree: dict[str, Any]) -> None:
            super().__init__(create_trainer(config=tree).config)
            self.name = name

    folds = {"progress": False, "cross_validation": {"folds": 2}}
    trainer = Mine("mine", tiny_config(plugins=folds, data={"validation": None}, training={"max_steps": 2}))
    trainer.train()
    assert trainer.predict(review_files["dev"]).shape == (20, 2)
    assert len(trainer.fits) == 2
    trainer.train()
    alone = Mine("alone", tiny_config(training={"max_steps": 2}))
    assert [alone.train().directory.name for _ in range(2)] == ["run-3", "run-4"]


class Holds:
    """Has a `config` that is no Config of its own."""

    class Config:
        """Another one."""

    def __init__(self, config: Any) -> None:
        self.config, self.fits = config, list[str]()

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        self.fits.append(trainer.fit_name)


@pytest.mark.parametrize("config", [{"a": 1}, Path("x"), None, 5, object()])
def test_an_object_with_any_config_serves_every_fold(config: Any, tiny_config: Make) -> None:
    holds = Holds(config)
    folds = {"progress": False, "cross_validation": {"folds": 2}}
    tree = tiny_config(plugins=folds, data={"validation": None}, training={"max_steps": 1})
    create_trainer(config=tree, plugins=[holds]).train()
    assert holds.fits == ["fold-1", "fold-2"]


def test_a_model_that_was_opened_trains_on(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(), num_epochs=1)
    result = trainer.train()
    opened = open_trainer(result.directory, output_dir=str(tmp_path / "on"), num_epochs=1, batch_size=4)
    before = weights(opened.model)
    on = opened.train(tiny_config()["data"]["train"])
    assert on.directory == tmp_path / "on"
    assert any(not np.array_equal(before[name], array) for name, array in weights(opened.model).items())


@pytest.mark.parametrize("folds", [False, True])
def test_a_finished_run_of_other_rows_is_not_the_one_that_was_asked_for(
    folds: bool, tiny_config: Make, review_files: dict[str, Path]
) -> None:
    rows = pd.read_csv(review_files["train"])
    held_out = None if folds else pd.read_csv(review_files["dev"])
    plugins = {"progress": False, **({"cross_validation": {"folds": 2}} if folds else {})}
    tree = tiny_config(training={"max_steps": 2}, data={"train": None, "validation": None}, plugins=plugins)

    def resumed(train: Any, validation: Any = held_out, **settings: Any) -> Any:
        return create_trainer(config=tree).train(train, validation, resume=True, **settings)

    first = create_trainer(config=tree).train(rows, held_out)
    assert resumed(rows).metrics == first.metrics
    changed = rows.assign(label=[1 - rows.label[0], *rows.label[1:]])
    refused = [(rows.head(30), "14 rows are no more there"), (changed, "train frame, row 1 is another row than before")]
    longer = pd.concat([rows, rows.tail(2)], ignore_index=True)
    refused += [
        (longer, "2 rows from train frame, row 45 on are new"),
        (rows.iloc[::-1].reset_index(drop=True), "train frame, row"),
    ]
    for other, words in refused:
        with pytest.raises(CheckpointError, match=rf"(?s)began with other rows, .*{words}"):
            resumed(other)
    if held_out is not None:
        with pytest.raises(CheckpointError, match=r"fit: 15 rows are no more there"):
            resumed(rows, held_out.head(5))
        with pytest.raises(CheckpointError, match=r"fit: the validation rows are no more there"):
            resumed(rows, None)
        # Allowed, it is what was done, and that is said.
        assert resumed(changed, allow_changed=True).metrics == first.metrics
    assert resumed(rows).metrics == first.metrics
