"""The sections as classes: the original's calls as they are written, over presets, files and each other."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import stepbus
from stepbus import (
    BadInput,
    ConfigError,
    DataConfig,
    EnvironmentConfig,
    LossConfig,
    Metric,
    ModelConfig,
    OptimizerConfig,
    SchedulerConfig,
    TrainingConfig,
    create_trainer,
    get_trainer_config,
    load_config,
)
from stepbus.base.problems import Problem
from stepbus.config.sections import BASES
from stepbus.config.suggestions import setting_names

ORIGINAL: dict[str, Any] = {
    "optimizer": OptimizerConfig(
        type="adamw",  # adamw, adam, sgd, lion, adafactor
        learning_rate=2e-5,
        weight_decay=0.01,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        momentum=0.9,  # For SGD
        nesterov=False,  # For SGD
    ),
    "scheduler": SchedulerConfig(
        type="cosine",  # linear, cosine, exponential, reduce_on_plateau
        warmup_steps=500,
        warmup_ratio=0.1,  # Alternative to warmup_steps
        min_lr=1e-6,
        gamma=0.95,  # For exponential
        patience=3,  # For reduce_on_plateau
        factor=0.5,  # For reduce_on_plateau
    ),
    "data": DataConfig(
        train_batch_size=32, eval_batch_size=64, num_workers=8, prefetch_size=4, drop_last=False, pin_memory=False
    ),
    "training": TrainingConfig(
        num_epochs=10,
        gradient_accumulation_steps=1,
        gradient_clip_value=1.0,
        eval_strategy="epoch",  # epoch, steps, no
        eval_steps=500,
        save_strategy="best",  # best, epoch, steps
        save_steps=1000,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        early_stopping_patience=3,
        early_stopping_threshold=0.001,
    ),
}


def refused(source: Any = None, **keywords: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(source, keywords=keywords)
    return [str(problem) for problem in caught.value.problems]


def differing(config: Any, other: Any) -> set[str]:
    """Return the paths of the settings that two configurations have differently."""

    def flat(value: Any, path: str = "") -> dict[str, Any]:
        if not isinstance(value, dict):
            return {path: value}
        return {key: item for name, each in value.items() for key, item in flat(each, f"{path}.{name}").items()}

    one, two = flat(config.resolved()), flat(other.resolved())
    return {path.removeprefix(".") for path in {*one, *two} if one.get(path, ...) != two.get(path, ...)}


@pytest.mark.parametrize("source", [None, "production", "quick_test"])
def test_lines_124_to_152_the_calls_as_the_original_writes_them(source: str | None) -> None:
    config = load_config(source, keywords=ORIGINAL)
    optimizer, scheduler = config.optimizer, config.scheduler
    assert (optimizer.name, optimizer.settings.learning_rate, optimizer.settings.weight_decay) == ("adamw", 2e-5, 0.01)
    assert (optimizer.settings.beta1, optimizer.settings.beta2, optimizer.settings.epsilon) == (0.9, 0.999, 1e-8)
    assert (scheduler.name, scheduler.settings.min_lr, scheduler.settings.warmup_ratio) == ("cosine", 1e-6, 0.1)
    data = config.data.settings
    assert (data.batch_size, data.eval_batch_size, data.num_workers, data.prefetch_size) == (32, 64, 8, 4)
    assert data.drop_last is False
    training = config.training
    assert (training.num_epochs, training.gradient_accumulation_steps) == (10, 1)
    assert (training.eval_strategy, training.monitor, training.greater_is_better) == ("epoch", "eval_loss", False)
    plugins = {each.name: each.settings for each in config.plugins}
    assert plugins["gradient_clipping"].max_norm == 1.0
    assert plugins["checkpoint"].save_strategy == "best"
    assert (plugins["early_stopping"].patience, plugins["early_stopping"].min_delta) == (3, 0.001)
    assert config.notes == (
        "scheduler.warmup_steps: 500 has no effect beside warmup_ratio: 0.1; leave one of them out",
    )


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("adamw", {"beta1", "beta2", "epsilon"}),
        ("adam", {"beta1", "beta2", "epsilon"}),
        ("sgd", {"momentum", "nesterov"}),
        ("lion", {"beta1", "beta2"}),
        ("adafactor", {"beta1", "epsilon"}),
    ],
)
def test_lines_124_to_130_the_same_call_of_every_type(name: str, known: set[str]) -> None:
    call = OptimizerConfig(**{**ORIGINAL["optimizer"], "type": name})
    config = load_config("production", keywords={"optimizer": call})
    assert config.notes == ()
    given = {setting: getattr(config.optimizer.settings, setting) for setting in known}
    assert given == {setting: call[setting] for setting in known}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("linear", {"min_lr"}),
        ("cosine", {"min_lr"}),
        ("exponential", {"min_lr", "gamma"}),
        ("reduce_on_plateau", {"min_lr", "patience", "factor"}),
        ("constant", set()),
    ],
)
def test_lines_131_to_135_the_same_call_of_every_type(name: str, known: set[str]) -> None:
    call = SchedulerConfig(**{**ORIGINAL["scheduler"], "type": name})
    config = load_config("production", keywords={"scheduler": call})
    given = {setting: getattr(config.scheduler.settings, setting) for setting in known}
    assert given == {setting: call[setting] for setting in known}


def test_line_130_a_setting_of_another_type_at_a_value_of_its_own_is_refused() -> None:
    assert refused(optimizer=OptimizerConfig(type="adamw", momentum=0.5)) == [
        "optimizer.momentum: expected a known setting, got 'momentum'; it is a setting of type: sgd or muon "
        "(optimizers, stepbus 0.1.0)"
    ]
    assert refused(optimizer={"type": "adamw", "momentum": 0.9}) == [
        "optimizer.momentum: expected a known setting, got 'momentum'; it is a setting of type: sgd or muon "
        "(optimizers, stepbus 0.1.0)"
    ]


def test_line_130_defaults_of_ours_fall_away_too() -> None:
    call = OptimizerConfig(type="adamw", decay_rate=0.8, beta2=0.99, momentum=0.95, nesterov=True)
    assert load_config(None, keywords={"optimizer": call}).optimizer.settings.beta2 == 0.99
    (words,) = refused(optimizer=OptimizerConfig(type="adamw", decay_rate=0.7))
    assert "it is a setting of type: adafactor" in words


def test_without_a_type_what_falls_away_is_said() -> None:
    config = load_config(None, keywords={"optimizer": OptimizerConfig(learning_rate=1e-5, momentum=0.9)})
    assert config.notes == ("optimizer.momentum: it has no effect with type: adamw; it is a setting of sgd or muon",)
    config = load_config(
        {"optimizer": {"type": "sgd", "momentum": 0.5}}, keywords={"optimizer": OptimizerConfig(momentum=0.9)}
    )
    assert (config.optimizer.settings.momentum, config.notes) == (0.9, ())


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"warmup_steps": 500, "warmup_ratio": 0.1}, (0, 0.1)),
        ({"warmup_steps": 20, "warmup_ratio": 0.1}, (20, 0.0)),
        ({"warmup_steps": 500, "warmup_ratio": 0.2}, (0, 0.2)),
        ({"warmup_steps": 500, "warmup_ratio": 0.0}, (500, 0.0)),
        ({"warmup_steps": 0, "warmup_ratio": 0.1}, (0, 0.1)),
        ({"warmup_steps": 500}, (500, 0.0)),
    ],
)
def test_line_133_of_two_warm_ups_the_one_that_is_no_default_counts(
    call: dict[str, Any], expected: tuple[int, float]
) -> None:
    settings = load_config(None, keywords={"scheduler": SchedulerConfig(**call)}).scheduler.settings
    assert (settings.warmup_steps, settings.warmup_ratio) == expected


def test_line_133_two_warm_ups_of_ones_own_and_those_of_a_file_are_refused() -> None:
    words = (
        "scheduler.warmup_ratio: expected either warmup_steps (5) or warmup_ratio, got both (schedules, stepbus 0.1.0)"
    )
    assert refused(scheduler=SchedulerConfig(warmup_steps=5, warmup_ratio=0.2)) == [words]
    assert refused({"scheduler": {"warmup_steps": 500, "warmup_ratio": 0.1}}) == [words.replace("(5)", "(500)")]
    under = {"scheduler": {"warmup_steps": 7}}
    settings = load_config(under, keywords={"scheduler": ORIGINAL["scheduler"]}).scheduler.settings
    assert (settings.warmup_steps, settings.warmup_ratio) == (0, 0.1)


@pytest.mark.parametrize(
    ("call", "changed"),
    [
        ({"training": TrainingConfig(num_epochs=3)}, {"training.num_epochs"}),  # the class's own default
        ({"optimizer": OptimizerConfig(learning_rate=5e-5)}, {"optimizer.learning_rate"}),
        ({"data": DataConfig(max_length=128)}, {"data.max_length"}),
        ({"scheduler": SchedulerConfig(type="linear")}, {"scheduler.type"}),
        ({"environment": EnvironmentConfig(output_dir="there")}, {"environment.output_dir"}),
        ({"loss": LossConfig("auto")}, set()),
        ({"model": ModelConfig(dropout=0.3)}, {"model.dropout"}),
        ({"training": TrainingConfig()}, set()),
    ],
)
def test_line_116_over_a_preset_it_changes_what_it_names(call: dict[str, Any], changed: set[str]) -> None:
    assert differing(load_config("production", keywords=call), load_config("production")) == changed


def test_line_116_in_create_trainer_and_update_config() -> None:
    trainer = create_trainer(config="production", training=TrainingConfig(num_epochs=3))
    assert trainer.config.training.num_epochs == 3
    assert differing(trainer.config, load_config("production")) == {"training.num_epochs"}
    trainer.update_config(training=TrainingConfig(num_epochs=5), optimizer=OptimizerConfig(learning_rate=1e-6))
    assert differing(trainer.config, load_config("production")) == {"training.num_epochs", "optimizer.learning_rate"}


def test_line_116_as_the_configuration_itself() -> None:
    alone = create_trainer(config=TrainingConfig(num_epochs=4)).config
    assert differing(alone, load_config(None)) == {"training.num_epochs"}
    several = load_config([TrainingConfig(num_epochs=4), OptimizerConfig("sgd", momentum=0.5)])
    assert (several.training.num_epochs, several.optimizer.settings.momentum) == (4, 0.5)
    assert load_config({"training": TrainingConfig(num_epochs=4)}).digest() == alone.digest()
    assert get_trainer_config(TrainingConfig(num_epochs=4)).digest() == alone.digest()
    for given, words in {
        (TrainingConfig(), TrainingConfig(seed=1)): "got TrainingConfig twice; put both into one",
        ("production", TrainingConfig()): "got str; a preset or a file is config itself, with sections beside it",
    }.items():
        with pytest.raises(BadInput, match=words):
            create_trainer(config=list(given))


def test_a_class_in_the_place_of_another_is_refused() -> None:
    assert refused(optimizer=TrainingConfig(num_epochs=3)) == [
        "optimizer: expected OptimizerConfig, or a mapping of settings, got TrainingConfig"
    ]
    with pytest.raises(BadInput, match="model: expected ModelConfig, or a mapping of settings, got OptimizerConfig"):
        create_trainer(OptimizerConfig("sgd"))


def test_settings_of_a_component_and_slips_are_told_when_it_is_loaded() -> None:
    call = OptimizerConfig("muon", newton_schulz_steps=3)
    assert load_config(None, keywords={"optimizer": call}).optimizer.settings.newton_schulz_steps == 3
    assert refused(optimizer=OptimizerConfig(learning_rat=1e-5), training=TrainingConfig(num_epochs="three")) == [
        "optimizer.learning_rat: expected a known setting, got 'learning_rat' (did you mean 'learning_rate'?) "
        "(optimizers, stepbus 0.1.0)",
        "training.num_epochs: expected int, got 'three'",
    ]
    assert refused(data=DataConfig(batch_size=3, train_batch_size=4)) == [
        "data.train_batch_size: expected either data.train_batch_size or data.batch_size, they mean the same"
    ]


def test_lines_146_to_149_steps_that_count_and_those_that_do_not() -> None:
    both = TrainingConfig(eval_strategy="steps", eval_steps=500, save_strategy="steps", save_steps=1000)
    config = load_config("production", keywords={"training": both})
    policy = next(each.settings for each in config.plugins if each.name == "checkpoint")
    assert (config.training.eval_steps, policy.save_steps) == (500, 1000)
    under = {"training": {"eval_strategy": "steps", "eval_steps": 20}}
    assert load_config(under, keywords={"training": TrainingConfig(eval_steps=500)}).training.eval_steps == 500
    assert load_config(None, keywords={"training": TrainingConfig(eval_strategy="no", eval_steps=500)}).notes == ()
    config = load_config(None, keywords={"training": TrainingConfig(eval_strategy="epoch", eval_steps=20)})
    assert config.notes == (
        "training.eval_steps: it has no effect with eval_strategy: epoch; eval_strategy: steps uses it",
    )


def test_line_141_pin_memory_false_needs_no_word_and_true_gets_one() -> None:
    assert load_config(None, keywords={"data": DataConfig(pin_memory=False)}).notes == ()
    assert load_config(None, keywords={"data": DataConfig(pin_memory=True)}).notes == (
        "data.pin_memory: it has no effect: memory is unified, there is nothing to pin",
    )


def test_what_has_no_effect_is_said_of_what_is_made_of_the_configuration_too() -> None:
    config = load_config(None, keywords={"data": DataConfig(pin_memory=True)})
    assert config.updated({"seed": 3}).updated({"seed": 4}).notes == config.notes != ()


def test_a_problem_found_later_names_the_setting_as_it_was_written() -> None:
    config = load_config(None, keywords={"training": TrainingConfig(metric_for_best_model="eval_acc")})
    once = config.locate(Problem("training.monitor", "no such metric"))
    assert str(once) == "training.monitor (written training.metric_for_best_model): no such metric"
    assert config.locate(once) == once


def test_places_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, keywords={"data": DataConfig(train=Path("train.csv"), validation=0.2)})
    assert (config.data.settings.train, config.data.settings.validation) == (str(tmp_path / "train.csv"), 0.2)


@pytest.mark.parametrize("section", BASES)
def test_every_setting_of_a_section_is_a_keyword_that_editors_know(section: str) -> None:
    cls = getattr(stepbus, f"{section.capitalize()}Config")
    known = set(inspect.signature(cls).parameters)
    assert cls.section_name == section
    assert set(setting_names(BASES[section])) <= known
    assert known - {"more"} == {line.split(":")[0].strip() for line in _arguments(cls)} - {"**more"}


def _arguments(cls: type) -> list[str]:
    lines = (inspect.getdoc(cls.__init__) or "").partition("Args:\n")[2].splitlines()
    return [line for line in lines if line.startswith("    ") and not line.startswith("     ")]


def test_a_metric_class_of_ones_own_among_them() -> None:
    class Wins(Metric):
        """A metric passed in Python."""

    for config in (
        load_config(TrainingConfig(metrics=[Wins])),
        load_config("production", keywords={"training": TrainingConfig(metrics=["f1", Wins])}),
    ):
        assert config.training.metrics is not None
        assert config.training.metrics[-1].name == "wins"
