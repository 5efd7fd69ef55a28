"""The walk: sections of a configuration and the original's classes for them (lines 31 to 35, 97 to 105, 124 to 152)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepbus
from stepbus import create_trainer, load_config


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def config_class(name: str) -> Any:
    return getattr(stepbus, name)


def trained(world: Any, **sections: Any) -> Any:
    from stepbus.testing import Recorder

    recorder = Recorder()
    trainer = create_trainer(config=world.tree(Path.cwd(), **sections), plugins=[recorder])
    return trainer, trainer.train(), recorder


# Configuration system ------------------------------------------------------------------------------------------------

OPTIMIZERS = ["adamw", "adam", "sgd", "lion", "adafactor"]


@pytest.mark.parametrize("kind", [pytest.param(kind, id=f"line-31-{kind}") for kind in OPTIMIZERS])
def test_line_031_optimizers(kind: str, train_once: Any, world: Any) -> None:
    done = train_once(optimizer={"type": kind, "learning_rate": 1e-3}, training={"num_epochs": 1})
    assert done.trainer.config.optimizer.name == kind
    start = {name: np.array(array) for name, array in world.model(seed=42).tensors().items()}
    end = {name: np.array(array) for name, array in done.trainer.model.tensors().items()}
    moved = [name for name in end if not np.array_equal(start[name], end[name])]
    assert len(moved) > len(end) // 2
    assert np.isfinite(done.result.metrics["eval_loss"])


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        pytest.param({"type": "linear"}, [1.0, 0.75, 0.5, 0.25], id="line-32-linear"),
        pytest.param({"type": "cosine"}, [1.0, 0.85355339, 0.5, 0.14644661], id="line-32-cosine"),
        pytest.param({"type": "exponential", "gamma": 0.5, "decay_steps": 1}, [1, 0.5, 0.25, 0.125], id="line-32-exp"),
        pytest.param({"type": "reduce_on_plateau"}, [1.0] * 4, id="line-32-plateau"),
    ],
)
def test_line_032_schedules(settings: dict[str, Any], rates: list[float]) -> None:
    scheduler = load_config({"scheduler": settings}).scheduler.build()
    assert [scheduler.rate(step, 4, 1.0) for step in range(4)] == pytest.approx(rates)


def test_line_032_reduce_on_plateau_reduces(train_once: Any) -> None:
    """A metric that never improves: after `patience` evaluations the rate is `factor` of itself."""
    done = train_once(
        scheduler={"type": "reduce_on_plateau", "patience": 1, "factor": 0.5, "threshold": 10.0},
        training={"num_epochs": 4},
    )
    rates = [given["step"].learning_rate for given in done.recorder.of("on_step_end")]
    assert rates[0] == 3e-3
    assert rates[-1] < 3e-3


def test_line_033_batch_size_workers_and_prefetching(train_once: Any) -> None:
    done = train_once(data={"batch_size": 16, "num_workers": 2, "prefetch_size": 3}, training={"num_epochs": 1})
    assert done.result.steps == 2
    assert [given["step"].sequences for given in done.recorder.of("on_step_end")] == [16, 16]


def test_line_034_epochs_evaluation_and_checkpoints(world: Any) -> None:
    _, result, recorder = trained(
        world,
        training={"num_epochs": 3, "eval_strategy": "steps", "eval_steps": 12},
        plugins={"progress": False, "checkpoint": {"save_strategy": "steps", "save_steps": 12}},
    )
    assert result.steps == 24
    assert [each["state"].step for each in recorder.of("on_metrics")] == [12, 24]
    steps = [int(Path(each["checkpoint"]).name.removeprefix("step-")) for each in recorder.of("on_checkpoint")]
    assert {12, 24} <= set(steps)


def test_line_035_output(world: Any) -> None:
    _, result, _ = trained(world, environment={"output_dir": "here"}, training={"max_steps": 1})
    assert Path(result.directory) == Path("here").absolute()
    assert (Path("here") / "config.yaml").is_file()


def test_line_035_debugging(world: Any) -> None:
    """Eager steps and checks of every array: what is no number is named before it spreads."""

    class Spoils:
        @stepbus.hookimpl
        def on_fit_start(self, trainer: Any) -> None:
            name, array = next(iter(trainer.model.tensors().items()))
            trainer.model.load_tensors({**trainer.model.tensors(), name: array * float("nan")})

    plain = create_trainer(config=world.tree(Path.cwd(), environment={"debug": True}, training={"max_steps": 2}))
    assert plain.train().status == "ok"
    spoilt = create_trainer(config=world.tree(Path.cwd(), environment={"debug": True}), plugins=[Spoils()])
    with pytest.raises(stepbus.StepbusError, match=r"embeddings"):
        spoilt.train()


# The YAML example and the presets ------------------------------------------------------------------------------------

EXAMPLE = """
# trainer_config.yaml
optimizer:
  type: adamw
  learning_rate: 2e-5
  weight_decay: 0.01

scheduler:
  type: cosine
  warmup_ratio: 0.1

