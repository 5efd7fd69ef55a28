"""Fits whose model plugins change: cut and resumed, opened, loaded by hand, gone on from, in folds and in stages."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from stepbus import (
    Callback,
    CheckpointError,
    create_model,
    create_trainer,
    find_folder,
    import_module,
    open_run,
    open_trainer,
    read_tensors,
)
from stepbus.base import Interrupted
from stepbus.storage import checkpoints

Make = Callable[..., dict[str, Any]]
shifted = import_module(str(Path(__file__).parents[1] / "fixtures" / "shifted.py"))
SHIFT = shifted.SHIFT
LORA = {"progress": False, "lora": {"rank": 2, "dropout": 0.2}}


class CutAt(Callback):
    """Let a signal arrive at an update, and keep the loss of each."""

    def __init__(self, step: int = 0) -> None:
        self.step, self.losses = step, dict[int, float]()

    def on_step_end(self, state: Any, step: Any) -> None:
        self.losses[state.step] = step.loss
        if state.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def arrays_of(model: Any) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in model.tensors().items()}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def cut(tree: dict[str, Any], step: int, *plugins: Any) -> Any:
    trainer = create_trainer(config=tree, plugins=[*plugins, CutAt(step)])
    with pytest.raises(Interrupted):
        trainer.train()
    return trainer


MANY = {
    "progress": False,
    "lora": {"rank": 2, "dropout": 0.2},
    "ema": {"decay": 0.8},
    "early_stopping": {"patience": 9},
}
CASES: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "lora": (LORA, []),
    "shifted": ({"progress": False}, [shifted.Shifted]),
    "both": (LORA, [shifted.Shifted]),
    "averaged": (MANY, [shifted.Shifted]),
    "export only": ({"progress": False}, [shifted.Halves]),
}


CUTS = [
    *((case, step, depth) for case in CASES for step, depth in [(11, 0), (12, 1)]),
    *(("averaged", step, depth) for step in (1, 21) for depth in (0, 1)),
]


@pytest.mark.parametrize(("case", "step", "depth"), CUTS)
def test_a_resume_is_exact(case: str, step: int, depth: int, tiny_config: Make, tmp_path: Path) -> None:
    settings, plugins = CASES[case]
    more = {"plugins": settings, "training": {"pipeline_depth": depth}}
    whole, losses = tiny_config(**more, environment={"output_dir": str(tmp_path / "whole")}), CutAt()
    trainer = create_trainer(config=whole, plugins=[*plugins, losses])
    once = trainer.train()
    tree, after = tiny_config(**more), CutAt()
    cut(tree, step, *plugins)
    again = create_trainer(config=tree, plugins=[*plugins, after])
    result = again.train(resume=True)
    assert after.losses == {number: losses.losses[number] for number in after.losses} and 1 not in after.losses
    assert result.metrics == once.metrics
    assert_same(arrays_of(again.model), arrays_of(trainer.model))
    assert once.model_path is not None and result.model_path is not None
    names = [path.joinpath("model.safetensors").read_bytes() for path in (once.model_path, result.model_path)]
    assert names[0] == names[1]


@pytest.mark.parametrize("case", ["lora", "shifted", "averaged"])
def test_a_checkpoint_opens_as_a_model_of_its_own(case: str, tiny_config: Make, tmp_path: Path) -> None:
    settings, plugins = CASES[case]
    tree = tiny_config(
        plugins={**settings, "checkpoint": {"save_strategy": "epoch", "keep_last": 9, "keep_whole": True}}
    )
    trainer = create_trainer(config=tree, plugins=plugins)
    result = trainer.train()
    place, rows = result.model_path, tree["data"]["validation"]
    assert place is not None
    last = place.parent / "checkpoints" / "step-00000022"
    opened = open_trainer(last)
    assert opened.model.tensors().keys() == trainer.model.tensors().keys()
    if case != "averaged":  # whose exported weights are the best ones
        assert_same(arrays_of(opened.model), arrays_of(trainer.model))
        np.testing.assert_array_equal(opened.predict(rows), trainer.predict(rows))
    # Its training weights stand beside, where they differ.
    training = load_file(last / "training.safetensors")
    assert {name for name in training if name not in trainer.model.tensors()} == {
        name for name in training if "lora_" in name or name == SHIFT
    }
    assert "bert.encoder.layer.0.output.dense.weight" not in training
    # As the weights to begin with, of any run.
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
    for plugins_now in ({"progress": False}, LORA):
        model = {"pretrained": str(last), "tokenizer": None, **dict.fromkeys(sizes)}
        other = tiny_config(model=model, plugins=plugins_now, training={"max_steps": 1})
        other["environment"] = {"output_dir": str(tmp_path / "other")}
        assert create_trainer(config=other).train().status == "ok"
    assert read_tensors(find_folder(str(last))).keys() == trainer.model.tensors().keys()


def test_a_checkpoint_is_loaded_by_hand_and_gone_on_from(tiny_config: Make, tmp_path: Path) -> None:
    tree = tiny_config(plugins=LORA)
    whole = create_trainer(config={**tree, "environment": {"output_dir": str(tmp_path / "whole")}})
    whole.train()
    trainer = cut(tree, 11)
    # What the trainer has after a signal is a plain model too, of the weights of that moment.
    assert trainer.model.tensors().keys() == whole.model.tensors().keys()
    place = tmp_path / "run/fits/fit/checkpoints/step-00000011"
    now = arrays_of(trainer.model)
    assert_same(now, arrays_of(open_trainer(place).model))
    trainer.model.load_tensors({name: array * 0 for name, array in trainer.model.tensors().items()})
    trainer.load_checkpoint(place)
    assert_same(arrays_of(trainer.model), now)
    trainer.train()  # all of it is taken over: the same bits as a run that was not cut
    assert_same(arrays_of(trainer.model), arrays_of(whole.model))


def test_a_checkpoint_by_hand_after_the_end_gives_its_weights(tiny_config: Make, tmp_path: Path) -> None:
    trainer = create_trainer(config=tiny_config(plugins=LORA))
    trainer.train()
    assert trainer.save_checkpoint().parent.name == "by-hand"  # the present weights are not those of step 22
    place = trainer.save_checkpoint(tmp_path / "mine")
    assert "training.safetensors" not in [path.name for path in place.iterdir()]
    now = arrays_of(trainer.model)
    trainer.train()
    assert not np.array_equal(arrays_of(trainer.model)["classifier.bias"], now["classifier.bias"])
    trainer.load_checkpoint(place)
    assert_same(arrays_of(trainer.model), now)
    trainer.train()
    assert_same(arrays_of(open_trainer(place).model), now)


def test_other_plugins_than_when_it_was_written(tiny_config: Make) -> None:
    cut(tiny_config(plugins=LORA), 11)
    with pytest.raises(CheckpointError, match="this run began with other settings"):
        create_trainer(config=tiny_config()).train(resume=True)
    words = r"expected a model without '.*lora_A', got one that plugins had changed; switch on what the run began with"
    with pytest.raises(CheckpointError, match=words):
        create_trainer(config=tiny_config()).train(resume=True, allow_changed=True)


def test_plugins_that_the_run_did_not_begin_with(tiny_config: Make) -> None:
    cut(tiny_config(), 11)
    words = r"expected '.*lora_A', which plugins put into the model, got a checkpoint without; .*model.pretrained: "
    with pytest.raises(CheckpointError, match=words):
        create_trainer(config=tiny_config(plugins=LORA)).train(resume=True, allow_changed=True)


@pytest.mark.parametrize("given", [False, True])
def test_folds_are_each_unwrapped_and_predict_together(given: bool, tiny_config: Make) -> None:
    tree = tiny_config(plugins={**LORA, "cross_validation": {"folds": 2}})
    tree["data"]["validation"] = None
    model = None
    if given:
        sizes = {name: each for name, each in tree["model"].items() if name != "type"}
        model = create_model("bert_with_head", head_type="binary_classification", **sizes)
        before = arrays_of(model)
    trainer = create_trainer(model, config=tree)
    result = trainer.train()
    rows = tree["data"]["train"]
    assert result.directory is not None
    opened = open_run(result.directory)
    np.testing.assert_array_equal(opened.predict(rows), trainer.predict(rows))
    names = create_model_names(opened)
    for each in trainer.fits:
        assert each.model.tensors().keys() == names and not [name for name in names if "lora_" in name]
    one, other = (arrays_of(each.model) for each in trainer.fits)
    assert not np.array_equal(one["classifier.weight"], other["classifier.weight"])
    if given:
        assert_same(arrays_of(model), before)
    # A fit of its own gives the same as in the run, so what folds share is no part of the result.
    for fold in result.parts:
        assert fold.model_path is not None
        stored = load_file(fold.model_path / "model.safetensors")
        assert stored.keys() == names


def create_model_names(opened: Any) -> set[str]:
    return set(opened.fits[0].model.tensors())


def test_the_best_weights_are_merged_and_scored(tiny_config: Make) -> None:
    tree = tiny_config(
        plugins={**LORA, "early_stopping": {"patience": 1}},
        training={"num_epochs": 6},
        optimizer={"learning_rate": 0.3},
    )
    trainer = create_trainer(config=tree)
    result = trainer.train()
    assert result.best is not None and result.model_path is not None
    rows = tree["data"]["validation"]
    assert open_trainer(result.model_path).evaluate(rows)["eval_loss"] == result.metrics["eval_loss"]
    # The merged weights are those of the best evaluation, up to the rounding of the merge.
    assert result.metrics["eval_loss"] == pytest.approx(result.best.value, abs=1e-4)


def test_a_checkpoint_names_its_files(tiny_config: Make, tmp_path: Path) -> None:
    cut(tiny_config(plugins=LORA), 11)
    place = tmp_path / "run/fits/fit/checkpoints/step-00000011"
    found = checkpoints.verify(place)
    assert {"model.safetensors", "training.safetensors", "optimizer.safetensors"} <= found.files.keys()
    assert "lora" in json.loads((place / "manifest.json").read_text())["facts"]["plugins"]
    cut({**tiny_config(), "environment": {"output_dir": str(tmp_path / "plain")}}, 11)
    plain = tmp_path / "plain/fits/fit/checkpoints/step-00000011"
    assert "training.safetensors" not in checkpoints.verify(plain).files
