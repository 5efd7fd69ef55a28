"""`save_checkpoint` and `load_checkpoint`: one path for both, and every case with nothing to save or to load."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import (
    BadInput,
    CheckpointError,
    ModelError,
    StepbusError,
    Trainer,
    create_model,
    create_trainer,
    hookimpl,
    open_trainer,
)
from stepbus.base import PluginFailure

Make = Callable[..., dict[str, Any]]
FOLDS = {"progress": False, "cross_validation": {"folds": 2}}


class Hears:
    """Keeps updates, rates and warnings."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.warnings: list[str] = []

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.steps.append(state.step)

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        if level == "warning":
            self.warnings.append(text)


def weights(trainer: Trainer) -> dict[str, Any]:
    return {name: np.array(array) for name, array in trainer.model.tensors().items()}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def spoil(trainer: Trainer) -> None:
    trainer.model.load_tensors({name: array * 0 for name, array in trainer.model.tensors().items()})


@pytest.mark.parametrize("kind", [str, Path])
def test_one_path_for_both(kind: Any, tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 5}))
    trainer.train()
    first = weights(trainer)
    place = kind(tmp_path / "mine")
    written = trainer.save_checkpoint(place)
    assert written == tmp_path / "mine" / "step-00000005"
    spoil(trainer)
    trainer.load_checkpoint(place)
    assert_same(weights(trainer), first)
    # Twice, and into another folder: the same content each time.
    assert trainer.save_checkpoint(place) == written
    other = trainer.save_checkpoint(tmp_path / "other")
    for each in (written, other):
        spoil(trainer)
        trainer.load_checkpoint(each)
        assert_same(weights(trainer), first)
    # The fit's own folder, where its own checkpoints lie.
    assert trainer.save_checkpoint().parent == tmp_path / "run" / "fits" / "fit" / "checkpoints"
    # A folder of several: the newest.
    trainer.update_config(max_steps=7)
    trainer.train()
    trainer.save_checkpoint(place)
    second = weights(trainer)
    trainer.load_checkpoint(written)
    assert_same(weights(trainer), first)
    trainer.load_checkpoint(place)
    assert_same(weights(trainer), second)


def test_before_training_it_is_said_what_is_missing(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config())
    with pytest.raises(CheckpointError, match=r"^there is no training state to save: call train first"):
        trainer.save_checkpoint(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"^there is no training state to load into: call train first, or train"):
        trainer.load_checkpoint(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_after_a_cross_validation_it_is_said_what_is_missing(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(plugins=FOLDS, data={"validation": None}, training={"max_steps": 2}))
    trainer.train()
    for call in (trainer.save_checkpoint, trainer.load_checkpoint):
        with pytest.raises(
            CheckpointError, match=r"^there is no training state to .*each fit of the run has a model of its own"
        ):
            call(tmp_path / "mine")
    with pytest.raises(CheckpointError, match="this model was opened from a folder, which keeps none"):
        trainer.fits[0].save_checkpoint(tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def cut_at(step: int, tiny_config: Make, hears: Any, **sections: Any) -> Trainer:
    """Return a trainer whose run failed in the step after one whose checkpoint was written."""

    class Fails:
        """Fail once."""

        scope = "run"

        def __init__(self) -> None:
            self.armed = True

        @hookimpl
        def is_boundary(self, step: int) -> bool:
            return step == place

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if state.step == place:
                trainer.control.request_checkpoint("here")
            if self.armed and state.step == place + 1:
                self.armed = False
                raise RuntimeError("broken")

        asks = ("checkpoint",)

    place = step
    trainer = create_trainer(config=tiny_config(**sections), plugins=[Fails(), hears])
    with pytest.raises(PluginFailure):
        trainer.train()
    return trainer


def test_the_next_run_goes_on_from_a_loaded_checkpoint_of_the_same_plan(tiny_config: Make, tmp_path: Path) -> None:
    whole = create_trainer(config=tiny_config(), output_dir=str(tmp_path / "whole"))
    whole.train()
    hears = Hears()
    trainer = cut_at(7, tiny_config, hears)
    spoil(trainer)
    trainer.load_checkpoint(tmp_path / "run" / "fits" / "fit" / "checkpoints" / "step-00000007")
    hears.steps.clear()
    result = trainer.train()
    assert hears.steps == [*range(8, 23)]
    assert (result.status, result.steps, result.directory.name) == ("ok", 22, "run-2")
    assert_same(weights(trainer), weights(whole))
    assert [text for text in hears.warnings if "taken over" in text] == []
    # The run after that begins anew.
    hears.steps.clear()
    trainer.train()
    assert hears.steps == [*range(1, 23)]


def test_bad_rows_do_not_use_a_loaded_checkpoint_up(tiny_config: Make, tmp_path: Path) -> None:
    hears = Hears()
    trainer = cut_at(7, tiny_config, hears)
    trainer.load_checkpoint(tmp_path / "run" / "fits" / "fit" / "checkpoints")
    with pytest.raises(BadInput):
        trainer.train("missing.csv")
    hears.steps.clear()
    trainer.train()
    assert hears.steps == [*range(8, 23)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"learning_rate": 1e-4}, "optimizer.learning_rate was 0.003, is 0.0001"),
        ({"num_epochs": 1}, "training.num_epochs was 2, is 1"),
        ({"batch_size": 8}, "data.batch_size was 4, is 8"),
    ],
)
def test_of_another_plan_only_the_weights_are_taken(
    settings: dict[str, Any], words: str, tiny_config: Make, tmp_path: Path
) -> None:
    hears = Hears()
    trainer = cut_at(7, tiny_config, hears)
    place = tmp_path / "run" / "fits" / "fit" / "checkpoints"
    spoil(trainer)
    trainer.load_checkpoint(place)
    trainer.update_config(**settings)
    hears.steps.clear()
    trainer.train()
    assert hears.steps[0] == 1
    (said,) = [text for text in hears.warnings if "taken over" in text]
    assert said == f"only the weights of {place / 'step-00000007'} are taken over, because {words}"
    opened = create_trainer(config=tiny_config(), **settings, output_dir=str(tmp_path / "apart"))
    opened.model = open_trainer(place / "step-00000007").model
    opened.train()
    assert_same(weights(trainer), weights(opened))