data:
  batch_size: 32
  num_workers: 8

training:
  num_epochs: 10
  eval_strategy: epoch
  early_stopping: true
"""


def test_line_097_098_the_example(world: Any) -> None:
    Path("trainer_config.yaml").write_text(EXAMPLE)
    config = load_config("trainer_config.yaml")
    optimizer, scheduler = config.optimizer, config.scheduler
    assert (optimizer.name, optimizer.settings.learning_rate, optimizer.settings.weight_decay) == ("adamw", 2e-5, 0.01)
    assert (scheduler.name, scheduler.settings.warmup_ratio) == ("cosine", 0.1)
    assert (config.data.settings.batch_size, config.data.settings.num_workers) == (32, 8)
    assert (config.training.num_epochs, config.training.eval_strategy) == (10, "epoch")
    assert "early_stopping" in {choice.name for choice in config.plugins}  # `training.early_stopping: true`


@pytest.mark.parametrize(
    ("preset", "epochs", "rate"), [("quick_test", 1, 5e-5), ("development", 3, 5e-5), ("production", 10, 2e-5)]
)
def test_line_100_presets(preset: str, epochs: int, rate: float, world: Any) -> None:
    trainer = create_trainer(world.model(), config=preset, label="label", progress=False, max_steps=2)
    assert trainer.config.training.num_epochs == epochs
    assert trainer.config.optimizer.settings.learning_rate == rate
    assert trainer.train(world.frame("train"), world.frame("dev")).status == "ok"


# OptimizerConfig -----------------------------------------------------------------------------------------------------


def optimizer_of(trainer: Any) -> Any:
    return trainer.config.optimizer


def test_line_124_the_call_of_optimizer_config(world: Any) -> None:
    section = config_class("OptimizerConfig")(
        type="adamw",  # adamw, adam, sgd, lion, adafactor
        learning_rate=2e-5,
        weight_decay=0.01,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        momentum=0.9,  # For SGD
        nesterov=False,  # For SGD
    )
    found = create_trainer(world.model(), config="quick_test", optimizer=section).config.optimizer
    settings = found.settings
    assert (found.name, settings.learning_rate, settings.weight_decay) == ("adamw", 2e-5, 0.01)
    assert (settings.beta1, settings.beta2, settings.epsilon) == (0.9, 0.999, 1e-8)


ROWS_OF_OPTIMIZER = [
    (125, {"type": "adamw"}, lambda found: found.name == "adamw"),
    (126, {"learning_rate": 2e-5}, lambda found: found.settings.learning_rate == 2e-5),
    (127, {"weight_decay": 0.02}, lambda found: found.settings.weight_decay == 0.02),
    (128, {"beta1": 0.8, "beta2": 0.99}, lambda found: (found.settings.beta1, found.settings.beta2) == (0.8, 0.99)),
    (129, {"epsilon": 1e-7}, lambda found: found.settings.epsilon == 1e-7),
    (
        130,
        {"type": "sgd", "momentum": 0.8, "nesterov": True},
        lambda found: (found.name, found.settings.momentum, found.settings.nesterov) == ("sgd", 0.8, True),
    ),
]
ROWS_OF_SCHEDULER = [
    (132, {"type": "cosine"}, lambda found: found.name == "cosine"),
    (133, {"warmup_steps": 500}, lambda found: found.settings.warmup_steps == 500),
    (133, {"warmup_ratio": 0.1}, lambda found: found.settings.warmup_ratio == 0.1),
    (134, {"type": "cosine", "min_lr": 1e-6}, lambda found: found.settings.min_lr == 1e-6),
    (135, {"type": "exponential", "gamma": 0.95}, lambda found: found.settings.gamma == 0.95),
    (
        135,
        {"type": "reduce_on_plateau", "patience": 3, "factor": 0.5},
        lambda found: (found.settings.patience, found.settings.factor) == (3, 0.5),
    ),
]
ROWS_OF_DATA = [
    (137, {"train_batch_size": 16}, lambda found: found.settings.batch_size == 16),
    (138, {"eval_batch_size": 64}, lambda found: found.settings.eval_batch_size == 64),
    (139, {"num_workers": 8}, lambda found: found.settings.num_workers == 8),
    (
        140,
        {"prefetch_size": 2, "drop_last": True},
        lambda found: (found.settings.prefetch_size, found.settings.drop_last) == (2, True),
    ),
    (141, {"pin_memory": False}, lambda found: True),
]
ROWS_OF_TRAINING = [
    (143, {"num_epochs": 10}, lambda found: found.training.num_epochs == 10),
    (
        144,
        {"gradient_accumulation_steps": 2},
        lambda found: found.training.gradient_accumulation_steps == 2,
    ),
    (145, {"gradient_clip_value": 2.0}, lambda found: plugin(found, "gradient_clipping").max_norm == 2.0),
    (146, {"eval_strategy": "epoch"}, lambda found: found.training.eval_strategy == "epoch"),
    (146, {"eval_strategy": "no"}, lambda found: found.training.eval_strategy == "no"),
    (
        147,
        {"eval_strategy": "steps", "eval_steps": 500},
        lambda found: (found.training.eval_strategy, found.training.eval_steps) == ("steps", 500),
    ),
    (148, {"save_strategy": "best"}, lambda found: plugin(found, "checkpoint").save_strategy == "best"),
    (
        149,
        {"save_strategy": "steps", "save_steps": 1000},
        lambda found: plugin(found, "checkpoint").save_steps == 1000,
    ),
    (150, {"metric_for_best_model": "eval_loss"}, lambda found: found.training.monitor == "eval_loss"),
    (150, {"metric_for_best_model": "accuracy"}, lambda found: "accuracy" in found.training.monitor),
    (151, {"greater_is_better": False}, lambda found: found.training.greater_is_better is False),
    (
        152,
        {"early_stopping_patience": 5, "early_stopping_threshold": 0.001},
        lambda found: (
            (plugin(found, "early_stopping").patience, plugin(found, "early_stopping").min_delta) == (5, 0.001)
        ),
    ),
]


def plugin(config: Any, name: str) -> Any:
    """Return the settings of a plugin that is on."""
    (settings,) = (choice.settings for choice in config.plugins if choice.name == name)
    return settings


def cases(section: str, kind: str, rows: list[Any]) -> list[Any]:
    """Return a case for each way to write a setting: YAML, the original's class."""
    return [
        pytest.param(section, way, kind, given, holds, id=f"line-{number}-{place}-{way}")
        for place, (number, given, holds) in enumerate(rows)
        for way in ("yaml", "class")
    ]


