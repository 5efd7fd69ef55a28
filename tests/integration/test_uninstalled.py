"""Folders after a package went: what only watched is not missed, what prediction needs is named."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from stepbus import ModelError, create_trainer, open_trainer
from stepbus.cli.main import main
from stepbus.config.discovery import plugins
from stepbus.config.discovery.plugins import import_module

fakes = import_module(str(Path(__file__).parents[1] / "fixtures" / "distributions.py"))
TRACKER = """
from stepbus import Metric, hookimpl

class Tracker:
    '''Track.'''
    affects_result = False
    scope = "run"

    @hookimpl
    def on_message(self, run, text): ...

class Odd(Metric):
    def reset(self): ...
    def update(self, predictions, labels): ...
    def compute(self): return 0.5

class Brings:
    '''Track, and offer a metric that may be picked.'''
    components = [Odd.component("odd", greater_is_better=True)]

    @hookimpl
    def on_log(self): ...
"""
READER = """
from stepbus import Component
from stepbus_plugins.text_data import TextData

part = next(each for each in TextData.components if each.kind == "data")

class Reads:
    '''Offer rows, and want a tracker beside it.'''
    components = [Component("data", "mine", part.config, part.build)]

    @staticmethod
    def expand(settings): return {"plugins": {"tracker": {}}}
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which a tracker and a reader of rows are installed."""
    folder = tmp_path / "site"
    fakes.install(folder, "tracker-pack", TRACKER, {"tracker": "Tracker", "brings": "Brings"})
    fakes.install(folder, "reader-pack", READER, {"reads": "Reads"})
    monkeypatch.syspath_prepend(str(folder))
    plugins.entries.cache_clear()
    yield folder
    for name in ("tracker_pack", "reader_pack"):
        sys.modules.pop(name, None)
    plugins.entries.cache_clear()


def uninstall(folder: Path) -> None:
    """Take the tracker's package away."""
    (folder / "tracker_pack.py").unlink()
    shutil.rmtree(folder / "tracker_pack-1.0.dist-info")
    sys.modules.pop("tracker_pack", None)
    plugins.entries.cache_clear()


@pytest.mark.parametrize(
    "sections",
    [
        {"plugins": {"tracker": {}}},
        {"plugins": {"tracker": {}, "brings": {}}},
        {"plugins": {"reads": {}}, "data": {"type": "mine"}},
    ],
    ids=["a watcher", "one with a metric that nobody picked", "one that another plugin switched on"],
)
def test_every_way_of_opening_does_without_what_only_watched(
    sections: dict[str, Any],
    packages: Path,
    tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tree = tiny_config(training={"num_epochs": 1}, **sections)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    dev = tree["data"]["validation"]
    trainer = create_trainer(config=tmp_path / "run.yaml")
    result = trainer.train()
    expected, scores = trainer.predict(dev), trainer.evaluate(dev)
    uninstall(packages)
    newest = sorted((result.directory / "fits" / "fit" / "checkpoints").glob("step-*"))[-1]
    for folder in (result.directory, result.directory / "model", newest):
        opened = open_trainer(folder)
        assert np.array_equal(opened.predict(dev), expected)
        assert opened.evaluate(dev) == scores
        assert main(["evaluate", str(folder), dev, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == pytest.approx(scores)
        assert main(["predict", str(folder), dev, "--output", str(tmp_path / "out.csv")]) == 0
        capsys.readouterr()


def test_a_killed_run_goes_on_without_its_tracker(
    packages: Path,
    tiny_config: Callable[..., dict[str, Any]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tree = tiny_config(training={"num_epochs": 1}, plugins={"tracker": {}})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    folder = create_trainer(config=tmp_path / "run.yaml").train().directory
    (folder / "fits" / "fit" / "result.json").unlink()
    uninstall(packages)
    again = ["train", str(tmp_path / "run.yaml"), "--resume"]
    assert main(again) == 2
    said = capsys.readouterr().err
    assert "run.yaml:25: plugins.tracker: no installed plugin is called 'tracker'" in said
    assert "plugins: {tracker: false} does without it" in said
    assert main([*again, "--set", "plugins.tracker=false"]) == 0
    assert (folder / "fits" / "fit" / "result.json").exists()


def test_what_prediction_needs_is_named(packages: Path, tiny_config: Callable[..., dict[str, Any]]) -> None:
    plain = tiny_config(training={"num_epochs": 1, "metrics": ["odd"]}, plugins={"brings": {}})
    folder = create_trainer(config=plain).train().directory
    uninstall(packages)
    with pytest.raises(ModelError, match=r"plugins\.brings: expected an installed plugin, since the model has a part"):
        open_trainer(folder)
