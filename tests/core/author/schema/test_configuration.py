"""`config schema`: what the loader accepts the schema accepts, and it refuses misspelt names and wrong types."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stepbus import component, setting
from stepbus.author.schema.configuration import (
    Fragment,
    configuration_schema,
    fragment,
    settings_schema,
    value_schema,
)
from stepbus.base.errors import ConfigError
from stepbus.base.trees.yaml_tree import read_tree
from stepbus.config.discovery.plugins import LoadedPlugin, import_module
from stepbus.config.discovery.presets import configs_folder, preset_names, preset_path
from stepbus.config.load import load_config
from stepbus.config.suggestions import aliases

FIXTURES = Path(__file__).parents[3] / "fixtures"
fakes = import_module(str(FIXTURES / "fake_plugins.py"))
distributions = import_module(str(FIXTURES / "distributions.py"))

# Of the fakes, those that load together; two offer the same optimizer, and some never settle.
NAMES = [name for name in fakes.CLASSES if name not in ("rival_optimizers", "restless", "echo", "bad_expand", "picky")]
LOADER = fakes.Loader()


def validator(*more: Fragment) -> Draft202012Validator:
    fragments = [fragment(LOADER.load_class(name)) for name in [*NAMES, "picky"]]
    schema = json.loads(json.dumps(configuration_schema([*fragments, *more]), allow_nan=False))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


SCHEMA = validator()


def loads(tree: Mapping[str, Any]) -> bool:
    try:
        load_config(tree, loader=LOADER)
    except ConfigError:
        return False
    return True


GOOD: dict[str, dict[str, Any]] = {
    "nothing": {},
    "sections by name": {"optimizer": "sgd", "scheduler": "cosine", "data": "table"},
    "sections of null": {"model": None, "training": None, "plugins": None, "hooks": None},
    "no type, the default's settings": {"optimizer": {"beta1": 0.8, "learning_rate": 1}},
    "a type with its settings": {"optimizer": {"type": "sgd", "momentum": 0.5}},
    "nested components": {"model": {"head": "binary", "pooling": {"type": "attention", "heads": 2}}},
    "metrics": {"training": {"metrics": ["f1", {"type": "f1", "average": "micro"}]}},
    "no metrics": {"training": {"metrics": None}},
    "a file or a fraction": {"data": {"validation": 0.2, "label": ["a", "b"], "cache": "folder"}},
    "plugins on and off": {"plugins": {"early_stopping": True, "plateau": None, "progress": False, "checkpoint": {}}},
    "a plugin's settings": {"plugins": {"early_stopping": {"patience": 5, "monitor": None, "on_error": "raise"}}},
    "a plugin as a section": {"early_stopping": {"patience": 5}, "kaggle": {"cv_folds": 3}, "plateau": True},
    "an unknown plugin switched off": {"plugins": {"never_heard_of": False}},
    "a required setting": {"plugins": {"picky": {"target": "x", "inner": {"size": 3}, "pair": [1, 2], "score": "f1"}}},
    "aliases": {
        "data": {"train_batch_size": 8, "pin_memory": True},
        "training": {"early_stopping": True, "early_stopping_patience": 2, "gradient_clip_value": 0.5},
    },
    "an alias with settings": {"training": {"early_stopping": {"patience": 2}, "metric_for_best_model": "eval_f1"}},
    "a class of one's own": {"plugins": {"mine": {"use": "stepbus_plugins.history:History"}}},
    "a class in place of an installed one": {"plugins": {"early_stopping": {"use": "stepbus_plugins.history:History"}}},
}
BAD: dict[str, dict[str, Any]] = {
    "a section misspelt": {"optimiser": {}},
    "a setting misspelt": {"optimizer": {"learning_rat": 1e-4}},
    "a setting of another type": {"optimizer": {"type": "adamw", "momentum": 0.5}},
    "an unknown type": {"optimizer": {"type": "adamv"}},
    "an unknown name": {"optimizer": "adamv"},
    "a list as section": {"training": [1]},
    "text for an int": {"training": {"num_epochs": "three"}},
    "a fraction for an int": {"training": {"num_epochs": 1.5}},
    "a boolean for a number": {"optimizer": {"learning_rate": True}},
    "an int for a boolean": {"data": {"stratify": 1}},
    "null for an int": {"data": {"batch_size": None}},
    "an unknown choice": {"training": {"eval_strategy": "never"}},
    "a plugin misspelt": {"plugins": {"early_stoping": {}}},
    "a plugin misspelt as section": {"early_stoping": {}},
    "a plugin's setting misspelt": {"plugins": {"early_stopping": {"patiense": 1}}},
    "a plugin's setting misspelt in a section": {"early_stopping": {"patiense": 1}},
    "a plugin of text": {"plugins": {"early_stopping": "yes"}},
    "an unknown policy": {"plugins": {"early_stopping": {"on_error": "ignore"}}},
    "a plugin without settings": {"plugins": {"history": {"every": 3}}},
    "an alias of a wrong type": {"training": {"early_stopping_patience": "two"}},
    "a nested misspelling": {"model": {"pooling": {"type": "attention", "head": 2}}},
    "a nested class misspelt": {"plugins": {"picky": {"target": "x", "inner": {"siz": 3}}}},
    "a pair of three": {"plugins": {"picky": {"target": "x", "pair": [1, 2, 3]}}},
    "a metric without type": {"training": {"metrics": [{"average": "micro"}]}},
    "an unknown metric": {"training": {"metrics": ["f2"]}},
    "one metric in place of a list": {"training": {"metrics": "f1"}},
    "hooks of numbers": {"hooks": [3]},
    "an empty hook": {"hooks": [""]},
    "extends a number": {"extends": 3},
}


@pytest.mark.parametrize("name", GOOD)
def test_what_the_loader_accepts_is_accepted(name: str) -> None:
    assert loads(GOOD[name])
    assert [error.message for error in SCHEMA.iter_errors(GOOD[name])] == []


@pytest.mark.parametrize("name", BAD)
def test_what_the_schema_refuses_the_loader_refuses(name: str) -> None:
    assert not loads(BAD[name])
    assert not SCHEMA.is_valid(BAD[name])


TRAINING_ALIASES = {str(path[1]) for path in aliases() if path[0] == "training"}
NAME_OR_TYPE = re.compile(r"got 'misspelt'|expected (int|number|text|true or false), got (null|true|false|'|a list)")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["adamw", "sgd", "cosine", "linear", "text", "table", "mean", "attention", "f1", "epoch", "eval_loss"]
    ),
    st.lists(st.sampled_from(["a", "f1", 1]), max_size=2),
)


def mostly(good: st.SearchStrategy[Any], bad: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda draw: bad if draw == 9 else good)


def section(*definitions: str) -> st.SearchStrategy[Any]:
    """Mappings of known keys and a misspelt one, with their defaults or any value; sometimes no mapping at all."""
    known = {}
    for definition in definitions:
        for key, part in SCHEMA.schema["$defs"][definition]["properties"].items():
            fitting = [part[word] for word in ("default", "const") if word in part]
            known[key] = mostly(st.sampled_from(fitting)) if fitting else VALUES
    keys = mostly(
        st.lists(st.sampled_from(sorted(known)), max_size=3, unique=True),
        st.lists(st.sampled_from([*sorted(known), "misspelt"]), max_size=3, unique=True),
    )
    mappings = keys.flatmap(lambda keys: st.fixed_dictionaries({key: known.get(key, VALUES) for key in keys}))
    return mostly(mappings)


SETTINGS = {
    "patience": st.just(2),
    "monitor": st.just("eval_loss"),
    "max_norm": st.just(0.5),
    "save_steps": st.just(None),
}
PLUGIN = mostly(
    st.one_of(st.booleans(), st.none(), *(st.fixed_dictionaries({}, optional={key: SETTINGS[key]}) for key in SETTINGS))
)
TREES = st.fixed_dictionaries(
    {},
    optional={
        "optimizer": section("optimizer.adamw", "optimizer.sgd"),
        "scheduler": section("scheduler.linear", "scheduler.cosine"),
        "data": section("data.text", "data.table"),
        "model": section("model.bert"),
        "training": section("training"),
        "environment": section("environment"),
        "plugins": st.dictionaries(
            st.sampled_from(["early_stopping", "gradient_clipping", "checkpoint", "plateau", "unheard_of"]),
            PLUGIN,
            max_size=2,
        ),
        "early_stopping": PLUGIN,
        "hooks": VALUES,
    },
)


def settings_of_one_switched_off(tree: Mapping[str, Any]) -> bool:
    """Say whether an alias gives settings to a plugin that is off, which the loader then never looks at."""
    training = tree.get("training")
    if not isinstance(training, dict) or TRAINING_ALIASES.isdisjoint(training):
        return False
    plugins = tree.get("plugins") or {}
    switches = [*(plugins.values() if isinstance(plugins, dict) else ()), training.get("early_stopping")]
    return any(switch is False for switch in [*switches, tree.get("early_stopping")])


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_nothing_that_loads_is_refused(tree: dict[str, Any]) -> None:
    if loads(tree) and not settings_of_one_switched_off(tree):
        assert [error.message for error in SCHEMA.iter_errors(tree)] == []


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_what_is_refused_for_a_name_or_a_type_is_refused(tree: dict[str, Any]) -> None:
    try:
        load_config(tree, loader=LOADER)
    except ConfigError as error:
        # Other problems are beyond a schema: the checks, what does not fit together, 3.0 for an int.
        messages = [each.message for each in error.problems]
        if any(NAME_OR_TYPE.search(message) for message in messages):
            assert not SCHEMA.is_valid(tree), messages


def test_types_are_those_of_the_loader() -> None:
    class Colour(enum.Enum):
        RED = "red"

    assert value_schema(int | None) == {"type": ["integer", "null"]}
    assert value_schema(str | list[str]) == {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    }
    assert value_schema(Literal["a", 2]) == {"enum": ["a", 2]}
    assert value_schema(Colour) == {"enum": ["red"]}
    assert value_schema(Annotated[float, "metres"]) == {"type": "number"}
    assert value_schema(dict[str, bool]) == {"type": "object", "additionalProperties": {"type": "boolean"}}
    assert value_schema(Path) == {"type": "string"}
    assert value_schema(Any) == value_schema(complex) == {}


@define(frozen=True, kw_only=True)
class Inner:
    size: int = setting(meaning="how big")


@define(frozen=True, kw_only=True)
class Outer:
    every: int = setting(5, "how often", check=lambda value: value > 0, expected="an int above 0")
    limit: float = setting(float("inf"), "no limit")
    items: list[Inner] = setting(factory=list)
    inner: Inner | None = None
    pooling: Any = component("pooling", None, "which")


def test_settings_say_meaning_default_and_what_is_needed() -> None:
    schema = settings_schema(Outer)["properties"]
    assert schema["every"] == {"description": "how often (an int above 0)", "type": "integer", "default": 5}
    assert schema["limit"] == {"description": "no limit", "type": "number"}, "JSON has no infinity"
    assert schema["items"]["items"]["required"] == ["size"], "an item of a list is whole"
    assert "required" not in schema["inner"]["anyOf"][0], "what a file extends may give it"
    assert schema["inner"]["anyOf"][0]["properties"]["size"]["description"] == "how big Must be given."
    assert schema["pooling"]["anyOf"] == [{"$ref": "#/$defs/pooling"}, {"type": "null"}]


@define(frozen=True, kw_only=True)
class Tree:
    children: "list[Tree]" = setting(factory=list)  # noqa: UP037 - attrs must see a name that is not there yet


def test_a_class_that_holds_itself_is_described_once() -> None:
    assert settings_schema(Tree)["properties"]["children"]["items"] == {"type": "object"}


def test_only_what_it_extends_may_know_an_unknown_plugin() -> None:
    assert not SCHEMA.is_valid({"plugins": {"mine": {"every": 3}}})
    assert SCHEMA.is_valid({"extends": "base.yaml", "plugins": {"mine": {"every": 3}}})
    assert not SCHEMA.is_valid({"extends": "base.yaml", "plugins": {"mine": 3}})


def test_a_broken_plugin_is_left_open_with_a_note() -> None:
    schema = validator(Fragment("broken", problem="cannot be imported: oh no"))
    assert "broken: cannot be imported: oh no" in schema.schema["$comment"]
    assert schema.is_valid({"plugins": {"broken": {"anything": 1}}, "optimizer": "sgd"})
    assert not schema.is_valid({"plugins": {"broken": 3}})


def test_names_that_need_escapes_are_referred_to() -> None:
    class Offer:
        components = [fakes.Component("metric", "top/5 ~%", fakes.F1Config, fakes.build)]  # noqa: RUF012

    schema = validator(fragment(LoadedPlugin("odd", Offer, "odd-pack", "1")))
    assert schema.is_valid({"training": {"metrics": [{"type": "top/5 ~%", "average": "micro"}]}})
    assert not schema.is_valid({"training": {"metrics": [{"type": "top/5 ~%", "averag": "micro"}]}})


def test_with_no_plugin_at_all_it_is_still_a_schema() -> None:
    schema = Draft202012Validator(configuration_schema([]))
    assert schema.is_valid({"optimizer": "adamw", "model": {"pooling": "mean"}, "training": {"num_epochs": 3}})
    assert not schema.is_valid({"training": {"num_epoch": 3}})


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Draft202012Validator:
    ended = distributions.stepbus("config", "schema", folder=tmp_path_factory.mktemp("schema"))
    assert (ended.returncode, ended.stderr) == (0, "")
    schema = json.loads(ended.stdout)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


FILES = [*map(preset_path, preset_names()), configs_folder() / "defaults.yaml"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_our_own_files_are_valid(file: Path, printed: Draft202012Validator) -> None:
    assert [error.message for error in printed.iter_errors(read_tree(file).plain())] == []


def test_what_a_configuration_comes_to_is_valid(printed: Draft202012Validator) -> None:
    assert [error.message for error in printed.iter_errors(load_config("production").resolved())] == []


def test_it_knows_the_installed_plugins(printed: Draft202012Validator) -> None:
    patience = printed.schema["$defs"]["plugin.early_stopping"]
    assert patience["anyOf"][1]["properties"]["patience"]["default"] == 3
    assert "muon" in printed.schema["$defs"]["optimizer"]["anyOf"][0]["enum"]
    assert not printed.is_valid({"optimizer": {"type": "muon", "nestrov": True}})


def test_a_configuration_brings_its_own_plugins(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    distributions.install(folder, "broken-pack", distributions.BROKEN, {"broken": "Broken"})
    (tmp_path / "mine.py").write_text(distributions.GOOD)
    (tmp_path / "run.yaml").write_text(
        "plugins: {mine: {use: './mine.py:Good', every: 3}}\noptimizer: {type: slow, slowness: 2}\n"
    )
    ended = distributions.stepbus("config", "schema", "run.yaml", paths=(folder,), folder=tmp_path)
    assert ended.returncode == 0
    assert "broken is left open in the schema: " in ended.stderr
    schema = Draft202012Validator(json.loads(ended.stdout))
    tree = read_tree(tmp_path / "run.yaml").plain()
    assert [error.message for error in schema.iter_errors(tree)] == []
    tree["plugins"]["mine"]["evry"] = tree["plugins"]["mine"].pop("every")
    assert not schema.is_valid(tree)
    assert not schema.is_valid({"optimizer": {"type": "slow", "slownes": 2}})
    assert "a_package_that_is_nowhere" in schema.schema["$comment"]
