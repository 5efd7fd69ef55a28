"""`plugins show`: a plugin as plain data, and a YAML block that loads."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest
import yaml

from stepbus.author.declaring import declared
from stepbus.author.description import describe, render_description
from stepbus.base.trees.python_tree import plain
from stepbus.cli.main import main
from stepbus.config.discovery.plugins import import_module, installed, load_class
from stepbus.config.load import load_config

fakes = import_module(str(Path(__file__).parents[2] / "fixtures" / "fake_plugins.py"))
distributions = import_module(str(Path(__file__).parents[2] / "fixtures" / "distributions.py"))
NAMES = [name for name, plugin in installed().items() if plugin.distribution == "stepbus"]


def test_settings_have_type_default_and_meaning() -> None:
    patience, _, monitor, _ = describe(load_class("early_stopping"))["settings"]
    assert patience == {
        "name": "patience",
        "type": "int",
        "required": False,
        "default": 3,
        "meaning": "evaluations in a row without improvement before the stop",
        "expected": "a whole number of at least 1",
    }
    assert (monitor["type"], monitor["default"]) == ("text or null", None)


def test_hooks_come_in_the_order_of_the_code_with_their_arguments() -> None:
    assert describe(load_class("early_stopping"))["hooks"] == [
        {"name": "validate_plan", "arguments": ["plan"]},
        {"name": "on_fit_start", "arguments": ["trainer", "state"]},
        {"name": "on_epoch_end", "arguments": ["trainer", "state"]},
        {"name": "on_metrics", "arguments": ["trainer", "state", "metrics"]},
    ]


def test_components_have_settings_of_their_own() -> None:
    components = {part["name"]: part for part in describe(load_class("optimizers"))["components"]}
    assert components["sgd"]["kind"] == "optimizer"
    assert "momentum" in [each["name"] for each in components["sgd"]["settings"]]
    assert components["sgd"]["purpose"].startswith("Gradient descent with momentum")
    heads = describe(load_class("heads"))["components"]
    assert {part["purpose"] for part in heads if part["name"] != "ordinal"} == {""}, (
        "a class that all share says nothing of one"
    )


def test_components_say_which_tasks_they_are_for() -> None:
    text = render_description(describe(load_class("metrics")))
    for line in (
        "metric accuracy, for binary, multiclass and multilabel (unasked)",
        "metric f1, for binary, multiclass and multilabel (unasked for binary)",
        "metric mcc, for binary and multiclass: A metric of decisions where each row has one class.",
        "metric rmse, for regression (unasked)",
        "metric pearson, for regression",
    ):
        assert f"\n  {line}\n" in f"{text}\n"
    (kappa,) = [part for part in describe(load_class("metrics"))["components"] if part["name"] == "quadratic_kappa"]
    assert (kappa["tasks"], kappa["unasked"]) == (["multiclass"], [])
    text = render_description(describe(load_class("losses"))) + render_description(describe(load_class("heads")))
    assert "  loss auto, for any task: The head's own" in text
    assert "  loss bce, for multilabel: " in text and "  head regression, for regression\n" in text
    assert "  head auto\n" in text


def test_required_nested_and_component_settings() -> None:
    loaded = fakes.Loader().load_class("picky")
    found = {each["name"]: each for each in describe(loaded)["settings"]}
    assert found["target"]["required"]
    assert found["inner.size"]["required"]
    assert found["inner.names"]["default"] == []
    assert found["pair"]["default"] == [1, 1.0]
    assert found["score"]["type"] == "metric by name"
    assert "    target:         # must be given: what to aim at" in describe(loaded)["yaml"].splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_the_block_can_be_pasted(name: str, tmp_path: Path) -> None:
    file = tmp_path / "pasted.yaml"
    file.write_text(describe(load_class(name))["yaml"])
    config = load_config(file)
    chosen = next(choice for choice in config.plugins if choice.name == name)
    if chosen.settings is not None:
        assert chosen.settings == type(chosen.settings)()


@pytest.mark.parametrize("name", NAMES)
def test_a_description_is_json_and_text(name: str) -> None:
    description = describe(load_class(name))
    assert json.loads(json.dumps(description, allow_nan=False)) == description
    assert Path(description["file"]).is_file()
    text = render_description(description)
    assert text.startswith(f"{name} (stepbus ")
    assert description["yaml"].rstrip("\n") in text
    for each in description["settings"]:
        assert each["meaning"] in text


def test_odd_defaults_become_plain_values() -> None:
    @attrs.define
    class Inner:
        size: int = 3

    assert plain({"a": {3, 1}, "b": Path("x"), "c": float("inf"), "d": Inner(), "e": (1, None)}, finite=True) == {
        "a": [1, 3],
        "b": "x",
        "c": ".inf",
        "d": {"size": 3},
        "e": [1, None],
    }


def test_settings_that_cannot_be_understood_do_no_harm() -> None:
    class NoAttrs:
        every = 3

    @attrs.define
    class Unknown:
        every: "NoSuchName" = 3  # type: ignore[name-defined]  # noqa: F821, UP037

    assert declared(NoAttrs) == []
    assert [(each.name, each.default) for each in declared(Unknown)] == [("every", 3)]


def test_show_takes_a_file_and_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(distributions.GOOD)
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "show", "./mine.py:Good", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["source"], shown["distribution"]) == ("good", "local", "mine.py")
    assert yaml.safe_load(shown["yaml"]) == {
        "plugins": {"good": {"use": "./mine.py:Good", "every": 50}},
        "optimizer": {"type": "slow"},
    }
    (tmp_path / "pasted.yaml").write_text(shown["yaml"])
    assert load_config(tmp_path / "pasted.yaml").optimizer.name == "slow"
    assert main(["plugins", "show", "stepbus_plugins.early_stopping:EarlyStopping"]) == 0
    assert "use: stepbus_plugins.early_stopping:EarlyStopping" in capsys.readouterr().out


def test_an_unknown_name_has_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "early_stoping"]) == 2
    assert "did you mean 'early_stopping'?" in capsys.readouterr().err


OFFERS = """
from attrs import define
from stepbus import Component, setting