def test_of_a_finished_fit_only_the_weights_are_taken(tiny_config: Make, tmp_path: Path) -> None:
    hears = Hears()
    trainer = create_trainer(config=tiny_config(), plugins=[hears], num_epochs=1)
    trainer.train()
    place = trainer.save_checkpoint(tmp_path / "mine")
    trainer.load_checkpoint(place)
    result = trainer.train()
    assert hears.steps == [*range(1, 12), *range(1, 12)]
    assert hears.warnings == [f"only the weights of {place} are taken over, because all its 11 updates were done"]
    assert result.steps == 11


def test_of_a_stopped_fit_only_the_weights_are_taken(tiny_config: Make, tmp_path: Path) -> None:
    class Stops:
        asks = ("stop",)
        armed = True

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if self.armed and state.step == 3:
                trainer.control.request_stop("enough")

    hears, stops = Hears(), Stops()
    trainer = create_trainer(config=tiny_config(), plugins=[hears, stops], num_epochs=1)
    trainer.train()
    place = trainer.save_checkpoint(tmp_path / "mine")
    trainer.load_checkpoint(place)
    stops.armed = False
    assert trainer.train().steps == 11
    assert hears.warnings == [
        f"only the weights of {place} are taken over, because its fit was stopped by stops at step 3: enough"
    ]


def test_the_optimizer_is_left_out_where_that_is_asked(tiny_config: Make, tmp_path: Path) -> None:
    class Looks:
        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            moments.append({name: np.array(array) for name, array in trainer.optimizer.arrays().items()})

    moments: list[dict[str, Any]] = []
    trainer = cut_at(7, tiny_config, Looks())
    place = tmp_path / "run" / "fits" / "fit" / "checkpoints"
    for load_optimizer in (True, False):
        trainer.load_checkpoint(place, load_optimizer=load_optimizer)
        cut = create_trainer(config=tiny_config())
        assert cut.model is None
        trainer.train()
    began = [any(np.abs(array).max() > 0 for name, array in each.items() if ".m" in name) for each in moments]
    assert began == [False, True, False]


def test_a_checkpoint_without_the_optimizer_is_said(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 3}))
    trainer.train()
    place = trainer.save_checkpoint(tmp_path / "mine", save_optimizer=False)
    before = weights(trainer)
    spoil(trainer)
    with pytest.raises(CheckpointError, match=r"expected the optimizer's state, found none.*load_optimizer=False"):
        trainer.load_checkpoint(place)
    assert all(not array.any() for array in weights(trainer).values())
    trainer.load_checkpoint(place, load_optimizer=False)
    assert_same(weights(trainer), before)


