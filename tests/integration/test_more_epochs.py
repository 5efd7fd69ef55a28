"""A finished run that is asked for more epochs or steps goes on; one with nothing to do says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stepbus import BadInput, CheckpointError, create_trainer, hookimpl, open_trainer
from stepbus.cli.main import main
from stepbus.storage.digests import unsealed

Tree = Callable[..., dict[str, Any]]


class Words:
    """Collect what is said, and how often a step was done; it may end the process before another checkpoint."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self.rates: list[float] = []
        self.falls_at: int | None = None

    @hookimpl
    def on_message(self, text: str) -> None:
        self.said.append(text)

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        self.steps.append(state.step)
        self.rates.append(state.learning_rate)
        if state.step == self.falls_at:
            raise KeyboardInterrupt


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
        "plugins": {"progress": False, "cross_validation": {"folds": 2}, "checkpoint": {"keep_finished": True}},
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
    mend = "for a stop stays; to go on from its weights, start a new run with model.pretrained: "
    model = first.model_path
    said = next(text for text in words.said if text.startswith("fit was stopped by early_stopping at step 22"))
    assert f"and does not train on to the 55 updates that are planned now, {mend}" in said
    status = str(again).splitlines()[0]
    assert status.startswith("status   stopped: early_stopping at step 22")
    assert f"; notice: does not train on to the 55 updates that are planned now, {mend}" in status
    assert again.model_path == model
    unchanged, words = train(tiny_config(plugins=plugins, training={"num_epochs": 3}), resume=True)
    assert unchanged.unmet == "" and not any("does not train on" in text for text in words.said)


def test_fewer_epochs_are_nothing_to_do(tiny_config: Tree) -> None:
    train(tiny_config())
    again, words = train(tiny_config(training={"num_epochs": 1}), resume=True, allow_changed=True)
    assert again.steps == 22 and words.steps == []


def test_without_a_checkpoint_the_mend_is_said(tiny_config: Tree) -> None:
    result, _ = train(tiny_config())
    for path in sorted((result.directory / "fits" / "fit" / "checkpoints").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    with pytest.raises(CheckpointError, match="expected a checkpoint to go on from, since 33 updates are planned"):
        train(tiny_config(training={"num_epochs": 3}), resume=True, allow_changed=True)


def test_the_command_line_does_the_same(tiny_config: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config(plugins={"progress": {}})))
    words = ["train", str(tmp_path / "run.yaml")]
    assert main(words) == 0
    assert main([*words, "--resume"]) == 0
    assert "fit is already done, after 22 updates" in capsys.readouterr().out
    more = [*words, "--resume", "--allow-changed", "--set", "training.num_epochs=3"]
    assert main(more) == 0
    assert "goes on to 33" in capsys.readouterr().out
    assert main([*words, "--resume", "--set", "training.num_epochs=3"]) == 0
    assert "fit is already done, after 33 updates" in capsys.readouterr().out


def described(directory: Path) -> tuple[list[int], dict[str, Any]]:
    """Return the epochs that the run file names, earlier ones first, and config.yaml; both fit their digests."""
    saved, echo = unsealed((directory / "run.json").read_bytes()), (directory / "config.yaml").read_bytes()
    assert saved["files"]["config.yaml"]["sha256"] == hashlib.sha256(echo).hexdigest()
    facts = [*saved.get("earlier", []), saved["facts"]]
    return [each["config"]["training"]["num_epochs"] for each in facts], yaml.safe_load(echo)


def test_the_run_is_what_it_was_trained_with_last(tiny_config: Tree) -> None:
    first, _ = train(tiny_config())
    number = json.loads((first.directory / "run.json").read_text())["id"]
    more = tiny_config(training={"num_epochs": 3})
    train(more, resume=True, allow_changed=True)
    epochs, echo = described(first.directory)
    assert (epochs, echo["training"]["num_epochs"]) == ([2, 3], 3)
    assert json.loads((first.directory / "run.json").read_text())["id"] == number
    again, words = train(more, resume=True)
    assert again.steps == 33 and words.steps == []
    with pytest.raises(CheckpointError, match=r"training\.num_epochs was 3, is 2"):
        train(tiny_config(), resume=True)
    train(tiny_config(training={"num_epochs": 4}), resume=True, allow_changed=True)
    assert described(first.directory)[0] == [2, 3, 4]


