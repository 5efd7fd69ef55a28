"""A plugin that is switched off and set in one breath: refused where somebody calls or types, said where it is read."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from stepbus import ConfigError, TrainingConfig, create_trainer, load_config

SECTION = {"early_stopping": False, "early_stopping_patience": 3}
NOTE = (
    "training.early_stopping_patience: it has no effect, because training.early_stopping is false beside it; leave one "
    "of them out"
)


def names(config: Any) -> set[str]:
    return {choice.name for choice in config.plugins}


@pytest.mark.parametrize(
    ("off", "setting", "plugin"),
    [
        ("early_stopping", {"early_stopping_patience": 3}, "early_stopping"),
        ("early_stopping", {"early_stopping_threshold": 0.1}, "early_stopping"),
        ("early_stopping", {"early_stopping__min_delta": 0.1}, "early_stopping"),
        ("early_stopping", {"plugins.early_stopping.patience": 3}, "early_stopping"),
        ("training.early_stopping", {"early_stopping_patience": 3}, "early_stopping"),
        ("early_stopping", {"training": {"early_stopping_patience": 3}}, "early_stopping"),
        ("early_stopping", {"training": TrainingConfig(early_stopping_patience=3)}, "early_stopping"),
        ("gradient_clipping", {"gradient_clip_value": 2.0}, "gradient_clipping"),
        ("checkpoint", {"save_steps": 5}, "checkpoint"),
        ("checkpoint", {"save_strategy": "best"}, "checkpoint"),
        ("lora", {"lora__rank": 4}, "lora"),
        ("progress", {"progress.summary": False}, "progress"),
    ],
)
def test_two_keywords_of_one_call(off: str, setting: dict[str, Any], plugin: str) -> None:
    [written] = setting
    for order in itertools.permutations([(off, False), (written, setting[written])]):
        with pytest.raises(ConfigError) as caught:
            load_config(keywords=dict(order))
        [problem] = caught.value.problems
        assert problem.path == written
        assert problem.message.startswith(f"expected no setting of {plugin} beside {off}: false, got ")
        assert problem.message.endswith("; leave one of the two out")


@pytest.mark.parametrize("setting", ["training.early_stopping_patience", "plugins.early_stopping.patience"])
@pytest.mark.parametrize("off", ["training.early_stopping", "plugins.early_stopping", "early_stopping"])
def test_two_overrides_of_one_command(off: str, setting: str) -> None:
    for order in itertools.permutations([f"{off}=false", f"{setting}=3"]):
        with pytest.raises(ConfigError) as caught:
            load_config(overrides=order)
        [problem] = caught.value.problems
        assert str(problem) == (
            f"--set: {setting}: expected no setting of early_stopping beside {off}: false, got 3; leave one of the two "
            "out"
        )


@pytest.mark.parametrize("source", [{"training": SECTION}, [TrainingConfig(**SECTION)]])
def test_one_section_with_both_is_said_however_the_configuration_goes_on(source: Any) -> None:
    config = load_config(source)
    assert config.notes == (NOTE,)
    assert "early_stopping" not in names(config)
    again = config.updated({"num_epochs": 2}).updated({"seed": 7})
    assert again.notes == (NOTE,)  # which was gone here once: what was dropped is in no layer any more


def test_one_file_with_both_is_said_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  early_stopping: false\n  early_stopping_patience: 3\n")
    assert load_config(file).notes == (f"{file}:3: {NOTE}",)
    assert create_trainer(config=file, num_epochs=2).config.notes == (f"{file}:3: {NOTE}",)


def test_what_is_no_contradiction(tmp_path: Path) -> None:
    """Layers may well change each other, and what two keywords set may lie in one plugin."""
    set_below = load_config({"plugins": {"early_stopping": {"patience": 3}}}, ["plugins.early_stopping=false"])
    assert "early_stopping" not in names(set_below)
    off_below = load_config({"training": {"early_stopping": False}}, keywords={"early_stopping_patience": 3})
    assert "early_stopping" in names(off_below)
    on = load_config(keywords={"early_stopping": True, "early_stopping_patience": 3})
    assert "early_stopping" in names(on)
    assert "early_stopping" in names(load_config(None, ["early_stopping.patience=3", "early_stopping.min_delta=0.1"]))
    assert "lora" not in names(load_config("production", keywords={"early_stopping": False, "gradient_clip_value": 2}))


def test_gradual_unfreezing_that_is_off_and_set() -> None:
    with pytest.raises(
        ConfigError, match=r"plugins\.freeze\.unfreeze_every: expected none beside gradual: false, got 3"
    ):
        load_config({"plugins": {"freeze": {"gradual": False, "unfreeze_every": 3}}})
    assert "freeze" in names(load_config({"plugins": {"freeze": {"layers": 1, "unfreeze_every": 3}}}))
    assert "freeze" in names(load_config({"plugins": {"freeze": {"layers": 1, "gradual": False}}}))


def test_a_setting_of_adafactors_scale_that_is_off() -> None:
    said = "optimizer.epsilon_scale: it has no effect with scale_parameter: false; scale_parameter: true uses it"
    assert load_config({"optimizer": {"type": "adafactor", "epsilon_scale": 0.1}}).notes == (said,)
    assert load_config({"optimizer": {"type": "adafactor", "epsilon_scale": 0.1, "scale_parameter": True}}).notes == ()
