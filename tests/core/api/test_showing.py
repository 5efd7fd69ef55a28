"""What a trainer shows of itself, in every state; nothing raises."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.nn as nn
import pandas as pd
import pytest

from stepbus import BadInput, PluginFailure, Trainer, create_model, create_trainer, hookimpl, open_trainer
from stepbus.base.errors import Interrupted

MODEL = "bert (from scratch), 2 layers of 16, pooling mean, binary head of 2 outputs, 7,538 parameters"
NAMES = ["model", "trained", "settings", "folder", "next"]


class At5:
    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action

    @hookimpl
    def on_step_end(self, state: Any) -> None:
        if state.step == 5:
            self.action()


def fail() -> None:
    raise RuntimeError("on purpose")


def lines(trainer: Trainer) -> dict[str, str]:
    found = str(trainer).splitlines()
    assert [line[:8].rstrip() for line in found] == NAMES
    assert re.findall(r"<th[^>]*>(\w+)</th>", trainer._repr_html_()) == NAMES
    shown = {line[:8].rstrip(): line[10:] for line in found}
    assert repr(trainer) == f"<Trainer of {shown['model']}; trained: {shown['trained']}>"
    return shown


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("here")
def test_before_and_after_training(tiny_config: Callable[..., dict[str, Any]]) -> None:
    trainer = create_trainer(config=tiny_config(), max_steps=5)
    found = lines(trainer)
    assert found["settings"].startswith("data.train ")
    assert "data.text text, data.label label" in found["settings"]
    del found["settings"]
    assert found == {
        "model": "bert, made when training begins",
        "trained": "not yet",
        "folder": "run",
        "next": "trainer.train(rows)",
    }
    trainer.train()
    found = lines(trainer)
    assert found["model"] == MODEL
    assert (found["trained"], found["folder"]) == ("ok, 5 of 5 steps", "run")
    assert found["next"] == "trainer.predict(rows)"
    trainer.load_checkpoint(trainer.save_checkpoint("mine"))
    assert re.fullmatch(r"ok, 5 of 5 steps; weights of a checkpoint: mine/step-\d+", lines(trainer)["trained"])
    found = lines(open_trainer("run"))
    assert found["trained"] == "opened as it was trained"
    assert re.fullmatch(re.escape(MODEL).replace("from\\ scratch", ".*run/fits/fit/model"), found["model"])


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (fail, PluginFailure, "the latest train failed, 5 of 22 steps done"),
        (lambda: signal.raise_signal(signal.SIGINT), Interrupted, "interrupted, 5 of 22 steps done"),
    ],
)
def test_after_an_end_before_its_time(
    action: Callable[[], None], error: type[Exception], words: str, tiny_config: Callable[..., dict[str, Any]]
) -> None:
    trainer = create_trainer(config=tiny_config(), plugins=[At5(action)])
    with pytest.raises(error):
        trainer.train()
    found = lines(trainer)
    assert (found["model"], found["trained"], found["folder"]) == (MODEL, words, "run")
    assert found["settings"].endswith("; plugins At5")
    assert found["next"].startswith("trainer.train(…, resume=True)")


@pytest.mark.usefixtures("here")
def test_after_a_cross_validation(tiny_config: Callable[..., dict[str, Any]]) -> None:
    folds = {"progress": False, "cross_validation": {"folds": 2}}
    trainer = create_trainer(config=tiny_config(plugins=folds, data={"validation": None}), max_steps=2)
    trainer.train()
    for each in (trainer, open_trainer("run")):
        assert lines(each)["model"] == "bert, 2 models of a run"
        assert lines(each)["trained"] == "2 fits: fold-1, fold-2"


def test_before_any_rows_are_right(tiny_config: Callable[..., dict[str, Any]]) -> None:
    trainer = create_trainer(config=tiny_config())
    with pytest.raises(BadInput):
        trainer.train(pd.DataFrame({"text": ["a"]}))
    assert lines(trainer)["trained"] == "not yet"


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)


class Broken(Own):
    def parameters(self) -> Any:
        raise ValueError("no <b>\nparameters")


def test_a_module_of_ones_own_and_a_broken_one() -> None:
    loss = nn.losses.cross_entropy
    assert lines(create_trainer(Own(), loss=loss))["model"] == "Own, 8 parameters"
    trainer = create_trainer(Broken(), loss=loss)
    assert lines(trainer)["model"] == "unknown (ValueError: no <b>\\nparameters)"
    assert "&lt;b&gt;" in trainer._repr_html_()


def test_a_model_says_what_it_is(tiny_config: Callable[..., dict[str, Any]]) -> None:
    section = {name: value for name, value in tiny_config()["model"].items() if name != "type"}
    model = create_model("bert_with_head", head_type="regression", pooling="cls", **section)
    wanted = MODEL.replace("mean, binary head of 2 outputs, 7,538", "cls, regression head of 1 output, 7,793")
    assert repr(model) == str(model) == f"<Classifier {wanted}>"
    assert lines(create_trainer(model))["model"] == wanted