def test_what_had_nothing_to_do_changes_no_run(tiny_config: Tree) -> None:
    first, _ = train(tiny_config())
    before = [(first.directory / name).read_bytes() for name in ("run.json", "config.yaml")]
    train(tiny_config(training={"num_epochs": 1}), resume=True, allow_changed=True)
    assert [(first.directory / name).read_bytes() for name in ("run.json", "config.yaml")] == before


@pytest.mark.parametrize("folds", [1, 2])
def test_a_change_that_was_allowed_is_carried_to_its_end(folds: int, tiny_config: Tree) -> None:
    sections: dict[str, Any] = {}
    if folds > 1:
        kept = {"cross_validation": {"folds": folds}, "checkpoint": {"keep_finished": True}}
        sections = {"plugins": {"progress": False, **kept}, "data": {"validation": None}}
    per_epoch = 11 if folds == 1 else 6
    first, _ = train(tiny_config(**sections))
    assert first.steps == 2 * per_epoch * folds
    more = tiny_config(**sections, training={"num_epochs": 5})

    killed = Words()
    killed.falls_at = 2 * per_epoch + 2
    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=more, plugins=[killed]).train(resume=True, allow_changed=True)
    assert described(first.directory)[0] == [2, 5]
    second, words = train(more, resume=True)
    assert words.steps == [*range(2 * per_epoch + 1, 5 * per_epoch + 1)] * folds
    assert second.steps == 5 * per_epoch * folds
    _, words = train(more, resume=True)
    assert words.steps == []


class Killed(BaseException):
    """What nothing catches, in place of a kill."""


@pytest.mark.parametrize("before", ["write_bytes_atomically", "write_json_atomically"])
def test_a_kill_between_model_and_entry_goes_on(
    before: str, tiny_config: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny_config(training={"num_epochs": 3}, environment={"output_dir": str(tmp_path / "whole")})
    for tree in (tiny_config(), whole):
        train({**tree, "training": {**tree["training"], "num_epochs": 2}})
    once, _ = train(whole, resume=True, allow_changed=True)
    more = tiny_config(training={"num_epochs": 3})

    def killed(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(f"stepbus.run.ledger.{before}", killed)
        train(more, resume=True, allow_changed=True)
    again, _ = train(more, resume=True)
    assert again.steps == 33
    same = [path.joinpath("model.safetensors").read_bytes() for path in (again.model_path, once.model_path)]
    assert same[0] == same[1]


def test_folds_of_before_and_after_have_no_mean(tiny_config: Tree, tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "plugins": {"progress": False, "cross_validation": {"folds": 3}, "checkpoint": {"keep_finished": True}},
        "data": {"validation": None},
    }
    first, _ = train(tiny_config(**sections, training={"num_epochs": 1}))

    class FallsInTheSecond(Words):
        affects_result = False

        @hookimpl
        def on_step_end(self, trainer: Any, state: Any) -> None:
            if trainer.fit.name == "fold-2":
                raise KeyboardInterrupt

    more = tiny_config(**sections, training={"num_epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=more, plugins=[Words(), FallsInTheSecond()]).train(resume=True, allow_changed=True)
    with pytest.raises(BadInput, match=r"3 fits, and no model of fold-2, fold-3 yet"):
        open_trainer(first.directory)
    train(more, resume=True)
    assert len(open_trainer(first.directory).fits) == 3


def test_a_single_model_of_before_is_said(tiny_config: Tree, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = train(tiny_config())
    words = Words()
    words.falls_at = 25
    more = tiny_config(training={"num_epochs": 3})
    with pytest.raises(KeyboardInterrupt):
        create_trainer(config=more, plugins=[words]).train(resume=True, allow_changed=True)
    open_trainer(first.directory)
    assert "this run is not done, and its model may be from before it went on" in caplog.text
    caplog.clear()
    train(more, resume=True)
    open_trainer(first.directory)
    assert caplog.text == ""


def test_folds_of_other_rows_are_refused_before_the_rest_is_trained(tiny_config: Tree) -> None:
    def folded(seed: int) -> dict[str, Any]:
        plugins = {"progress": False, "cross_validation": {"folds": 3, "seed": seed}}
        return tiny_config(plugins=plugins, data={"validation": None}, training={"num_epochs": 1})

    first, _ = train(folded(1))
    shutil.rmtree(first.directory / "fits" / "fold-3")
    words = Words()
    with pytest.raises(CheckpointError, match="fold-1: fold-1 was done with other train rows than the plan gives"):
        create_trainer(config=folded(2), plugins=[words]).train(resume=True, allow_changed=True)
    assert words.steps == []
    again, _ = train(folded(1), resume=True)
    assert again.metrics == first.metrics
