"""How checkpoints are named in Python: `best`, `last`, no path, without the optimizer; in every order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import BadInput, CheckpointError, ModelError, Trainer, create_model, create_trainer, open_trainer
from stepbus.storage.checkpoints import read_manifest, verify

Make = Callable[..., dict[str, Any]]
OWN = Path("run/fits/fit/checkpoints")


def weights(trainer: Trainer) -> dict[str, Any]:
    return {name: np.array(array) for name, array in trainer.model.tensors().items()}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def spoil(trainer: Trainer) -> None:
    trainer.model.load_tensors({name: array * 0 for name, array in trainer.model.tensors().items()})


@pytest.fixture
def worse(tiny_config: Make) -> dict[str, Any]:
    """A configuration of four epochs whose first evaluation is the best, since no prediction changes."""
    return tiny_config(training={"monitor": "eval_accuracy", "num_epochs": 4}, optimizer={"learning_rate": 1e-9})


def test_line_49_best_and_last_of_a_run(worse: dict[str, Any], tmp_path: Path) -> None:
    trainer = create_trainer(config=worse)
    result = trainer.train()
    best, last = open_trainer(tmp_path / "run", "best"), open_trainer(str(tmp_path / "run"), "last")
    assert_same(weights(last), weights(trainer))
    assert not np.array_equal(weights(best)["classifier.weight"], weights(last)["classifier.weight"])
    kept = tmp_path / OWN
    for place in (kept / "best", kept / "step-00000011"):
        assert_same(weights(open_trainer(place)), weights(best))
    scores = best.evaluate(worse["data"]["validation"])
    assert scores["eval_loss"] == pytest.approx(result.history[0]["eval_loss"])
    assert_same(weights(open_trainer(tmp_path / "run" / "fits" / "fit", "best")), weights(best))
    # The link says where the best is to everybody else.
    assert (kept / "best" / "model.safetensors").samefile(kept / "step-00000011" / "model.safetensors")
    # A copy without links, as an archive or a cloud makes it.
    shutil.copytree(tmp_path / "run", tmp_path / "copy", ignore=shutil.ignore_patterns("best"))
    assert_same(weights(open_trainer(tmp_path / "copy", "best")), weights(best))


def test_line_49_of_a_run_that_was_cut(worse: dict[str, Any], tmp_path: Path) -> None:
    from stepbus import hookimpl

    class Falls:
        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 35:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=worse, plugins=[Falls()]).train()
    first, newest = open_trainer(tmp_path / "run", "best"), open_trainer(tmp_path / "run", "last")
    assert_same(weights(first), weights(open_trainer(tmp_path / OWN / "step-00000011")))
    assert_same(weights(newest), weights(open_trainer(tmp_path / OWN / "step-00000033")))


def test_line_49_averages_are_what_the_best_one_is_used_with(tiny_config: Make, tmp_path: Path) -> None:
    tree = tiny_config(
        training={"monitor": "eval_accuracy", "num_epochs": 4},
        optimizer={"learning_rate": 1e-9},
        plugins={"progress": False, "ema": {"decay": 0.5}},
    )
    result = create_trainer(config=tree).train()
    assert result.best is not None and result.best.step == 11
    files = {path.name for path in (tmp_path / OWN / "step-00000011").iterdir()}
    assert "model.safetensors" in files and not files & {"averaged.safetensors", "optimizer.safetensors", "state.json"}
    best = open_trainer(tmp_path / "run", "best").evaluate(tree["data"]["validation"])
    assert best["eval_loss"] == pytest.approx(result.history[0]["eval_loss"], rel=1e-6)


def test_line_49_what_cannot_be_opened_so(tiny_config: Make, tmp_path: Path) -> None:
    single = tiny_config(training={"max_steps": 3})
    create_trainer(config=single).train()
    with pytest.raises(BadInput, match=r"""^which: expected "best" or "last", got 'first'; without it, the model"""):
        open_trainer(tmp_path / "run", "first")
    with pytest.raises(BadInput, match=r"""expected "best" or "last", got 'bset' \(did you mean 'best'\?\)"""):
        open_trainer(tmp_path / "run", "bset")
    with pytest.raises(BadInput, match=r'expected "best" or "last", got True'):
        open_trainer(tmp_path / "run", True)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"nowhere/checkpoints: there is no checkpoint to open as 'best'"):
        open_trainer(tmp_path / "nowhere", "best")

    def made(name: str, **sections: Any) -> Path:
        create_trainer(config=tiny_config(environment={"output_dir": str(tmp_path / name)}, **sections)).train()
        return tmp_path / name

    unscored = made("unscored", training={"max_steps": 3, "eval_strategy": "no"})
    with pytest.raises(ModelError, match=r'no evaluation says .*; there are step-00000003, and "last" opens'):
        open_trainer(unscored, "best")
    assert open_trainer(unscored, "last").model is not None
    folds = {"progress": False, "cross_validation": {"folds": 2}}
    few = {"data": {"validation": None}, "training": {"num_epochs": 1}}
    run = made("folds", plugins=folds, **few)
    with pytest.raises(ModelError, match=r"this run has 2 fits, each .*such as .*/fits/fold-1"):
        open_trainer(run, "best")
    with pytest.raises(ModelError, match="none was kept when the fit was done; name the run, or the fit, without"):
        open_trainer(run / "fits" / "fold-1", "best")
    run = made("kept", plugins={**folds, "checkpoint": {"keep_finished": True}}, **few)
    one = open_trainer(run / "fits" / "fold-2", "best")
    assert_same(weights(one), weights(open_trainer(run / "fits" / "fold-2" / "model")))


def test_line_49_a_link_of_somebody_elses_is_left_and_not_followed(worse: dict[str, Any], tmp_path: Path) -> None:
    from stepbus import hookimpl

    (tmp_path / "mine").mkdir()

    class Puts:
        @hookimpl
        def on_epoch_start(self, trainer: Any, state: Any) -> None:
            if state.step == 0:
                (trainer.directory / "checkpoints").mkdir(exist_ok=True)  # made with the first that stays
                (trainer.directory / "checkpoints" / "best").symlink_to(tmp_path / "mine")

    create_trainer(config=worse, plugins=[Puts()]).train()
    assert (tmp_path / OWN / "best").readlink() == tmp_path / "mine"
    assert list((tmp_path / "mine").iterdir()) == []
    assert_same(
        weights(open_trainer(tmp_path / "run", "best")), weights(open_trainer(tmp_path / OWN / "step-00000011"))
    )


def test_a_resume_takes_no_thinned_one_for_a_whole_one(worse: dict[str, Any], tmp_path: Path) -> None:
    create_trainer(config=worse).train()
    own, longer = tmp_path / OWN, {**worse, "training": {**worse["training"], "num_epochs": 5}}
    words = (
        r"step-00000011: expected a whole checkpoint to go on from, and step-00000011 has only what its use needs, and "
        r"lacks optimizer\.safetensors and state\.json \(.*\); whole are step-00000044 beside it"
    )
    for place in (own / "step-00000011", own / "best"):
        with pytest.raises(CheckpointError, match=words):
            create_trainer(config=longer).train(resume=place, allow_changed=True)
    # With nothing else there, it is no beginning either.
    shutil.rmtree(own / "step-00000044")
    with pytest.raises(CheckpointError, match="no checkpoint is left to go on from: step-00000011 has only what"):
        create_trainer(config=longer).train(resume=True, allow_changed=True)
    assert create_trainer(config=worse).train(resume=True).steps == 44  # done already


def test_line_112_a_thinned_one_gives_its_weights(worse: dict[str, Any], tmp_path: Path) -> None:
    trainer = create_trainer(config=worse)
    trainer.train()
    best = weights(open_trainer(tmp_path / "run", "best"))
    with pytest.raises(CheckpointError, match=r"load_checkpoint\(path, load_optimizer=False\) takes the rest"):
        trainer.load_checkpoint(tmp_path / OWN / "best")
    for place in (tmp_path / OWN / "best", tmp_path / OWN / "step-00000011"):
        spoil(trainer)
        trainer.load_checkpoint(place, load_optimizer=False)
        assert_same(weights(trainer), best)
    assert trainer.train(num_epochs=1).steps == 11


def test_line_111_no_path(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 5}))
    with pytest.raises(CheckpointError, match=r"^there is no training state to save: call train first"):
        trainer.save_checkpoint()
    trainer.train()
    first = weights(trainer)
    written = trainer.save_checkpoint()
    assert written == tmp_path / OWN / "step-00000005"
    assert trainer.save_checkpoint() == written  # twice
    for path in (written, written.parent, str(written)):
        spoil(trainer)
        trainer.load_checkpoint(path)
        assert_same(weights(trainer), first)
    trainer.update_config(learning_rate=1e-4)
    assert trainer.save_checkpoint() == written
    assert not read_manifest(written).lacks
    # The run goes on from it.
    trainer.update_config(learning_rate=3e-3, max_steps=8)
    assert trainer.train(resume=True, allow_changed=True).steps == 8


def test_line_111_no_path_and_no_optimizer_takes_nobodys_place(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 5}))
    trainer.train()
    first = weights(trainer)
    for path in (None, tmp_path / OWN):
        written = trainer.save_checkpoint(path, save_optimizer=False)
        assert written == tmp_path / OWN / "by-hand" / "step-00000005"
        assert verify(written).lacks == ("optimizer.safetensors",)
    assert not verify(tmp_path / OWN / "step-00000005").lacks
    for place in (written, written.parent):
        with pytest.raises(CheckpointError, match="expected the optimizer's state, found none"):
            trainer.load_checkpoint(place)
        spoil(trainer)
        trainer.load_checkpoint(place, load_optimizer=False)
        assert_same(weights(trainer), first)
    trainer.update_config(max_steps=8)
    assert trainer.train(resume=True, allow_changed=True).steps == 8


@pytest.mark.parametrize("save_optimizer", [True, False])
def test_line_111_a_path_after_a_change_of_the_working_directory(
    save_optimizer: bool, tiny_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    trainer = create_trainer(config=tiny_config(training={"max_steps": 3}))
    trainer.train()
    first = weights(trainer)
    monkeypatch.chdir(tmp_path / "one")
    written = trainer.save_checkpoint("mine", save_optimizer=save_optimizer)
    assert written == tmp_path / "one" / "mine" / "step-00000003"
    assert trainer.save_checkpoint(Path("mine"), save_optimizer=save_optimizer) == written
    trainer.load_checkpoint("mine", load_optimizer=save_optimizer)
    monkeypatch.chdir(tmp_path / "other")
    spoil(trainer)
    trainer.load_checkpoint(written, load_optimizer=save_optimizer)
    assert_same(weights(trainer), first)
    with pytest.raises(CheckpointError, match="mine: expected a checkpoint or a folder of some, found none"):
        trainer.load_checkpoint("mine")
    # The checkpoint that was loaded may be saved again.
    again = trainer.save_checkpoint("again", save_optimizer=save_optimizer)
    assert again == tmp_path / "other" / "again" / "step-00000003"
    # A folder that is called like a checkpoint and holds one.
    trainer.save_checkpoint("step-00000009")
    spoil(trainer)
    trainer.load_checkpoint("step-00000009")
    assert_same(weights(trainer), first)


def test_line_112_on_an_opened_model(tiny_config: Make, tmp_path: Path) -> None:
    def trained(name: str, seed: int, **sections: Any) -> Trainer:
        tree = tiny_config(
            training={"max_steps": 3, "seed": seed}, environment={"output_dir": str(tmp_path / name)}, **sections
        )
        trainer = create_trainer(config=tree)
        trainer.train()
        return trainer

    one, other = trained("one", 1), trained("other", 2)
    written = other.save_checkpoint(tmp_path / "mine")
    opened = open_trainer(tmp_path / "one")
    assert_same(weights(opened), weights(one))
    for place, optimizer in ((tmp_path / "mine", True), (written, False)):
        opened.load_checkpoint(place, load_optimizer=optimizer)
        assert_same(weights(opened), weights(other))
    rows = tiny_config()["data"]["validation"]
    assert opened.evaluate(rows)["eval_loss"] == pytest.approx(other.evaluate(rows)["eval_loss"])
    with pytest.raises(CheckpointError, match="this model was opened from a folder, which keeps none"):
        opened.save_checkpoint()
    # Of other labels, it is refused.
    frame = pd.read_csv(tiny_config()["data"]["train"])
    frame.assign(label=np.where(frame["label"] == 1, "b", "c")).to_csv(tmp_path / "renamed.csv", index=False)
    data = {"train": str(tmp_path / "renamed.csv"), "validation": 0.3}
    renamed = trained("renamed", 1, data=data).save_checkpoint(tmp_path / "renamed")
    with pytest.raises(CheckpointError, match="expected the labels of this trainer's model, got those of another one"):
        opened.load_checkpoint(renamed)


def test_line_112_of_a_model_given_and_cross_validated(tiny_config: Make, tmp_path: Path) -> None:
    first = create_trainer(config=tiny_config(training={"max_steps": 3}))
    first.train()
    saved = first.save_checkpoint(tmp_path / "mine")
    tree = tiny_config(
        plugins={"progress": False, "cross_validation": {"folds": 2}},
        data={"validation": None},
        training={"max_steps": 2},
        environment={"output_dir": str(tmp_path / "folds")},
    )
    trainer = create_trainer(create_model(seed=3, **tree.pop("model")), tree)
    trainer.load_checkpoint(saved)  # before training, into the model that is there
    assert_same(weights(trainer), weights(first))
    trainer.train()
    for call in (trainer.save_checkpoint, trainer.load_checkpoint):
        with pytest.raises(CheckpointError, match="each fit of the run has a model of its own"):
            call(tmp_path / "mine")
    with pytest.raises(CheckpointError, match="this model was opened from a folder"):
        trainer.fits[0].save_checkpoint()
    trainer.fits[0].load_checkpoint(saved)


def test_line_111_a_file_is_no_place(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(training={"max_steps": 2}))
    trainer.train()
    (tmp_path / "mine").write_text("notes")
    for options in ({}, {"save_optimizer": False}):
        with pytest.raises(CheckpointError, match=r"mine: expected a folder to write the checkpoint in, got a file"):
            trainer.save_checkpoint(tmp_path / "mine", **options)
    with pytest.raises(CheckpointError, match="mine: expected a checkpoint or a folder of some, found none"):
        trainer.load_checkpoint(tmp_path / "mine", load_optimizer=False)
    assert (tmp_path / "mine").read_text() == "notes"


def test_a_model_not_trained_yet_predicts_with_a_checkpoint(tiny_config: Make, tmp_path: Path) -> None:
    tree = tiny_config(training={"max_steps": 3})
    rows, section = tree["data"]["validation"], dict(tree["model"])
    first = create_trainer(config=tree)
    first.train()
    saved = first.save_checkpoint(tmp_path / "mine")
    fresh = create_trainer(create_model(seed=3, **section), tree)
    for _ in range(2):  # any number of times
        fresh.load_checkpoint(tmp_path / "mine")
        np.testing.assert_array_equal(fresh.predict(rows), first.predict(rows))
    assert fresh.evaluate(rows) == first.evaluate(rows)
    assert fresh.codec.names == first.codec.names and "not yet; weights of a checkpoint" in str(fresh)
    spoil(fresh)  # it is the trainer's model that predicts
    np.testing.assert_allclose(fresh.predict(rows), 0.5)
    fresh.load_checkpoint(saved)
    assert fresh.train(num_epochs=1).status == "ok"

    other = create_trainer(create_model(**{**section, "hidden_size": 32}), tree)
    with pytest.raises(ModelError, match=r"got one of another: hidden_size 16 against 32, .* here; create_model"):
        other.load_checkpoint(saved)
    first.update_config(hidden_size=32)
    with pytest.raises(ModelError, match=r"hidden_size 16 against 32, .* in the section; .* create_model"):
        first.train()