def test_checkpoints_that_cannot_be_loaded(tiny_config: Make, review_files: dict[str, Path], tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 3}))
    trainer.train()
    before = weights(trainer)
    good = trainer.save_checkpoint(tmp_path / "mine")
    larger = create_trainer(config=tiny_config(model={"hidden_size": 32}, training={"max_steps": 3}))
    larger.train()
    frame = pd.read_csv(review_files["train"]).assign(label=lambda rows: np.where(rows["label"] == 1, "b", "c"))
    renamed = create_trainer(config=tiny_config(training={"max_steps": 3}))
    renamed.train(frame, frame)
    damaged = tmp_path / "damaged"
    shutil.copytree(tmp_path / "mine", damaged)
    content = bytearray((damaged / good.name / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (damaged / good.name / "model.safetensors").write_bytes(content)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("x")
    for place, kind, words in (
        (
            larger.save_checkpoint(tmp_path / "larger"),
            ModelError,
            "expected a checkpoint of this trainer's model, got one of another: hidden_size 32 against 16, "
            "intermediate_size 128 against 64 here",
        ),
        (renamed.save_checkpoint(tmp_path / "renamed"), CheckpointError, "expected the labels of this trainer's model"),
        (damaged, CheckpointError, "model.safetensors"),
        (tmp_path / "empty", CheckpointError, "expected a checkpoint or a folder of some, found none"),
        (tmp_path / "missing", CheckpointError, "expected a checkpoint or a folder of some, found none"),
        (tmp_path / "a-file", CheckpointError, "expected a checkpoint or a folder of some, found none"),
        (
            tmp_path / "run" / "model",
            CheckpointError,
            r"got an exported model, .*; open_trainer\(PATH\) opens it, and cre",
        ),
        (tmp_path / "run", CheckpointError, "got a folder above them; name .*/run/fits/fit/checkpoints"),
        (tmp_path / "run" / "fits" / "fit", CheckpointError, "got a folder above them; name .*/fits/fit/checkpoints"),
        (None, CheckpointError, "expected a path as text, got None"),
        (5, CheckpointError, "expected a path as text, got int: 5"),
    ):
        with pytest.raises(kind, match=words):
            trainer.load_checkpoint(place)  # type: ignore[arg-type]
        assert_same(weights(trainer), before)
    # None of them has any effect on the next run.
    assert trainer.train().steps == 3


def test_weights_that_are_not_those_of_their_step(tiny_config: Make, tmp_path: Path) -> None:
    hears = Hears()
    trainer = cut_at(7, tiny_config, hears)
    own = tmp_path / "run" / "fits" / "fit" / "checkpoints"
    before = sorted(path.name for path in own.iterdir())
    assert trainer.save_checkpoint() == own / "by-hand" / "step-00000008"
    assert sorted(path.name for path in own.iterdir() if path.name != "by-hand") == before
    place = trainer.save_checkpoint(tmp_path / "mine")
    trainer.load_checkpoint(place)
    hears.steps.clear()
    trainer.train()
    assert hears.steps[0] == 1
    assert any(
        "are taken over, because weights was 'the fit failed in step 9', is not set" in text for text in hears.warnings
    )


def test_the_best_weights_are_not_those_of_the_last_step(tiny_config: Make, tmp_path: Path) -> None:
    class Asks:
        asks = ("best",)

        @hookimpl
        def on_metrics(self, trainer: Any) -> None:
            trainer.control.request_best("so")

    # At this rate no prediction changes, so the first evaluation stays the best.
    trainer = create_trainer(
        config=tiny_config(training={"monitor": "eval_accuracy"}, optimizer={"learning_rate": 1e-9}), plugins=[Asks()]
    )
    result = trainer.train()
    assert result.best is not None
    assert (result.best.step, result.steps) == (11, 22)
    written = trainer.save_checkpoint()
    assert written.parent.name == "by-hand"
    assert (written / "model.safetensors").read_bytes() == (result.model_path / "model.safetensors").read_bytes()
    place, before = trainer.save_checkpoint(tmp_path / "mine"), weights(trainer)
    spoil(trainer)
    trainer.load_checkpoint(place)
    assert_same(weights(trainer), before)


def test_a_given_model_takes_a_checkpoint_before_it_is_trained(tiny_config: Make, tmp_path: Path) -> None:
    def fresh(head: str = "binary", **more: Any) -> Trainer:
        tree = tiny_config(training={"max_steps": 5})
        return create_trainer(create_model(head_type=head, seed=3, **tree.pop("model"), **more), tree)

    first = fresh()
    first.train()
    first.save_checkpoint(tmp_path / "mine")
    saved = weights(first)
    other = fresh()
    other.load_checkpoint(tmp_path / "mine")
    assert_same(weights(other), saved)
    first.load_checkpoint(tmp_path / "mine")
    for each in (first, other):
        each.update_config(max_steps=9)
        each.train()
    assert_same(weights(other), weights(first))
    wrong = fresh("multilabel", num_labels=2)
    before = weights(wrong)
    with pytest.raises(
        CheckpointError, match=r"expected a checkpoint of a multilabel model, got one of a binary model"
    ):
        wrong.load_checkpoint(tmp_path / "mine")
    assert_same(weights(wrong), before)


def test_a_file_is_no_place_for_a_checkpoint(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 2}))
    trainer.train()
    (tmp_path / "mine").write_text("notes")
    with pytest.raises(CheckpointError, match=r"mine: expected a folder to write the checkpoint in, got a file"):
        trainer.save_checkpoint(tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "notes"


def test_what_is_no_part_of_a_run_says_how_to_use_it(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 3}))
    trainer.train()
    place = trainer.save_checkpoint(tmp_path / "mine")
    own = trainer.save_checkpoint(save_optimizer=False)
    assert own.parent.name == "by-hand"
    for path, newest in ((tmp_path / "mine", place), (place, place), (own, own), (own.parent, own)):
        words = (
            f"trainer.load_checkpoint('{newest}') and train go on from it in Python, and model.pretrained: {newest} "
        )
        with pytest.raises(CheckpointError, match=re.escape(words)):
            trainer.train(resume=path)
    model = tmp_path / "run" / "fits" / "fit" / "model"
    with pytest.raises(CheckpointError, match=f"model.pretrained: {model} starts from its weights"):
        trainer.train(resume=tmp_path / "run" / "model")
    with pytest.raises(ModelError, match=f"of which {place} is the newest: name one"):
        open_trainer(tmp_path / "mine")
    # What it names works.
    saved = weights(trainer)
    trainer.load_checkpoint(place)
    assert_same(weights(trainer), saved)
    tree = tiny_config() | {"model": {"pretrained": str(place)}}
    assert_same(weights(create_trainer(create_model(**tree["model"]), tree)), saved)


