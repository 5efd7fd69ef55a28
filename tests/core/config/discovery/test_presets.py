"""Presets: those in configs/, and those that packages offer, found without importing anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from stepbus.base.errors import ConfigError
from stepbus.config.discovery import plugins, presets
from stepbus.config.discovery.plugins import Entry, import_module
from stepbus.config.discovery.presets import (
    configs_folder,
    hidden_presets,
    preset_names,
    preset_path,
    preset_summary,
    read_preset,
)
from stepbus.config.load import load_config
from stepbus.config.suggestions import aliases

fakes = import_module(str(Path(__file__).parents[3] / "fixtures" / "fake_plugins.py"))


def test_the_named_presets_are_there_and_say_what_they_are_for() -> None:
    names = preset_names()
    assert {"quick_test", "development", "production"} <= set(names)
    assert not {"defaults", "aliases"} & set(names)
    for name in names:
        assert len(preset_summary(name)) > 20, name


@pytest.mark.parametrize("name", ["quick_test", "development", "production"])
def test_a_preset_is_a_whole_configuration(name: str) -> None:
    config = load_config(name, loader=fakes.Loader())
    assert config.base == configs_folder()
    assert read_preset(name).mark.file == str(preset_path(name))


def test_production_builds_on_development() -> None:
    config = load_config("production", loader=fakes.Loader())
    assert (config.optimizer.settings.learning_rate, config.optimizer.settings.weight_decay) == (2e-5, 0.01)
    assert (config.scheduler.name, config.scheduler.settings.warmup_ratio) == ("cosine", 0.1)
    assert config.training.num_epochs == 10
    assert config.plugins[-1].name == "early_stopping"


def test_an_unknown_preset_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"got 'prodction' \(did you mean 'production'\?\); presets: development"):
        preset_path("prodction")


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """A package with presets, whose import would fail."""
    folder = tmp_path / "kaggle_pack" / "recipes"
    folder.mkdir(parents=True)
    for module in (folder.parent / "__init__.py", folder / "__init__.py"):
        module.write_text("raise RuntimeError('imported')\n")
    (folder / "titanic.yaml").write_text("# Titanic, five folds.\ndata: {batch_size: 16}\n")
    monkeypatch.syspath_prepend(tmp_path)
    entries = [Entry("titanic", "kaggle_pack.recipes", "kaggle-pack", "1.0")]
    monkeypatch.setattr(plugins, "entries", lambda group: tuple(entries) if group == presets.GROUP else ())
    return entries


def test_a_package_offers_presets_and_is_not_imported(offered: list[Entry]) -> None:
    assert "titanic" in preset_names()
    assert preset_summary("titanic") == "Titanic, five folds."
    assert load_config("titanic", loader=fakes.Loader()).data.settings.batch_size == 16
    assert load_config({"extends": "titanic"}, loader=fakes.Loader()).data.settings.batch_size == 16
    assert "kaggle_pack" not in sys.modules


def test_presets_that_cannot_be_had(offered: list[Entry]) -> None:
    offered.append(Entry("house_prices", "kaggle_pack.recipes", "kaggle-pack", "1.0"))
    offered.append(Entry("absent", "no_such_package.recipes", "kaggle-pack", "1.0"))
    offered.append(Entry("twice", "kaggle_pack.recipes", "kaggle-pack", "1.0"))
    offered.append(Entry("twice", "other_pack.recipes", "other-pack", "1.0"))
    for name, message in {
        "house_prices": r"has no file house_prices\.yaml beside its module",
        "absent": r"has no file absent\.yaml",
        "twice": r"two packages offer the preset 'twice': kaggle-pack \(kaggle_pack\.recipes\), other-pack ",
    }.items():
        with pytest.raises(ConfigError, match=message):
            preset_path(name)


def test_a_preset_of_ours_is_ours_whoever_offers_its_name(offered: list[Entry]) -> None:
    offered.append(Entry("production", "kaggle_pack.recipes", "kaggle-pack", "1.0"))
    assert preset_path("production") == configs_folder() / "production.yaml"
    (said,) = hidden_presets()
    assert said == "the preset production of kaggle-pack 1.0 is hidden by the built-in one; it needs another name"


def test_every_alias_leads_to_a_setting_that_exists() -> None:
    config = load_config({"plugins": {"early_stopping": {}, "cross_validation": {}}})
    known = set(config.resolved()) | {f"plugins.{choice.name}" for choice in config.plugins}
    for section, values in config.resolved().items():
        if isinstance(values, dict):
            known |= {f"{section}.{key}" for key in values}
    for plugin, values in config.resolved()["plugins"].items():
        known |= {f"plugins.{plugin}.{key}" for key in values}
    assert {".".join(map(str, path)) for path in aliases().values() if path} <= known
