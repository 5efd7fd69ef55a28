"""What a configuration shows of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stepbus import load_config
from stepbus.base.trees import Mark, parse


def read(text: object) -> Any:
    tree = parse(str(text), Mark(None, None, Path()))
    assert tree is not None
    return tree.plain()


def test_what_was_set_is_yaml_that_reads_back() -> None:
    written = {"optimizer": {"learning_rate": 1e-5}, "plugins": {"early_stopping": {"patience": 2}, "history": False}}
    config = load_config(written, keywords={"num_epochs": 7})
    assert read(config) == written | {"training": {"num_epochs": 7}}
    assert load_config(read(config)).digest() == config.digest()
    assert repr(config) == (
        "<Config: optimizer.learning_rate 1e-5, plugins.early_stopping.patience 2, plugins.history false, "
        "training.num_epochs 7>"
    )
    assert str(config) in config._repr_html_()


def test_the_defaults() -> None:
    assert (str(load_config()), repr(load_config())) == ("# the defaults", "<Config: the defaults>")


def test_a_preset_says_what_it_sets() -> None:
    preset = load_config("production")
    assert read(preset)["training"]["num_epochs"] == preset.training.num_epochs


def test_secrets_paths_and_pages(tmp_path: Path) -> None:
    config = load_config({"data": {"train": "sqlite:https://me:geheim@host/x#t", "text": "<b>"}}, ["training.seed=3"])
    assert "geheim" not in str(config) + repr(config) + config._repr_html_()
    assert "&lt;b&gt;" in config._repr_html_()
    path = load_config(keywords={"output_dir": tmp_path / "run"})
    assert read(path) == {"environment": {"output_dir": str(tmp_path / "run")}}


def test_many_settings_are_counted_and_those_of_the_model_stand_last() -> None:
    config = load_config({"model": {"hidden_size": 16}, "training": dict.fromkeys(("seed", "num_epochs"), 3)})
    assert repr(config) == "<Config: training.seed 3, training.num_epochs 3, model.hidden_size 16>"
    many = load_config({"model": {"hidden_size": 16}, "data": {"train": "x.csv", "text": "t", "label": "l"}}, [
        "training.seed=1", "training.num_epochs=2", "optimizer.learning_rate=1e-3", "scheduler.warmup_steps=2",
    ])  # fmt: skip
    assert repr(many).endswith(", 2 more>")
