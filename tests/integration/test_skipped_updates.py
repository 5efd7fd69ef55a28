"""The last word of a fit on updates that changed nothing: what it counts, where it stands, and of which fit it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlx.utils import tree_flatten

from stepbus import create_trainer, hookimpl, mx

Config = Callable[..., dict[str, Any]]
INF = float("inf")


class Skips:
    """Make the losses of some updates of each fit infinite; a linear rate tells which update it is.

    Args:
        at: Fit -> its updates, from 1.
    """

    def __init__(self, at: dict[str, list[int]]) -> None:
        self.at = at

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Any) -> Any:
        state, total, base = trainer.optimizer.state, trainer.state.total_steps, trainer.optimizer.learning_rate
        rates = [base * (1 - (number - 1) / total) for number in self.at.get(trainer.fit.name, [])]

        def odd(forward: Any, batch: Any) -> Any:
            rows, named = loss(forward, batch)
            for rate in rates:
                rows = mx.where(mx.abs(state["learning_rate"] - rate) < 1e-3 * base, mx.array(INF), rows)
            return rows, named

        return odd


class Words:
    """Keep what is said at the end of fits, and how urgent it is."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.first: list[tuple[str, str]] = []

    @hookimpl
    def on_message(self, text: str, level: str) -> None:
        if text.startswith("update ") and " changed nothing" in text:
            self.first.append((level, text))
        if " changed nothing, because a loss" in text:
            self.said.append((level, text))


def tree(tiny_config: Config, **sections: Any) -> dict[str, Any]:
    plugins = {"progress": False, "nan_guard": {"policy": "warn"}, **sections.pop("plugins", {})}
    return tiny_config(scheduler={"type": "linear"}, plugins=plugins, **sections)


def on_disk(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in folder.glob("fits/*/result.json"):
        saved = json.loads(path.read_text())
        found[path.parent.name] = saved["skipped"], saved["first_skipped"]
    return found


@pytest.mark.parametrize("at", [[1], [3], [11], [2, 3, 7], list(range(1, 12))])
def test_each_is_counted_once_and_the_first_is_named(at: list[int], tiny_config: Config, tmp_path: Path) -> None:
    words = Words()
    config = tree(tiny_config, training={"num_epochs": 1})
    result = create_trainer(config=config, plugins=[words, Skips({"fit": at})]).train()
    assert result.steps == 11
    assert (result.skipped, result.first_skipped) == (len(at), at[0])
    because = "because a loss, a gradient or a new weight was no finite number"
    said = f"{len(at)} of 11 updates changed nothing, {because}; the first at step {at[0]}"
    assert words.said == [("warning", said)]
    assert on_disk(tmp_path / "run") == {"fit": (len(at), at[0])}
    assert f"; {len(at)} of them changed nothing, the first at step {at[0]}" in str(result)


def test_each_fold_counts_its_own(tiny_config: Config, tmp_path: Path) -> None:
    words = Words()
    folds = {"cross_validation": {"folds": 3}}
    config = tree(tiny_config, plugins=folds, data={"validation": None}, training={"num_epochs": 2})
    at = {"fold-1": [2, 3, 5], "fold-3": [4]}
    result = create_trainer(config=config, plugins=[words, Skips(at)]).train()
    expected = {"fold-1": (3, 2), "fold-2": (0, 0), "fold-3": (1, 4)}
    assert {part.fit.name: (part.skipped, part.first_skipped) for part in result.parts} == expected
    assert on_disk(tmp_path / "run") == expected
    steps = {part.fit.name: part.steps for part in result.parts}
    assert [text.partition(", because")[0] for _, text in words.said] == [
        f"fold-1: 3 of {steps['fold-1']} updates changed nothing",
        f"fold-3: 1 of {steps['fold-3']} updates changed nothing",
    ]
    assert "; 4 of them changed nothing" in str(result)
    again = create_trainer(config=config, plugins=[Skips(at), Words()]).train(resume=True, allow_changed=True)
    assert {part.fit.name: (part.skipped, part.first_skipped) for part in again.parts} == expected


def test_a_second_training_counts_anew(tiny_config: Config) -> None:
    skips, words = Skips({"fit": [2]}), Words()
    trainer = create_trainer(config=tree(tiny_config, training={"num_epochs": 1}), plugins=[skips, words])
    assert [(trainer.train().skipped, skips.at.clear())[0] for _ in range(2)] == [1, 0]
    assert len(words.said) == 1


class Begins:
    """Begin with a loss scale that is too large by a factor of two."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        trainer.optimizer.state["loss_scale"] = mx.array(self.scale)


@pytest.mark.parametrize(("at", "level"), [([], "info"), ([33], "warning")])
def test_how_a_scale_is_found_is_no_warning_and_what_none_mends_is_one(
    at: list[int], level: str, tiny_config: Config
) -> None:
    words = Words()
    config = tree(tiny_config, training={"precision": "float16", "num_epochs": 6})
    result = create_trainer(config=config, plugins=[words, Begins(2.0**18), Skips({"fit": at})]).train()
    assert 1 < result.skipped <= result.steps // 10
    assert result.first_skipped == 1
    assert [each for each, _ in words.said] == [level]
    # Before that, the first one is told, and the first that no scale mends.
    first = [text.partition(" changed nothing, ")[0] for _, text in words.first]
    assert first == ["update 1", *[f"update {number}" for number in at]]
    assert [each for each, _ in words.first] == ["info", *["warning" for _ in at]]


class Ends:
    """Keep the weights of training at the ends of epochs."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    @hookimpl
    def on_epoch_end(self, trainer: Any) -> None:
        self.found.append({name: np.array(array) for name, array in tree_flatten(trainer.model.parameters())})


@pytest.mark.parametrize("at", [[2], [11], [22], [1, 5, 11, 12], list(range(12, 23))])
def test_the_mean_of_swa_is_that_of_the_ends_of_epochs_whatever_was_skipped(at: list[int], tiny_config: Config) -> None:
    """One skipped update moved the whole rhythm, so that the mean was one of other updates, or of none."""
    ends = Ends()
    config = tree(tiny_config, training={"num_epochs": 2}, plugins={"swa": {}}, optimizer={"learning_rate": 0.01})
    trainer = create_trainer(config=config, plugins=[ends, Skips({"fit": at})])
    assert trainer.train().skipped == len(at)
    first, second = ends.found
    for name, array in tree_flatten(trainer.model.parameters()):
        np.testing.assert_allclose(np.array(array), (first[name] + second[name]) / 2, rtol=0, atol=1e-7, err_msg=name)
    moved = any(abs(first[name] - second[name]).max() > 1e-3 for name in first)
    assert moved is (at != list(range(12, 23)))