SHAPELESS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "pooling": ({"model": {"pooling": "max"}}, CheckpointError, "model.pooling was 'max', is 'mean'"),
    "pooling with tensors": ({"model": {"pooling": "cls"}}, CheckpointError, "model.pooling was 'cls', is 'mean'"),
    "heads of attention": ({"model": {"num_attention_heads": 4}}, ModelError, "num_attention_heads 4 against 2 here"),
}


@pytest.mark.parametrize("kind", SHAPELESS)
def test_weights_that_mean_something_else_in_this_model_are_refused(
    kind: str, tiny_config: Make, tmp_path: Path
) -> None:
    sections, error, words = SHAPELESS[kind]
    other = create_trainer(config=tiny_config(**sections, training={"max_steps": 2}))
    other.train()
    place = other.save_checkpoint(tmp_path / "other")
    tree = tiny_config(training={"max_steps": 2}, environment={"output_dir": str(tmp_path / "mine")})
    trained = create_trainer(config=tree)
    trained.train()
    untrained = create_trainer(create_model(seed=3, **tiny_config()["model"]), text="text", label="label")
    for trainer in (trained, open_trainer(tmp_path / "mine"), untrained):
        before = weights(trainer)
        with pytest.raises(error, match=words):
            trainer.load_checkpoint(place)
        assert_same(weights(trainer), before)


