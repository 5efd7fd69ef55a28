"""What every plugin keeps, held over all that are installed with stepbus; a new one is found by itself."""

from __future__ import annotations

import math
from typing import Any

import attrs
import pandas as pd
import pytest

from stepbus import DataSettings, Rows, load_config
from stepbus.config.discovery.plugins import LoadedPlugin, installed, load_class
from stepbus.fit.members import prototypes
from stepbus.testing import assert_conforms, play
from stepbus.testing.conformance import SCRIPT
from stepbus.text.rows.table import read_rows

NAMES = [name for name, plugin in installed().items() if plugin.distribution == "stepbus"]


def reviews() -> Rows:
    """Return labelled rows, for a plugin that deals rows out."""
    rows = pd.DataFrame({"text": [f"review {row}" for row in range(18)], "label": [row % 2 for row in range(18)]})
    return read_rows(rows, name="train", config=DataSettings())


# What single plugins need beside the usual script, or show themselves better with.
MORE: dict[str, list[dict[str, Any]]] = {
    "adversarial_training": [{}, {"settings": {"mode": "awp", "from_epoch": 2}}],
    "checkpoint": [
        {},
        {"settings": {"save_strategy": "steps", "save_steps": 3}},
        {"settings": {"save_strategy": "best", "at_start": False}},
        {"settings": {"save_strategy": "no"}},
    ],
    "cross_validation": [
        {"settings": {"folds": 2}, "sets": {"train": reviews()}, "epochs": 1},
        {"settings": {"folds": 2, "inner_validation": 0.3}, "sets": {"train": reviews()}, "epochs": 1},
    ],
    "early_stopping": [{}, {"settings": {"patience": 1, "monitor": "eval_accuracy", "restore_best": False}}],
    "freeze": [
        {"settings": {"embeddings": True, "layers": 1}},
        {"settings": {"gradual": True}},
        {"settings": {"patterns": ["*.embeddings.*"], "unfreeze_every": 3, "unfreeze_by": "updates"}},
    ],
    "nan_guard": [
        {"settings": {"policy": policy, "patience": 2}, "losses": [1.0, math.nan, 0.9, math.nan, math.nan]}
        for policy in ("stop", "warn")
    ],
}
CASES = [(name, more) for name in NAMES for more in MORE.get(name, [{}])]


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest) -> LoadedPlugin:
    return load_class(request.param)


def test_there_are_the_plugins_of_the_index() -> None:
    assert len(NAMES) == 31


@pytest.mark.parametrize(("name", "more"), CASES, ids=[f"{name}-{MORE.get(name, [{}]).index(m)}" for name, m in CASES])
def test_it_keeps_what_every_plugin_keeps(name: str, more: dict[str, Any]) -> None:
    assert_conforms(load_class(name).cls, **more)


def test_its_settings_say_what_they_mean(loaded: LoadedPlugin) -> None:
    classes = [loaded.config_class, *(part.config for part in loaded.components)]
    for cls in filter(None, classes):
        for field in attrs.fields(cls):
            assert field.metadata.get("meaning"), f"{cls.__qualname__}.{field.name}"
            assert field.kw_only


def test_its_components_are_of_kinds_that_core_knows(loaded: LoadedPlugin) -> None:
    for part in loaded.components:
        assert part.kind in {"model", "head", "pooling", "loss", "optimizer", "scheduler", "metric", "data", "reader"}


def test_the_usual_script_lets_plugins_act() -> None:
    """A script in which nothing happens would let every plugin conform."""
    stopping = play(load_class("early_stopping").cls, **SCRIPT)
    assert stopping.stopped_by.startswith("early_stopping at step 10: eval_loss has not improved for 3 evaluations")
    assert len(play(load_class("checkpoint").cls, **SCRIPT).checkpoints) > 3
    listening = load_class("schedules").cls
    [plateau] = [part for part in listening.components if part.name == "reduce_on_plateau"]
    parts = {"scheduler.reduce_on_plateau": lambda: plateau.build(plateau.config(patience=1))}
    played = play(listening, parts=parts, **SCRIPT)
    assert played.trainer.optimizer.learning_rate < played.trainer.config.optimizer.settings.learning_rate


def test_the_defaults_can_all_be_built_together(tiny_config: Any) -> None:
    members = prototypes(load_config(tiny_config(plugins={"progress": {}})))
    assert [member.name for member in members][:2] == ["bert", "heads"]
