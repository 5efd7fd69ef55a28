"""`save_checkpoint` and `load_checkpoint`: one path for both, and every case with nothing to save or to load."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, CheckpointError, ModelError, Trainer, create_model, create_trainer, hookimpl, open_trainer
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
            CheckpointError, match=r"^there is no training state to .*each fit of the run has checkpoints"
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
        (larger.save_checkpoint(tmp_path / "larger"), ModelError, "expected shape"),
        (renamed.save_checkpoint(tmp_path / "renamed"), CheckpointError, "expected the labels of this trainer's model"),
        (damaged, CheckpointError, "model.safetensors"),
        (tmp_path / "empty", CheckpointError, "expected a checkpoint or a folder of some, found none"),
        (tmp_path / "missing", CheckpointError, "expected a checkpoint or a folder of some, found none"),
        (tmp_path / "a-file", CheckpointError, "expected a checkpoint or a folder of some, found none"),
        (tmp_path / "run" / "model", CheckpointError, "expected a checkpoint or a folder of some, found none"),
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
    with pytest.raises(
        CheckpointError, match=r"not those of step 8 of its run, because the fit failed in step 9; name"
    ):
        trainer.save_checkpoint()
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
    with pytest.raises(CheckpointError, match=rf"because the best weights, those of step {result.best.step}, were put"):
        trainer.save_checkpoint()
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
