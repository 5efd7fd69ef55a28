"""Names that are no setting where they stand: what is suggested, in files, after --set and in Python."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import ConfigError, load_config
from stepbus.config.discovery import plugins
from stepbus.config.sections import BASES
from stepbus.config.suggestions import aliases, as_keyword, other_names, setting_names


def refused(source: Any = None, *overrides: str, **keywords: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source, overrides, keywords)
    [problem] = caught.value.problems
    return str(problem)


@pytest.mark.parametrize(
    ("section", "name", "value", "meant"),
    [
        ("training", "batch_size", 3, "'data.batch_size'"),
        ("data", "learning_rate", 1e-4, "'optimizer.learning_rate'"),
        ("training", "warmup_ratio", 0.1, "'scheduler.warmup_ratio'"),
        ("scheduler", "warmup", 0.1, "'scheduler.warmup_ratio' or 'scheduler.warmup_steps'"),
        ("scheduler", "warmup", 100, "'scheduler.warmup_steps' or 'scheduler.warmup_ratio'"),
        ("optimizer", "lr", 1e-4, "'optimizer.learning_rate'"),
        ("training", "lr", 1e-4, "'optimizer.learning_rate'"),
        ("training", "epochs", 3, "'training.num_epochs'"),
        ("data", "bs", 3, "'data.batch_size'"),
        ("optimizer", "weight_deacy", 0.1, "'weight_decay'"),
        ("training", "weight_deacy", 0.1, "'optimizer.weight_decay'"),
        ("training", "per_device_train_batch_size", 3, "'data.batch_size'"),
        ("training", "num_train_epochs", 3, "'training.num_epochs'"),
        ("training", "lr_scheduler_type", "cosine", "'scheduler.type'"),
        ("training", "fp16", True, "'training.precision'"),
        ("training", "bf16", True, "'training.precision'"),
        ("training", "evaluation_strategy", "no", "'training.eval_strategy'"),
        ("training", "logging_steps", 3, "'training.log_steps'"),
        ("training", "max_grad_norm", 1.0, "'plugins.gradient_clipping.max_norm'"),
        ("training", "output_dir", "x", "'environment.output_dir'"),
        ("optimizer", "early_stopping_patience", 3, "'training.early_stopping_patience'"),
    ],
)
def test_a_setting_that_stands_elsewhere(section: str, name: str, value: Any, meant: str) -> None:
    assert f"{section}.{name}: expected a known setting, got {name!r} (did you mean {meant}?)" in refused(
        {section: {name: value}}
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("output_dir", "environment.output_dir"),
        ("seed", "training.seed"),
        ("lr", "optimizer.learning_rate"),
        ("learning_rte", "optimizer.learning_rate"),
        ("per_device_train_batch_size", "data.batch_size"),
        ("early_stoping", "early_stopping"),
    ],
)
def test_a_setting_at_the_top(name: str, meant: str) -> None:
    said = f"{name}: expected a section or an installed plugin, got {name!r} (did you mean {meant!r}?)"
    assert refused({name: 1}) == said
    assert refused(None, f"{name}=1") == f"--set: {said}"


def test_a_setting_of_another_type_is_said() -> None:
    said = refused({"optimizer": {"momentum": 0.9}})
    assert said.startswith(
        "optimizer.momentum: expected a known setting, got 'momentum'; it is a setting of type: sgd or"
    )
    assert "type: reduce_on_plateau (" in refused({"scheduler": {"type": "cosine", "patience": 3}})


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [
        ("lr", "learning_rate"),
        ("epochs", "num_epochs"),
        ("bs", "batch_size"),
        ("weight_deacy", "weight_decay"),
        ("lr_scheduler_type", "scheduler"),
        ("max_grad_norm", "gradient_clipping__max_norm"),
        ("early_stoping", "early_stopping"),
        ("crossvalidation", "cross_validation"),
    ],
)
def test_a_keyword_is_answered_by_a_keyword(keyword: str, meant: str) -> None:
    words = "expected the name of a setting, a section or a plugin"
    assert refused(None, **{keyword: 1}) == f"{keyword}: {words} (did you mean {meant!r}?)"


def test_every_path_that_is_suggested_is_there() -> None:
    """The table of other names would rot unseen."""
    known = {f"{section}.{name}" for section, cls in BASES.items() for name in setting_names(cls)}
    known |= {f"{section}.type" for section in BASES}
    for name in plugins.installed():
        loaded = plugins.load_class(name)
        own = setting_names(loaded.config_class) if loaded.config_class is not None else []
        known |= {f"plugins.{name}", *(f"plugins.{name}.{each}" for each in own)}
        known |= {f"{part.kind}.{each}" for part in loaded.components for each in setting_names(part.config)}
    known |= {".".join(map(str, alias)) for alias in aliases()}
    assert {".".join(map(str, path)) for paths in other_names().values() for path in paths} - known == set()


def test_keywords_of_paths() -> None:
    assert as_keyword(("data", "batch_size")) == "batch_size"
    assert as_keyword(("scheduler", "type")) == "scheduler"
    assert as_keyword(("plugins", "checkpoint", "keep_last")) == "checkpoint__keep_last"