def test_rows_that_are_read_otherwise_are_named(
    tiny_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    short = create_trainer(config=tiny_config(data={"max_length": 4, "threshold": 0.3}, training={"max_steps": 2}))
    short.train()
    place = short.save_checkpoint(tmp_path / "short")
    tree = tiny_config(training={"max_steps": 2}, environment={"output_dir": str(tmp_path / "mine")})
    trained = create_trainer(config=tree)
    trained.train()
    texts = ["the plot and the cast was very good", "it was a dull end and a poor film"]
    expected = short.predict(texts)
    for trainer in (trained, open_trainer(tmp_path / "mine")):
        caplog.clear()
        trainer.load_checkpoint(place)
        assert "data.max_length was 4, is 16; data.threshold was 0.3, is not set; here they are read as" in caplog.text
        assert not np.array_equal(trainer.predict(texts), expected)
    untrained = create_trainer(create_model(seed=3, **tiny_config()["model"]), text="text", label="label")
    caplog.clear()
    untrained.load_checkpoint(place)
    np.testing.assert_array_equal(untrained.predict(texts), expected)  # it reads as the checkpoint says
    short.load_checkpoint(place)
    assert "otherwise" not in caplog.text


def test_another_pooling_of_an_opened_model_is_said(
    tiny_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 2}))
    trainer.train()
    expected = trainer.predict(["a good film", "a dull film"])
    same = open_trainer(tmp_path / "run", pooling="mean", dropout=0.4)
    np.testing.assert_array_equal(same.predict(["a good film", "a dull film"]), expected)
    assert "trained for other outputs" not in caplog.text
    other = open_trainer(tmp_path / "run", pooling="max")
    assert not np.array_equal(other.predict(["a good film", "a dull film"]), expected)
    assert "its weights were trained for other outputs: model.pooling was 'mean', is 'max'; its pred" in caplog.text


def test_a_plugin_that_loads_a_checkpoint_of_another_model_is_refused(
    tiny_config: Make, review_files: dict[str, Path], tmp_path: Path
) -> None:
    """Its shapes fit, and its weights mean something else here: nothing of it is taken over."""

    class Loads:
        def __init__(self, place: Path) -> None:
            self.place = place

        @hookimpl
        def on_epoch_end(self, trainer: Any, state: Any) -> None:
            before = weights(trainer)
            try:
                trainer.load_checkpoint(self.place)
            except StepbusError as error:
                said.append(str(error))
            assert_same(weights(trainer), before)
            assert state.epoch == 0

    def saved(name: str, *rows: Any, **sections: Any) -> Path:
        environment = {"output_dir": str(tmp_path / f"{name}-run")}
        made = create_trainer(config=tiny_config(training=short, environment=environment, **sections))
        made.train(*rows)
        return made.save_checkpoint(tmp_path / name)

    short, said = {"num_epochs": 1}, list[str]()
    frame = pd.read_csv(review_files["train"]).assign(label=lambda rows: np.where(rows["label"] == 1, "b", "c"))
    for place, words in (
        (saved("pooled", model={"pooling": "max"}), "model.pooling was 'max', is 'mean'"),
        (saved("attended", model={"num_attention_heads": 4}), "num_attention_heads 4 against 2 here"),
        (saved("renamed", frame, frame), "expected the labels of this trainer's model, got those of another one"),
    ):
        environment = {"output_dir": str(tmp_path / f"{place.parent.name}-loads")}
        create_trainer(config=tiny_config(training=short, environment=environment), plugins=[Loads(place)]).train()
        assert words in said[-1]
        assert str(place) in said[-1]
    assert len(said) == 3
    # One of its own model is taken over, and what is read otherwise is said.
    hears, place = Hears(), saved("short", data={"max_length": 4})
    environment = {"output_dir": str(tmp_path / "short-loads")}

    class Begins:
        @hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            trainer.load_checkpoint(place)

    create_trainer(config=tiny_config(environment=environment), plugins=[Begins(), hears]).train()
    assert [text for text in hears.warnings if "data.max_length was 4, is 16; here they are read as" in text]


def test_a_run_goes_on_with_other_rows_of_a_number_where_that_is_allowed(
    tiny_config: Make, review_files: dict[str, Path]
) -> None:
    """Their mean is another one, which changes neither the head nor what its outputs are numbers of."""
    frame = pd.read_csv(review_files["train"]).assign(label=lambda rows: rows["text"].str.len() / 2)

    class Breaks:
        @hookimpl
        def on_epoch_start(self, state: Any) -> None:
            if state.epoch == 1:
                raise EOFError

    tree = tiny_config(data={"validation": None})
    with pytest.raises(StepbusError, match="EOFError"):
        create_trainer(config=tree, plugins=[Breaks()]).train(frame)
    hears, other = Hears(), frame.assign(label=frame["label"] + 1)
    result = create_trainer(config=tree, plugins=[hears]).train(other, resume=True, allow_changed=True)
    assert (result.status, hears.steps[0]) == ("ok", 12)
    place = max(Path(result.directory).rglob("step-*"))
    elsewhere = {"output_dir": f"{result.directory}-2"}
    trainer = create_trainer(config=tiny_config(data={"validation": None, "label": "length"}, environment=elsewhere))
    trainer.train(other.rename(columns={"label": "length"}))
    with pytest.raises(CheckpointError, match="expected the labels of this trainer's model"):
        trainer.load_checkpoint(place)


