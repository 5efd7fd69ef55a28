"""What every plugin keeps, held over all that are installed with stepbus."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import attrs
import pytest

from stepbus import Component, load_config
from stepbus.bus import hooks_of
from stepbus.members import make, prototypes
from stepbus.plugins import LoadedPlugin, installed, load_class

NAMES = [name for name, plugin in installed().items() if plugin.distribution == "stepbus"]


@pytest.fixture(params=NAMES)
def loaded(request: pytest.FixtureRequest) -> LoadedPlugin:
    return load_class(request.param)


def default(loaded: LoadedPlugin) -> Any:
    return make(loaded.cls, loaded.config_class() if loaded.config_class else None)


def test_there_are_the_plugins_of_the_index() -> None:
    assert len(NAMES) == 14


def test_it_has_hooks_or_components(loaded: LoadedPlugin) -> None:
    assert hooks_of(default(loaded), loaded.label, loaded.scope) or loaded.components


def test_its_settings_are_frozen_and_say_what_they_mean(loaded: LoadedPlugin) -> None:
    classes = [loaded.config_class, *(part.config for part in loaded.components)]
    for cls in filter(None, classes):
        for field in attrs.fields(cls):
            assert field.metadata.get("meaning"), f"{cls.__qualname__}.{field.name}"
            assert field.kw_only
        assert cls.__setattr__ is not object.__setattr__, f"{cls.__qualname__} is not frozen"


def test_its_components_are_of_kinds_that_core_knows(loaded: LoadedPlugin) -> None:
    for part in loaded.components:
        assert isinstance(part, Component)
        assert part.kind in {"model", "head", "pooling", "optimizer", "scheduler", "metric", "data"}


def test_its_state_survives_json(loaded: LoadedPlugin) -> None:
    plugin, other = default(loaded), default(loaded)
    if not hasattr(plugin, "state_dict"):
        assert not hasattr(plugin, "load_state_dict")
        return
    saved = plugin.state_dict()
    assert json.loads(json.dumps(saved)) == saved
    other.load_state_dict(saved)
    assert other.state_dict() == saved


def test_building_it_touches_no_file(loaded: LoadedPlugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    default(loaded)
    assert list(tmp_path.iterdir()) == []


def test_its_methods_take_no_more_than_their_hooks_give(loaded: LoadedPlugin) -> None:
    for name, function in hooks_of(default(loaded), loaded.label, loaded.scope).items():
        assert not [p for p in inspect.signature(function).parameters.values() if p.default is not p.empty], name


def test_the_defaults_can_all_be_built_together(tiny_config: Any) -> None:
    members = prototypes(load_config(tiny_config(plugins={"progress": {}})))
    assert [member.name for member in members][:2] == ["bert", "heads"]
