"""Copies and pickles of a configuration, and of a trainer, of which there are none."""

from __future__ import annotations

import copy
import pickle
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import stepbus_plugins.nan_guard as guards
from stepbus import BadInput, BaseTrainer, Metric, Trainer, create_trainer, get_trainer_config, load_config

WAYS: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{f"pickle {n}": lambda it, n=n: pickle.loads(pickle.dumps(it, n)) for n in (0, 2, pickle.HIGHEST_PROTOCOL)},
}


class Rows(Metric):
    """How many rows there are."""

    def __init__(self, more: int = 0) -> None:
        self.more = more

    def update(self, predictions: Any, targets: Any) -> None:
        self.rows = len(targets) + self.more

    def compute(self) -> float:
        return self.rows


class Mine(Trainer):
    """A trainer of one's own."""


@pytest.fixture(params=["preset", "file", "plain"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "preset":
        return get_trainer_config("production")
    text = """\
        data: {train: rows.csv, batch_size: 4}
        plugins: {early_stopping: {patience: 2}, progress: false}
        optimizer: {learning_rate: 1e-5}
        training: {num_epochs: 3, save_steps: 5}
    """
    (tmp_path / "run.yaml").write_text(textwrap.dedent(text))
    config = load_config(tmp_path / "run.yaml" if request.param == "file" else {"training": {"num_epochs": 2}})
    return config.updated({"num_epochs": 7}, ["data.max_length=9"])


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_same_configuration(way: str, config: Any) -> None:
    """It ended in "cannot pickle 'module' object"."""
    found = WAYS[way](config)
    assert found is not config and type(found) is type(config)
    for name in ("tree", "base", "notes", "dropped", "training", "environment", "hooks"):
        assert getattr(found, name) == getattr(config, name)
    marks = ({path: mark for path, mark in each.marks.items() if "." in path} for each in (found, config))
    assert next(marks) == next(marks)  # the file and the line of each setting
    assert (found.digest(), found.resolved(), str(found)) == (config.digest(), config.resolved(), str(config))
    for name in ("early_stopping", "history"):
        assert found.names_plugin(name) == config.names_plugin(name)
    found.tree["training"]["num_epochs"] = 99
    assert config.tree["training"]["num_epochs"] != 99
    assert found.updated({"num_epochs": 5}).digest() == config.updated({"num_epochs": 5}).digest()


@pytest.mark.parametrize("way", WAYS)
def test_what_was_passed_in_python_goes_along(way: str) -> None:
    config = load_config(None, extra_plugins=[Rows, guards], keywords={"metrics": ["accuracy", Rows]})
    found = WAYS[way](config)
    assert found.extras == config.extras == (Rows, guards)
    assert [each.name for each in found.training.metrics] == ["accuracy", "rows"]
    made = Rows(3)
    (mine,) = WAYS[way](load_config(None, extra_plugins=[made])).extras
    assert mine is made if "copy" in way else (type(mine), mine.more) == (Rows, 3)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [create_trainer, Mine, BaseTrainer])
def test_a_trainer_says_what_to_do_instead(way: str, make: Any) -> None:
    trainer = make(config={"training": {"num_epochs": 2}})
    words = rf"^a {type(trainer).__name__} cannot be copied or pickled, .* trainer\.config, .* open_trainer\(PATH\)$"
    with pytest.raises(BadInput, match=words):
        WAYS[way](trainer)
    again = make(config=WAYS[way](trainer.config))
    assert again.config.digest() == trainer.config.digest()