def test_loaded_weights_are_not_those_of_the_fits_own_step(tiny_config: Make, tmp_path: Path) -> None:
    """They were written over the run's own checkpoint, and a resume went on with them as if it were exact."""
    mother = create_trainer(config=tiny_config(training={"seed": 9}, environment={"output_dir": str(tmp_path / "m")}))
    mother.train()
    mother.save_checkpoint(tmp_path / "mother")
    trainer = create_trainer(config=tiny_config(training={"num_epochs": 1}))
    trainer.train()
    own = trainer.save_checkpoint()
    before, bytes_before = weights(trainer), (own / "model.safetensors").read_bytes()
    trainer.load_checkpoint(tmp_path / "mother")
    assert trainer.save_checkpoint().parent.name == "by-hand"
    assert (own / "model.safetensors").read_bytes() == bytes_before
    trainer.load_checkpoint(own)  # and back to its own, whose place is its own again
    assert_same(weights(trainer), before)
    assert trainer.save_checkpoint() == own
    assert (own / "model.safetensors").read_bytes() == bytes_before


def test_of_one_path_the_last_save_is_loaded(tiny_config: Make, tmp_path: Path) -> None:
    """The one of most updates was, though a shorter training had been saved there since."""
    trainer = create_trainer(config=tiny_config())
    trainer.train()
    trainer.save_checkpoint(tmp_path / "same")
    trainer.update_config(num_epochs=1)
    trainer.train()
    trainer.save_checkpoint(tmp_path / "same")
    second = weights(trainer)
    spoil(trainer)
    trainer.load_checkpoint(tmp_path / "same")
    assert_same(weights(trainer), second)
    (tmp_path / "same" / "LATEST").write_text("step-00000999\n")  # which leads nowhere: the most updates then
    trainer.load_checkpoint(tmp_path / "same")
    assert trainer._start is not None and trainer._start.path.name == "step-00000022"


def test_another_model_in_the_place_of_the_trained_one_is_refused(tiny_config: Make, tmp_path: Path) -> None:
    """It was printed and trained, while the one before predicted and was saved."""
    first, second = (
        create_trainer(config=tiny_config(environment={"output_dir": str(tmp_path / name)}, training={"num_epochs": 1}))
        for name in ("a", "b")
    )
    first.train()
    second.train()
    own, first.model = first.model, second.model
    for use in (first.predict, first.evaluate):
        with pytest.raises(ModelError, match="another object than the one that this trainer trained"):
            use(["the film"])
    for do in (first.train, first.save_checkpoint):
        with pytest.raises(ModelError, match=r"create_trainer\(model, …\) makes a trainer of the other one"):
            do()
    first.model = own
    assert first.predict(["the film"]).shape == (1, 2)


def test_a_model_that_was_opened_says_that_it_trains_by_the_defaults(
    tiny_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create_trainer(config=tiny_config(plugins=FOLDS, data={"validation": None})).train()
    opened = open_trainer(tmp_path / "run").fits[0]
    opened.update_config(output_dir=str(tmp_path / "next"), progress=False, max_steps=2)
    caplog.clear()
    opened.train(str(tmp_path / "train.csv"))
    (said,) = [text for text in caplog.messages if "trains with the defaults" in text]
    assert "the defaults, adamw with a learning rate of 5e-05; update_config(" in said
    caplog.clear()
    opened.update_config(learning_rate=1e-3)
    opened.train(str(tmp_path / "train.csv"))
    assert not [text for text in caplog.messages if "the defaults" in text]


def test_threads_that_predict_with_one_trainer_take_turns(tiny_config: Make, tmp_path: Path) -> None:
    """Some got other numbers, most an error of MLX's."""
    trainer = create_trainer(config=tiny_config(training={"num_epochs": 1}))
    trainer.train()
    rows = str(tmp_path / "dev.csv")
    expected = trainer.predict(rows)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: trainer.predict(rows), range(24)):
            np.testing.assert_array_equal(found, expected)
