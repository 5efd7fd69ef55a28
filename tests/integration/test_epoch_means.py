"""The mean over an epoch's rows, of the loss and of each part of it: in the result, its frame and the files."""

from __future__ import annotations

import csv
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus import ConfigError, Trainer, create_trainer, hookimpl, load_config

NAMES = ("train_loss", "train_rdrop_kl")


class Steps:
    """Notes each update's numbers."""

    affects_result = False

    def __init__(self) -> None:
        self.found: list[Any] = []

    @hookimpl
    def on_step_end(self, step: Any) -> None:
        self.found.append((step.weight, step.loss, step.scalars["rdrop_kl"]))


class Falls:
    """Ends the process's work after an update, as Ctrl-C does."""

    affects_result = False

    def __init__(self, step: int) -> None:
        self.step = step

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step == self.step:
            raise KeyboardInterrupt


def lines(result: Any) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (result.directory / "fits/fit/history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "timing"} for line in found]


@pytest.fixture
def tree(tiny_config: Any, review_files: Any) -> Any:
    """44 weighted rows in batches of 8, two of them an update: three updates of unequal weight in an epoch."""
    for file in review_files.values():
        frame = pd.read_csv(file)
        frame.assign(w=np.array([0.25, 2.0, 1.5])[np.arange(len(frame)) % 3]).to_csv(file, index=False)

    def make(**training: Any) -> dict[str, Any]:
        made: dict[str, Any] = tiny_config(
            data={"batch_size": 8, "weight": "w"},
            training={"num_epochs": 2, "gradient_accumulation_steps": 2, "log_steps": 50, **training},
            plugins={"progress": False, "rdrop": {}, "checkpoint": {"save_steps": 1, "save_strategy": "steps"}},
        )
        return made

    return make


def without_validation(tree: dict[str, Any]) -> dict[str, Any]:
    return tree | {"data": {name: value for name, value in tree["data"].items() if name != "validation"}}


@pytest.mark.parametrize("validation", [True, False])
def test_each_epoch_has_its_own(validation: bool, tree: Any) -> None:
    """They were in the metrics of the last epoch, and in the history beside an evaluation only."""
    steps = Steps()
    result = create_trainer(config=tree() if validation else without_validation(tree()), plugins=[steps]).train()
    assert result.steps == 6 and len({weight for weight, *_ in steps.found}) > 1
    expected = [
        [np.average([each[at] for each in part], weights=[each[0] for each in part]) for at in (1, 2)]
        for part in (steps.found[:3], steps.found[3:])
    ]
    assert [(record["step"], record["epoch"]) for record in result.epoch_means] == [(3, 1.0), (6, 2.0)]
    told = [[record[name] for name in NAMES] for record in result.epoch_means]
    assert told == pytest.approx(np.array(expected), rel=1e-12)
    frame = result.frame().set_index("step").loc[[3, 6], [*NAMES]]
    assert frame.to_numpy().tolist() == told
    written = [line for line in lines(result) if line["kind"] == "epoch"]
    assert [[line[name] for name in NAMES] for line in written] == told
    assert [(line["step"], line["epoch"]) for line in written] == [(3, 1.0), (6, 2.0)]
    with (result.directory / "fits/fit/history.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "epoch"]
    assert [[float(row[name]) for name in NAMES] for row in rows] == told
    assert [result.metrics[name] for name in NAMES] == told[-1]


def test_the_part_of_an_epoch_that_a_fit_ends_in_is_told_too(tree: Any) -> None:
    steps = Steps()
    result = create_trainer(config=without_validation(tree(max_steps=5)), plugins=[steps]).train()
    expected = np.average([each[1] for each in steps.found[3:]], weights=[each[0] for each in steps.found[3:]])
    assert [record["step"] for record in result.epoch_means] == [3, 5]
    assert result.epoch_means[-1]["train_loss"] == pytest.approx(expected, rel=1e-12)
    assert lines(result)[-1]["train_loss"] == result.metrics["train_loss"] == result.epoch_means[-1]["train_loss"]
    again = create_trainer(config=without_validation(tree(max_steps=5)), plugins=[Steps()]).train(resume=True)
    assert again.epoch_means == result.epoch_means


@pytest.mark.parametrize("cut", [2, 5])
def test_a_resume_in_an_epoch_gives_the_same_bits(cut: int, tree: Any, tmp_path: Any) -> None:
    whole = Trainer(load_config(without_validation(tree()))).train()
    config = without_validation(tree()) | {"environment": {"output_dir": str(tmp_path / "cut")}}
    with pytest.raises(KeyboardInterrupt):
        Trainer(load_config(config), plugins=[Falls(cut)]).train()
    resumed = Trainer(load_config(config)).train(resume=True, allow_changed=True)
    assert 0 < resumed.resumed_at < 6
    assert resumed.epoch_means == whole.epoch_means and lines(resumed) == lines(whole)
    pd.testing.assert_frame_equal(resumed.frame(), whole.frame(), check_exact=True)


@pytest.mark.parametrize(
    ("watching", "path"),
    [
        ({"training": {"monitor": "train_loss"}}, "training.monitor"),
        ({"plugins": {"early_stopping": {"monitor": "train_loss", "restore_best": False}}}, "plugins.early_stopping.m"),
        ({"scheduler": {"type": "reduce_on_plateau", "monitor": "train_loss"}}, "scheduler.monitor"),
    ],
)
@pytest.mark.parametrize("every", [4, 11, 22])
def test_means_of_parts_of_epochs_are_nothing_to_choose_by(
    watching: dict[str, Any], path: str, every: int, tiny_config: Any
) -> None:
    """The mean of two batches after ten fell behind that of ten: a fit that went well was stopped."""
    steps = {"eval_strategy": "steps", "eval_steps": every, "num_epochs": 2}
    tree = tiny_config(**{**watching, "training": {**steps, **watching.get("training", {})}})
    if every % 11 == 0:  # at the ends of epochs it is the mean of a whole one
        assert create_trainer(config=tree).train().status == "ok"
        return
    with pytest.raises(
        ConfigError, match=rf"{path}.* got 'train_loss': within an epoch it is the mean of the rows so far"
    ):
        create_trainer(config=tree).train()
