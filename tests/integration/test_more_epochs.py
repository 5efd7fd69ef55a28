"""A finished run that is asked for more epochs or steps goes on; one with nothing to do says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import CheckpointError, create_trainer, hookimpl, open_trainer
from stepbus.cli import main

Tree = Callable[..., dict[str, Any]]


class Words:
    """Collect what is said, and how often a step was done."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self.rates: list[float] = []

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.steps.append(state.step)
        self.rates.append(state.learning_rate)


def train(tree: dict[str, Any], **options: Any) -> tuple[Any, Words]:
    words = Words()
    return create_trainer(config=tree, plugins=[words]).train(**options), words


def test_more_epochs_go_on_under_the_new_schedule(tiny_config: Tree) -> None:
    first, _ = train(tiny_config(scheduler={"type": "linear"}))
    assert first.steps == 22
    more = tiny_config(scheduler={"type": "linear"}, training={"num_epochs": 3})
    with pytest.raises(CheckpointError, match=r"training\.num_epochs was 2, is 3"):
        train(more, resume=True)
    second, words = train(more, resume=True, allow_changed=True)
    assert words.steps == list(range(23, 34))
    # 3e-3 (1 - step / 33): the schedule of 33 updates, from where it would be by now.
    np.testing.assert_allclose(words.rates, [3e-3 * (33 - step) / 33 for step in range(22, 33)], rtol=1e-6)
    assert second.steps == 33 and second.status == "ok"
    assert "fit was done after 22 updates, and goes on to 33" in words.said
    opened = open_trainer(second.model_path)
    assert opened.evaluate(more["data"]["validation"])["eval_loss"] == pytest.approx(second.metrics["eval_loss"])

    third, words = train(more, resume=True, allow_changed=True)
    assert words.steps == [] and third.steps == 33
    assert any(text.startswith("fit is already done, after 33 updates: ") for text in words.said)


def test_it_equals_a_run_that_had_the_new_schedule_from_its_checkpoint_on(tiny_config: Tree, tmp_path: Path) -> None:
    constant = {"scheduler": {"type": "constant"}}  # whose rate is the same however long the run
    train(tiny_config(**constant))
    longer, _ = train(tiny_config(**constant, training={"num_epochs": 4}), resume=True, allow_changed=True)
    whole = tiny_config(**constant, training={"num_epochs": 4}, environment={"output_dir": str(tmp_path / "whole")})
    once, _ = train(whole)
    assert longer.metrics == once.metrics
    same = [path.joinpath("model.safetensors").read_bytes() for path in (longer.model_path, once.model_path)]
    assert same[0] == same[1]


def test_every_fold_goes_on(tiny_config: Tree) -> None:
    sections: dict[str, Any] = {
        "plugins": {"progress": False, "cross_validation": {"folds": 2}},
        "data": {"validation": None},
    }
    first, _ = train(tiny_config(**sections, training={"num_epochs": 1}))
    second, words = train(tiny_config(**sections, training={"num_epochs": 2}), resume=True, allow_changed=True)
    assert (first.steps, second.steps) == (12, 24)
    assert words.steps == [*range(7, 13), *range(7, 13)]


def test_a_fit_that_was_stopped_does_not_train_on(tiny_config: Tree) -> None:
    plugins = {"progress": False, "early_stopping": {"patience": 1, "min_delta": 100.0}}
    first, _ = train(tiny_config(plugins=plugins, training={"num_epochs": 3}))
    assert first.status == "stopped"
    again, words = train(tiny_config(plugins=plugins, training={"num_epochs": 5}), resume=True, allow_changed=True)
    assert again.steps == first.steps and words.steps == []
    assert any("was stopped, and does not train on: early_stopping at step 22" in text for text in words.said)


def test_fewer_epochs_are_nothing_to_do(tiny_config: Tree) -> None:
    train(tiny_config())
    again, words = train(tiny_config(training={"num_epochs": 1}), resume=True, allow_changed=True)
    assert again.steps == 22 and words.steps == []


def test_without_a_checkpoint_the_mend_is_said(tiny_config: Tree) -> None:
    result, _ = train(tiny_config())
    for path in sorted((result.directory / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match="expected a checkpoint to go on from, since 33 updates are planned"):
        train(tiny_config(training={"num_epochs": 3}), resume=True, allow_changed=True)


def test_the_command_line_does_the_same(tiny_config: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import yaml

    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config(plugins={"progress": {}})))
    words = ["train", str(tmp_path / "run.yaml")]
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    assert "fit is already done, after 22 updates" in capsys.readouterr().out
    more = [*words, "--resume", "--allow-changed", "--set", "training.num_epochs=3"]
    assert main(more) == 0
    assert "goes on to 33" in capsys.readouterr().out