@define(frozen=True, kw_only=True)
class Settings:
    section: str = setting("", "a column")
    least: int = setting(meaning="of rows")
    adjusted: bool = setting(False, "less chance")

@define(frozen=True, kw_only=True)
class Nothing:
    pass

facts = {"tasks": ("binary",), "greater_is_better": None}

class Offers:
    components = [
        Component("reader", "plain", Nothing, Nothing, {"suffixes": (".plain",)}),
        Component("reader", "ini", Settings, Settings, {"suffixes": (".ini",)}),
        Component("metric", "balanced", Settings, Settings, facts),
        Component("pooling", "none", Nothing, Nothing),
    ]
"""


def test_components_stand_with_their_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(OFFERS)
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "show", "./mine.py:Offers", "--json"]) == 0
    text = json.loads(capsys.readouterr().out)["yaml"]
    assert 'readers: {ini: {section: "", adjusted: false}}' in text
    assert yaml.safe_load(text) == {
        "plugins": {"offers": {"use": "./mine.py:Offers"}},
        "data": {"readers": {"ini": {"section": "", "adjusted": False}}},
        "training": {"metrics": [{"type": "balanced", "section": "", "adjusted": False}]},
        "model": {"pooling": "none"},
    }
    (tmp_path / "pasted.yaml").write_text(text.replace("adjusted: false", "adjusted: true, least: 3"))
    config = load_config(tmp_path / "pasted.yaml")
    assert (config.training.metrics[0].settings.adjusted, config.training.metrics[0].settings.least) == (True, 3)
    assert config.data.settings.readers["ini"].settings.adjusted is True