ALL_ROWS = [
    *cases("optimizer", "OptimizerConfig", ROWS_OF_OPTIMIZER),
    *cases("scheduler", "SchedulerConfig", ROWS_OF_SCHEDULER),
    *cases("data", "DataConfig", ROWS_OF_DATA),
    *cases("training", "TrainingConfig", ROWS_OF_TRAINING),
]


@pytest.mark.parametrize(("section", "way", "kind", "given", "holds"), ALL_ROWS)
def test_settings_of_the_original(
    section: str, way: str, kind: str, given: dict[str, Any], holds: Callable[[Any], bool], world: Any
) -> None:
    tree = {section: given} if way == "yaml" else {}
    more = {section: config_class(kind)(**given)} if way == "class" else {}
    if "early_stopping_patience" in given:
        tree["plugins"] = {"early_stopping": {}}  # what is set is switched on by its name
    config = create_trainer(world.model(), config=tree, **more).config
    assert holds(config if section == "training" else getattr(config, section))


# The other classes ---------------------------------------------------------------------------------------------------


def test_line_131_the_call_of_scheduler_config(world: Any) -> None:
    section = config_class("SchedulerConfig")(
        type="cosine",  # linear, cosine, exponential, reduce_on_plateau
        warmup_steps=500,
        warmup_ratio=0.1,  # Alternative to warmup_steps
        min_lr=1e-6,
        gamma=0.95,  # For exponential
        patience=3,  # For reduce_on_plateau
        factor=0.5,  # For reduce_on_plateau
    )
    found = create_trainer(world.model(), config="quick_test", scheduler=section).config.scheduler
    assert (found.name, found.settings.min_lr) == ("cosine", 1e-6)
    # Of both at the original's defaults, the ratio is meant: no run of some hundred updates outlasts 500 of warm-up.
    assert (found.settings.warmup_steps, found.settings.warmup_ratio) == (0, 0.1)


def test_line_136_the_call_of_data_config(world: Any) -> None:
    section = config_class("DataConfig")(
        train_batch_size=32, eval_batch_size=64, num_workers=8, prefetch_size=4, drop_last=False, pin_memory=False
    )
    found = create_trainer(world.model(), config="quick_test", data=section).config.data.settings
    assert (found.batch_size, found.eval_batch_size, found.num_workers) == (32, 64, 8)
    assert found.max_length == 64  # of quick_test, which the section object did not name


def test_line_142_the_call_of_training_config(world: Any) -> None:
    section = config_class("TrainingConfig")(
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
    )
    trainer = create_trainer(world.model(), config="quick_test", training=section, label="label", progress=False)
    config = trainer.config
    assert (config.training.num_epochs, config.training.monitor) == (10, "eval_loss")
    assert plugin(config, "checkpoint").save_strategy == "best"
    assert plugin(config, "early_stopping").min_delta == 0.001
    assert trainer.train(world.frame("train"), world.frame("dev")).status in ("ok", "stopped")


def test_line_150_accuracy_as_the_measure(world: Any) -> None:
    _, result, _ = trained(world, training={"metric_for_best_model": "accuracy"})
    assert result.best.metric == "eval_accuracy"
    assert result.best.value == max(each["eval_accuracy"] for each in result.history)


def test_line_151_the_direction_of_the_measure(world: Any) -> None:
    _, result, _ = trained(world, training={"metric_for_best_model": "eval_loss", "greater_is_better": False})
    assert result.best.value == min(each["eval_loss"] for each in result.history)
