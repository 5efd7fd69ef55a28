"""Classes of installed packages that were passed in Python: what they trained opens by itself, or says what works."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import ModelError, create_trainer, open_run, open_trainer
from stepbus.cli.main import main
from stepbus.config.discovery import plugins
from stepbus.config.discovery.plugins import import_module

fakes = import_module(str(Path(__file__).parents[1] / "fixtures" / "distributions.py"))
CODE = """
from attrs import define
from stepbus import Component, mx
import mlx.nn as nn

class Scaled(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.scale = mx.ones((width,))

    def __call__(self, hidden, mask):
        return hidden[:, 0] * self.scale

@define(frozen=True, kw_only=True)
class Settings:
    pass

class Mixes:
    '''Offer a pooling.'''
    components = [Component("pooling", "mixed", Settings, lambda settings, width: Scaled(width))]
"""
Make = Callable[..., dict[str, Any]]


@pytest.fixture
def mixes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class that an installed package offers as `scalar_mix_b`."""
    fakes.install(tmp_path / "site", "mix-pack", CODE, {"scalar_mix_b": "Mixes"})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    plugins.entries.cache_clear()
    yield importlib.import_module("mix_pack").Mixes
    sys.modules.pop("mix_pack", None)
    plugins.entries.cache_clear()


def trained(mixes: Any, tiny_config: Make) -> tuple[Path, Any, str]:
    tree = tiny_config(training={"num_epochs": 1})
    trainer = create_trainer(config=tree, plugins=[mixes], model={**tree["model"], "pooling": "mixed"})
    result = trainer.train()
    dev = tree["data"]["validation"]
    return result.directory, trainer.predict(dev), dev


def test_it_opens_with_and_without_the_class(mixes: Any, tiny_config: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder, expected, dev = trained(mixes, tiny_config)
    for opened in (
        open_trainer(folder),
        open_trainer(folder, plugins=[mixes]),
        open_run(folder),
        open_run(folder, plugins=[mixes]),
    ):
        assert np.array_equal(opened.predict(dev), expected)
    assert main(["evaluate", str(folder), dev, "--json"]) == 0
    assert "eval_loss" in json.loads(capsys.readouterr().out)


def test_what_an_object_offered_says_what_works(mixes: Any, tiny_config: Make) -> None:
    folder, expected, dev = trained(mixes(), tiny_config)
    with pytest.raises(ModelError, match=r"open_trainer\(PATH, plugins=\[Mixes\]\)") as raised:
        open_trainer(folder / "model")
    assert "plugins: {" not in str(raised.value)
    assert np.array_equal(open_trainer(folder / "model", plugins=[mixes]).predict(dev), expected)
