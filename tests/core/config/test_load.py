"""Configurations: layers, presets, plugins, overrides, keywords, and every problem at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base.errors import ConfigError, DataError
from stepbus.base.problems import Problem
from stepbus.base.trees.python_tree import from_python
from stepbus.base.trees.yaml_tree import Mark, Node, parse
from stepbus.base.trees.yaml_writer import to_yaml
from stepbus.config.between import check_schedule
from stepbus.config.by_name import get_trainer_config
from stepbus.config.discovery.plugins import import_module
from stepbus.config.layers import merge, merge_all
from stepbus.config.load import Config, load_config
from stepbus.config.sections import DataSettings, TrainingSettings

fakes = import_module(str(Path(__file__).parents[2] / "fixtures" / "fake_plugins.py"))
effort: Any = import_module(str(Path(__file__).parents[2] / "fixtures" / "effort.py"))
DEFAULTS = [
    "bert",
    "heads",
    "readers",
    "text_data",
    "table_data",
    "losses",
    "optimizers",
    "schedules",
    "metrics",
    "nan_guard",
    "gradient_clipping",
    "checkpoint",
    "history",
    "predictions",
    "costs",
    "progress",
]


def load(source: Any = None, *overrides: str, **keywords: Any) -> Config:
    return load_config(source, overrides, keywords, loader=fakes.Loader())


def refused(source: Any = None, *overrides: str, **keywords: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(source, *overrides, **keywords)
    return [str(problem) for problem in caught.value.problems]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_defaults_alone_are_a_configuration() -> None:
    config = load()
    assert [choice.name for choice in config.plugins] == DEFAULTS
    assert (config.model.name, config.data.name, config.optimizer.name, config.scheduler.name) == (
        "bert",
        "text",
        "adamw",
        "linear",
    )
    assert (config.model.settings.head.name, config.model.settings.pooling.name) == ("auto", "mean")
    assert config.training.num_epochs == 3
    assert config.plugins[10].settings.max_norm == 1.0
    assert config.hooks == ()


def test_every_problem_of_a_file_at_once(here: Path) -> None:
    write(
        here / "configs" / "run.yaml",
        """\
model:
  type: bert
  pooling: meen
data:
  label: 3
  batch_size: three
optimizer:
  type: adamx
  learning_rate: -2e-5
scheduler:
  warmup_steps: 10
  warmup_ratio: 0.1
training:
  num_epochs: 0
  evaluate: no
  greater_is_better: no
early_stoping: {}
plugins:
  early_stopping:
    patience: three
    min_delt: 1
  progress: loud
  progres: {}
""",
    )
    assert refused("configs/run.yaml") == [
        "configs/run.yaml:3: model.pooling: expected a known pooling, got 'meen' (did you mean 'mean'?); "
        "known: attention, cls, mean (bert, stepbus 0.1.0)",
        "configs/run.yaml:5: data.label: expected text or a list of text, got 3 (text_data, stepbus 0.1.0)",
        "configs/run.yaml:6: data.batch_size: expected int, got 'three' (text_data, stepbus 0.1.0)",
        "configs/run.yaml:8: optimizer.type: expected a known optimizer, got 'adamx' (did you mean 'adamw'?); "
        "known: adamw, sgd",
        "configs/run.yaml:9: optimizer.learning_rate: expected a number above 0, got -2e-5",
        "configs/run.yaml:12: scheduler.warmup_ratio: expected either warmup_steps (10) or warmup_ratio, got both "
        "(schedules, stepbus 0.1.0)",
        "configs/run.yaml:14: training.num_epochs: expected a number of at least 1, got 0",
        "configs/run.yaml:15: training.evaluate: expected a known setting, got 'evaluate' "
        "(did you mean 'eval_strategy'?)",
        "configs/run.yaml:16: training.greater_is_better: expected true or false, got 'no'",
        "configs/run.yaml:17: early_stoping: expected a section or an installed plugin, got 'early_stoping' "
        "(did you mean 'early_stopping'?)",
        "configs/run.yaml:20: plugins.early_stopping.patience: expected int, got 'three' "
        "(early_stopping, stepbus 0.1.0)",
        "configs/run.yaml:21: plugins.early_stopping.min_delt: expected a known setting, got 'min_delt' "
        "(did you mean 'min_delta'?) (early_stopping, stepbus 0.1.0)",
        "configs/run.yaml:22: plugins.progress: expected settings, true, false or null, got 'loud'",
        "configs/run.yaml:23: plugins.progres: no installed plugin is called 'progres' (did you mean 'progress'?)",
    ]


def test_plugins_keep_the_order_of_the_defaults_then_of_the_file(here: Path) -> None:
    write(
        here / "run.yaml", "plugins:\n  cross_validation: true\n  early_stopping:\n  history: {}\n  progress: false\n"
    )
    names = [choice.name for choice in load("run.yaml").plugins]
    assert names == [*DEFAULTS[:-1], "cross_validation", "early_stopping"]


def test_only_named_plugins_are_asked_for() -> None:
    loader = fakes.Loader()
    load_config({"plugins": {"early_stopping": {}}}, loader=loader)
    assert sorted(loader.asked) == sorted([*DEFAULTS, "early_stopping"])


def test_on_error_and_plugins_without_settings() -> None:
    config = load({"plugins": {"early_stopping": {"on_error": "disable", "patience": 2}}})
    choice = config.plugins[-1]
    assert (choice.on_error, choice.settings.patience, config.plugins[0].on_error) == ("disable", 2, "raise")
    assert refused({"plugins": {"early_stopping": {"on_error": "ignore"}, "nan_guard": {"mode": 1}}}) == [
        "plugins.nan_guard.mode: expected no settings, got 'mode' (nan_guard, stepbus 0.1.0)",
        "plugins.early_stopping.on_error: expected raise or disable, got 'ignore' (early_stopping, stepbus 0.1.0)",
    ]


def test_a_class_of_ones_own_is_found_beside_the_file(here: Path) -> None:
    write(
        here / "sub" / "mine.py",
        "from stepbus import hookimpl\n\n\nclass Mine:\n    @hookimpl\n    def on_fit_start(self): ...\n",
    )
    write(here / "sub" / "run.yaml", "plugins:\n  mine: {use: './mine.py:Mine'}\nhooks: [./mine.py, json.tool]\n")
    config = load("sub/run.yaml")
    assert config.plugins[-1].loaded.cls.__name__ == "Mine"
    assert config.hooks == (str(here / "sub" / "mine.py"), "json.tool")
    assert load(config.tree).plugins[-1].loaded.cls.__name__ == "Mine"
    write(here / "sub" / "run.yaml", "plugins:\n  mine: {use: './mime.py:Mine'}\n  two: {use: 3}\nhooks: {a: 1}\n")
    assert [line.partition(": expected")[0] for line in refused("sub/run.yaml")] == [
        f"sub/run.yaml:2: plugins.mine: there is no file {here / 'sub' / 'mime.py'} (did you mean 'mine.py'?); "
        "paths are relative to the YAML file",
        "sub/run.yaml:3: plugins.two.use",
        "sub/run.yaml:4: hooks",
    ]


def test_a_plugin_may_stand_at_the_top(here: Path) -> None:
    config = load({"early_stopping": {"patience": 4}})
    assert config.plugins[-1].settings.patience == 4
    assert refused({"early_stopping": {"patience": 4}, "plugins": {"early_stopping": {}}}) == [
        "early_stopping: expected either early_stopping or plugins.early_stopping, got both"
    ]


def test_expand_lies_under_the_users_settings() -> None:
    config = load({"kaggle": {"cv_folds": 4, "stop": True}})
    assert [choice.name for choice in config.plugins][-3:] == ["cross_validation", "early_stopping", "kaggle"]
    assert config.plugins[-3].settings.folds == 4
    assert config.training.num_epochs == 7
    config = load({"kaggle": {}, "training": {"num_epochs": 2}, "cross_validation": {"folds": 3}})
    assert config.training.num_epochs == 2
    assert next(choice for choice in config.plugins if choice.name == "cross_validation").settings.folds == 3
    # What a plugin laid there follows its settings when they change.
    assert load({"kaggle": {}}).updated({"kaggle": {"cv_folds": 9}}).plugins[-2].settings.folds == 9


def test_expand_that_fails_or_never_settles(here: Path) -> None:
    write(here / "run.yaml", "restless: {}\n")
    assert refused("run.yaml") == [
        "plugins: the configuration that echo, restless lay under it never settles",
    ]
    write(here / "run.yaml", "\nbad_expand: {}\n")
    assert refused("run.yaml") == [
        "run.yaml:2: plugins.bad_expand: its expand() cannot be used: RuntimeError: no luck (bad_expand, stepbus 0.1.0)"
    ]


def test_two_providers_of_one_component(here: Path) -> None:
    write(here / "run.yaml", "plugins:\n  rival_optimizers: {}\n")
    (line,) = refused("run.yaml")
    assert line.startswith("run.yaml:2: plugins: two plugins offer the optimizer 'adamw'")


def test_bases_are_laid_from_left_to_right_under_the_file(here: Path) -> None:
    write(
        here / "a.yaml", "data: {batch_size: 1, max_length: 10}\ntraining: {seed: 1}\nplugins: {early_stopping: {}}\n"
    )
    write(here / "deep" / "b.yaml", "extends: ../a.yaml\ndata: {batch_size: 2, train: rows.csv}\n")
    write(here / "c.yaml", "data: {batch_size: 3}\n")
    write(here / "run.yaml", "extends: [deep/b.yaml, c.yaml, quick_test]\ntraining: {seed: 5}\n")
    config = load("run.yaml")
    data = config.data.settings
    assert (data.batch_size, data.max_length, config.training.seed, config.training.max_steps) == (8, 64, 5, 20)
    assert data.train == str(here / "deep" / "rows.csv")
    assert config.marks["data.train"].file == "deep/b.yaml"
    assert "extends" not in config.tree


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\nextends: absent.yaml\n", "run.yaml:2: extends: there is no file 'absent.yaml'"),
        ("extends: runs.yaml\n", "run.yaml:1: extends: there is no file 'runs.yaml' (did you mean 'run.yaml'?)"),
        ("extends: quick_tset\n", "run.yaml:1: extends: expected a preset or a file, got 'quick_tset'"),
        ("extends: 3\n", "run.yaml:1: extends: expected a file, a preset or a list of them, got 3"),
        ("extends:\n  - quick_test\n  - {a: 1}\n", "run.yaml:3: extends: expected a file, a preset"),
        (
            "extends: run.yaml\n",
            "run.yaml:1: extends: expected a file that does not come back to this one, got run.yaml",
        ),
        (
            "extends: loop.yaml\n",
            "loop.yaml:2: extends: expected a file that does not come back to this one, got run.yaml",
        ),
        ("extends: broken.yaml\n", "broken.yaml:2: the key 'a' is there twice"),
    ],
)
def test_bases_that_cannot_be_used(here: Path, text: str, line: str) -> None:
    write(here / "loop.yaml", "data: {}\nextends: ./run.yaml\n")
    write(here / "broken.yaml", "a: 1\na: 2\n")
    write(here / "run.yaml", text + "training: {num_epochs: 0}\n")
    lines = refused("run.yaml")
    assert any(each.startswith(line) for each in lines), lines
    # A bad base does not hide what else is wrong.
    assert any("training.num_epochs" in each for each in lines)


def test_too_many_bases_are_refused(here: Path) -> None:
    for number in range(12):
        write(here / f"{number}.yaml", f"extends: [{number + 1}.yaml, {number + 1}.yaml]\n")
    write(here / "12.yaml", "data: {}\n")
    (line,) = refused("0.yaml")
    assert line.endswith("yaml:1: extends: expected at most 50 files in all, got more")


def test_a_missing_file_is_one_sentence(here: Path) -> None:
    write(here / "configs" / "run.yaml", "data: {}\n")
    assert refused("configs/rum.yaml") == ["there is no file 'configs/rum.yaml' (did you mean 'run.yaml'?)"]
    assert refused("nothing/run.yaml") == ["there is no file 'nothing/run.yaml'"]
    assert refused(Path("production")) == ["there is no file 'production'"]


def test_what_another_type_left_behind_falls_away(here: Path) -> None:
    write(here / "base.yaml", "scheduler: {type: cosine, min_lr: 1e-6, warmup_ratio: 0.1}\n")
    write(here / "run.yaml", "extends: base.yaml\nscheduler: {type: linear}\n")
    config = load("run.yaml")
    assert (config.scheduler.name, config.scheduler.settings.warmup_ratio) == ("linear", 0.1)
    assert config.tree["scheduler"] == {"type": "linear", "warmup_ratio": 0.1}
    write(here / "run.yaml", "extends: base.yaml\nscheduler: {type: linear, min_lr: 1e-6}\n")
    assert len(refused("run.yaml")) == 1
    # A type said again drops nothing: a typing error in a base stays one.
    write(here / "base.yaml", "scheduler: {type: linear, min_rate: 1e-6}\n")
    write(here / "run.yaml", "extends: base.yaml\nscheduler: {type: linear}\n")
    assert len(refused("run.yaml")) == 1


def test_a_section_may_be_the_name_of_its_type() -> None:
    config = load({"optimizer": "sgd", "scheduler": None, "model": {"pooling": {"type": "attention", "heads": 2}}})
    assert config.optimizer.name == "sgd"
    assert config.model.settings.pooling.settings.heads == 2


def test_places_are_relative_to_the_file_that_names_them(here: Path) -> None:
    write(
        here / "sub" / "run.yaml",
        "data: {train: rows.csv, validation: 0.2, test: 'sklearn:iris'}\nmodel: {pretrained: ./model}\n"
        "environment: {output_dir: runs/x}\n",
    )
    config = load("sub/run.yaml", "data.test=test.csv")
    assert config.data.settings.train == str(here / "sub" / "rows.csv")
    assert config.data.settings.validation == 0.2
    assert config.data.settings.test == str(here / "test.csv")
    assert config.model.settings.pretrained == str(here / "sub" / "model")
    assert config.environment.output_dir == "runs/x"
    assert config.base == here / "sub"
    # The tree carries what was resolved, so that it loads from anywhere.
    assert load(config.tree).data.settings.train == config.data.settings.train


@pytest.mark.parametrize(
    ("text", "find"),
    [
        ("optimizer.learning_rate=1e-4", lambda config: config.optimizer.settings.learning_rate == 1e-4),
        ("training.metrics=[accuracy, {type: f1, average: micro}]", lambda config: len(config.training.metrics) == 2),
        ("data.label=2024", lambda config: config.data.settings.label == "2024"),
        ("data.label=[a, b]", lambda config: config.data.settings.label == ["a", "b"]),
        ("data.validation=0.2", lambda config: config.data.settings.validation == 0.2),
        ("data.type=table", lambda config: config.data.name == "table"),
        ("data={type: table, template: 'a: {a}'}", lambda config: config.data.settings.template == "a: {a}"),
        ("environment.output_dir=true", lambda config: config.environment.output_dir == "true"),
        ("data.text=a: b", lambda config: config.data.settings.text == "a: b"),
        ("data.text=[a", lambda config: config.data.settings.text == "[a"),
        ("data.id=null", lambda config: config.data.settings.id is None),
        ("data.id=", lambda config: config.data.settings.id is None),
        ("model.pooling.type=cls", lambda config: config.model.settings.pooling.name == "cls"),
        ("scheduler=cosine", lambda config: config.scheduler.name == "cosine"),
        ("plugins.progress=false", lambda config: "progress" not in [each.name for each in config.plugins]),
        ("early_stopping.patience=7", lambda config: config.plugins[-1].settings.patience == 7),
        ("training.early_stopping=true", lambda config: config.plugins[-1].name == "early_stopping"),
        ("hooks=[json]", lambda config: config.hooks == ("json",)),
    ],
)
def test_overrides_are_typed_by_the_schema(text: str, find: Any) -> None:
    assert find(load(None, text))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("training.num_epochs", "--set: expected section.key=value, got 'training.num_epochs'"),
        ("training..x=1", "--set: expected section.key=value, got 'training..x=1'"),
        ("=1", "--set: expected section.key=value, got '=1'"),
        ("training.num_epochs=three", "--set: training.num_epochs: expected int, got 'three'"),
        ("training.num_epoch=3", "--set: training.num_epoch: expected a known setting, got 'num_epoch' (did you mean"),
        ("training=5", "--set: training: expected a mapping of settings, got 5"),
        ("trainign.seed=5", "--set: trainign: expected a section or an installed plugin, got 'trainign' (did you mean"),
        ("extends=production", "--set: extends: expected extends only in a file"),
        ("training.seed=&a 1", "--set: training.seed: expected int, got '&a 1'"),
        ("plugins=[a]", "--set: plugins: expected a mapping from plugin names to settings, got a list"),
    ],
)
def test_overrides_that_cannot_be_used(text: str, line: str) -> None:
    (found,) = refused(None, text)
    assert found.startswith(line)


def test_later_overrides_count_and_all_stand_above_the_file(here: Path) -> None:
    write(here / "run.yaml", "training: {seed: 1, num_epochs: 4}\n")
    config = load("run.yaml", "training.seed=2", "training.seed=3", num_epochs=9)
    assert (config.training.seed, config.training.num_epochs) == (3, 9)


def test_bare_names_are_looked_up() -> None:
    config = load("production", learning_rate=1e-5, num_epochs=20, batch_size=64, beta1=0.8, patience=10)
    assert config.optimizer.settings.learning_rate == 1e-5
    assert config.optimizer.settings.beta1 == 0.8
    assert config.training.num_epochs == 20
    assert config.data.settings.batch_size == 64
    assert config.plugins[-1].settings.patience == 10


def test_names_of_plugins_sections_aliases_and_paths() -> None:
    config = load(
        None,
        early_stopping=True,
        progress=False,
        metrics=["f1"],
        optimizer="sgd",
        momentum=0.9,
        training={"seed": 7},
        train_batch_size=4,
        gradient_clip_value=0.5,
        early_stopping_patience=6,
        scheduler__warmup_steps=3,
        **{"data.max_length": 32},
    )
    assert config.optimizer.settings.momentum == 0.9
    assert (config.training.seed, config.training.metrics[0].name) == (7, "f1")
    assert (config.data.settings.batch_size, config.data.settings.max_length) == (4, 32)
    assert config.scheduler.settings.warmup_steps == 3
    plugins = {choice.name: choice.settings for choice in config.plugins}
    assert "progress" not in plugins
    assert (plugins["gradient_clipping"].max_norm, plugins["early_stopping"].patience) == (0.5, 6)


def test_bare_names_that_nothing_or_much_knows() -> None:
    assert refused(None, learning_rte=1) == [
        "learning_rte: expected the name of a setting, a section or a plugin (did you mean 'learning_rate'?)"
    ]
    assert refused(None, monitor=3) == ["training.monitor: expected text, got 3"]
    assert refused({"plugins": {"cross_validation": {}, "kaggle": {}, "restless": False}}, zzz=1, seed="x") == [
        "zzz: expected the name of a setting, a section or a plugin",
        "training.seed: expected int, got 'x'",
    ]
    assert refused({"early_stopping": {}, "plateau": {}}, patience=1) == [
        "patience: expected the name of one setting, but plugins.early_stopping.patience and plugins.plateau.patience "
        "have it; write early_stopping__patience=1 or plateau__patience=1"
    ]
    assert refused(None, seed=object()) == [
        "seed: expected a number, text, true, false, None, a list or a mapping, got object"
    ]


def test_spellings_of_the_original(here: Path) -> None:
    write(
        here / "run.yaml",
        "data: {train_batch_size: 16, pin_memory: false}\n"
        "training:\n  early_stopping: true\n  early_stopping_patience: 5\n  gradient_clip_value: 2.0\n"
        "  metric_for_best_model: eval_f1\n  save_strategy: best\n",
    )
    config = load("run.yaml")
    plugins = {choice.name: choice.settings for choice in config.plugins}
    assert config.data.settings.batch_size == 16
    assert config.training.monitor == "eval_f1"
    assert plugins["early_stopping"].patience == 5
    assert plugins["gradient_clipping"].max_norm == 2.0
    assert plugins["checkpoint"].save_strategy == "best"
    write(here / "run.yaml", "training:\n  early_stopping: false\n  early_stopping_patience: 5\n")
    assert [choice.name for choice in load("run.yaml").plugins] == DEFAULTS
    write(
        here / "run.yaml",
        "data:\n  train_batch_size: 16\n  batch_size: 3\ntraining:\n  early_stopping_patience: three\n",
    )
    assert refused("run.yaml") == [
        "run.yaml:2: data.train_batch_size: expected either data.train_batch_size or data.batch_size, "
        "they mean the same",
        "run.yaml:5: plugins.early_stopping.patience (written training.early_stopping_patience): "
        "expected int, got 'three' (early_stopping, stepbus 0.1.0)",
    ]


def test_warm_up_and_the_length_of_the_run(here: Path) -> None:
    write(here / "run.yaml", "scheduler:\n  warmup_steps: 50\ntraining: {max_steps: 50}\n")
    assert refused("run.yaml") == [
        "run.yaml:2: scheduler.warmup_steps: expected a warm-up shorter than training.max_steps (50), got 50"
    ]
    write(here / "run.yaml", "scheduler:\n  warmup_steps: 50\n")
    config = load("run.yaml")
    assert check_schedule(config, 51) == []
    assert [str(problem) for problem in check_schedule(config, 40)] == [
        "run.yaml:2: scheduler.warmup_steps: expected a warm-up shorter than the run of 40 updates, got 50"
    ]


def test_problems_found_later_get_file_and_line(here: Path) -> None:
    write(here / "run.yaml", "training:\n  monitor: eval_f2\nplugins:\n  early_stopping:\n    patience: 2\n")
    config = load("run.yaml")
    assert (
        str(config.locate(Problem("training.monitor", "no such metric")))
        == "run.yaml:2: training.monitor: no such metric"
    )
    assert config.locate(Problem("plugins.early_stopping.monitor", "x")).line == 4
    assert config.locate(Problem("nowhere", "x")).line is None
    assert config.locate(Problem("training.monitor", "x", "other.yaml", 9)).line == 9


def test_json_is_a_configuration_too(here: Path) -> None:
    write(here / "run.json", json.dumps({"training": {"seed": 3}, "optimizer": {"learning_rate": 2e-5}}, indent="\t"))
    config = load("run.json")
    assert (config.training.seed, config.optimizer.settings.learning_rate) == (3, 2e-5)


def test_components_of_plugins_passed_in_python() -> None:
    rival = fakes.offer(fakes.Component("optimizer", "mine", fakes.SGDConfig, fakes.build))
    config = load_config({"optimizer": "mine"}, extra_plugins=[rival], loader=fakes.Loader())
    assert config.optimizer.name == "mine"
    assert config.updated({"momentum": 0.5}).optimizer.settings.momentum == 0.5


def test_a_tree_that_was_stored_gives_the_same_configuration(here: Path) -> None:
    write(here / "run.yaml", "extends: production\ndata: {train: a.csv}\noptimizer: {learning_rate: 3e-5}\n")
    config = load("run.yaml", "plugins.progress=false")
    again = load(parse(to_yaml(config.tree), Mark("stored", 1)).plain())  # type: ignore[union-attr]
    assert again.tree == config.tree == json.loads(json.dumps(config.tree))
    assert again.digest() == config.digest()
    assert again.resolved() == config.resolved() == json.loads(json.dumps(config.resolved()))


def test_the_digest_says_what_a_run_computes(here: Path) -> None:
    plain = load()
    assert plain.digest() == load({"training": {"num_epochs": 3}, "optimizer": {"learning_rate": 0.00005}}).digest()
    assert plain.digest() == load({"environment": {"output_dir": "elsewhere"}, "data": {"train": "x.csv"}}).digest()
    for changed in ({"training": {"seed": 1}}, {"plugins": {"early_stopping": {}}}, {"model": {"pretrained": "a/b"}}):
        assert plain.digest() != load(changed).digest()


def test_settings_objects_stand_for_what_was_set_in_them() -> None:
    base = {"training": {"seed": 7}, "optimizer": {"learning_rate": 1e-4}}
    config = load(base, training=TrainingSettings(num_epochs=9, monitor="eval_f1"), data=DataSettings(batch_size=4))
    assert (config.training.num_epochs, config.training.monitor, config.training.seed) == (9, "eval_f1", 7)
    assert (config.data.name, config.data.settings.batch_size) == ("text", 4)
    again = load(
        None, model={"pooling": config.model.settings.pooling}, early_stopping=fakes.EarlyStopping.Config(patience=8)
    )
    assert again.plugins[-1].settings.patience == 8
    assert refused(None, training=TrainingSettings(num_epochs=0)) == [
        "training.num_epochs: expected a number of at least 1, got 0"
    ]


def test_what_a_settings_object_leaves_as_it_was_is_said() -> None:
    """Whether its default was set, it does not remember; the classes of sections do."""
    base = {"training": {"num_epochs": 10, "seed": 7}, "early_stopping": {"patience": 5}}
    config = load(base, training=TrainingSettings(num_epochs=3), early_stopping=fakes.EarlyStopping.Config(patience=3))
    assert (config.training.num_epochs, config.plugins[-1].settings.patience) == (10, 5)
    assert [note.partition(": a settings")[0] for note in config.notes] == [
        "training.num_epochs: it stays 10",
        "training.seed: it stays 7",
        "plugins.early_stopping.patience: it stays 5",
    ]
    assert config.notes[0].endswith("(3) does not say whether it was set; write TrainingConfig(num_epochs=…)")
    assert load(None, training=TrainingSettings(num_epochs=3)).notes == ()


def test_update_keeps_everything_else(here: Path) -> None:
    write(here / "run.yaml", "training: {seed: 9}\ndata: {train: a.csv}\n")
    config = load("run.yaml")
    changed = config.updated({"learning_rate": 1e-6}, ["training.num_epochs=5"])
    assert (changed.training.seed, changed.training.num_epochs) == (9, 5)
    assert changed.optimizer.settings.learning_rate == 1e-6
    assert changed.data.settings.train == str(here / "a.csv")
    assert config.updated({}) is config
    assert load_config(config, keywords={"seed": 4}).training.seed == 4
    with pytest.raises(ConfigError, match=r"training\.num_epochs: expected a number of at least 1"):
        config.updated({"num_epochs": 0})


def test_nested_settings_and_required_ones(here: Path) -> None:
    write(here / "run.yaml", "picky:\n  inner: {size: 2, names: [a, 3]}\n  pair: [1]\n  weights: {a: x}\n  score: f2\n")
    assert [line.partition(", got")[0] for line in refused("run.yaml")] == [
        "run.yaml:1: plugins.picky.target: expected a value (what to aim at)",
        "run.yaml:2: plugins.picky.inner.names[1]: expected text",
        "run.yaml:3: plugins.picky.pair: expected a list of 2",
        "run.yaml:4: plugins.picky.weights.a: expected number",
        "run.yaml:5: plugins.picky.score: expected a known metric",
    ]
    write(here / "run.yaml", "picky: {target: x, score: {type: f1, average: micro}, folder: here}\n")
    made = load("run.yaml").plugins[-1].settings
    assert (made.score.name, made.score.settings.average, made.folder) == ("f1", "micro", here / "here")


def test_nothing_heavy_is_imported_and_a_bad_file_answers_at_once(here: Path) -> None:
    write(here / "run.yaml", "training: {num_epochs: 0}\n")
    script = write(
        here / "check.py",
        "import sys\n"
        "import stepbus.config.load, stepbus.config.sections, stepbus.base.settings, stepbus.config.discovery.presets\n"
        "from stepbus.config.discovery.plugins import import_module\n"
        f"fakes = import_module({str(fakes.__file__)!r})\n"
        "try:\n    stepbus.config.load.load_config('run.yaml', loader=fakes.Loader())\n"
        "except stepbus.ConfigError as error:\n    print(error)\n"
        "heavy = {'mlx', 'pandas', 'sklearn', 'numpy', 'tokenizers', 'stepbus_plugins'} & set(sys.modules)\n"
        "print(sorted(heavy))\n",
    )
    out = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout
    assert out == "run.yaml:1: training.num_epochs: expected a number of at least 1, got 0\n[]\n"


def test_a_good_configuration_loads_quickly() -> None:
    load()
    assert effort.calls_of(lambda: load("production")) < 30_000  # ten thousand, which take ten milliseconds


def test_get_trainer_config_is_load_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbus.config.by_name.load_config", lambda source: ("loaded", source))
    assert get_trainer_config("production") == ("loaded", "production")


leaves = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b"]) | st.lists(st.integers(), max_size=2)
)
mappings = st.recursive(
    st.dictionaries(st.sampled_from("abc"), leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), leaves | inner, max_size=3),
    max_leaves=6,
)


def node(value: Any) -> Node:
    return from_python(value, Mark())


@settings(max_examples=50, deadline=None)
@given(mappings, mappings, mappings)
def test_laws_of_merging(one: Any, two: Any, three: Any) -> None:
    a, b, c = node(one), node(two), node(three)
    assert merge(a, Node({})).plain() == one == merge(Node({}), a).plain()
    assert merge(a, a).plain() == one
    assert merge_all([a, b, c]).plain() == merge(merge(a, b), c).plain()
    merged = merge(a, b).plain()
    assert set(merged) == set(one) | set(two)
    assert all(merged[key] == value for key, value in two.items() if not isinstance(value, dict))
    # A lower layer's keys keep their place.
    assert list(merged)[: len(one)] == list(one)
    # Merging leaves its arguments alone.
    assert (a.plain(), b.plain()) == (one, two)


# Keys that hold mappings in every layer or in none: between a mapping and a leaf, the order of laying matters.
shaped = st.recursive(
    st.dictionaries(st.sampled_from("abc"), leaves, max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50, deadline=None)
@given(shaped, shaped, shaped)
def test_layers_of_one_shape_may_be_grouped_at_will(one: Any, two: Any, three: Any) -> None:
    a, b, c = node(one), node(two), node(three)
    assert merge(merge(a, b), c).plain() == merge(a, merge(b, c)).plain()


def test_a_bare_name_goes_to_no_plugin_that_nobody_named() -> None:
    words = "expected a setting of a section or of a plugin that you name, but it is that of"
    assert refused_by_us(patience=5) == [
        f"patience: {words} plugins.nan_guard.patience and plugins.early_stopping.patience; write "
        'nan_guard__patience=5 or early_stopping={"patience": 5}'
    ]
    assert refused_by_us(max_norm=0.5) == [
        f"max_norm: {words} plugins.gradient_clipping.max_norm; write gradient_clipping__max_norm=0.5"
    ]
    assert refused_by_us(min_delta=0.1) == [
        f'min_delta: {words} plugins.early_stopping.min_delta; write early_stopping={{"min_delta": 0.1}}'
    ]


def test_a_bare_name_of_a_component_says_which_section_picks_it() -> None:
    words = "expected the name of a setting, a section or a plugin; write"
    assert refused_by_us(type="table") == [f"type: {words} data={{'type': 'table'}}"]
    assert refused_by_us(columns=["Sex"]) == [f"columns: {words} data={{'type': 'table', 'columns': ['Sex']}}"]
    assert refused_by_us(gamma=2.0) == [
        f"gamma: {words} loss={{'type': 'focal', 'gamma': 2.0}} or scheduler={{'type': 'exponential', 'gamma': 2.0}}"
    ]
    assert refused_by_us(type="tabel") == ["type: expected the name of a setting, a section or a plugin"]


def refused_by_us(source: Any = None, **keywords: Any) -> list[str]:
    """Return why stepbus's own plugins take no such keywords."""
    with pytest.raises(ConfigError) as caught:
        load_config(source, keywords=keywords)
    return [str(problem) for problem in caught.value.problems]


def test_what_is_said_to_be_written_does_what_is_meant() -> None:
    for keywords, plugin in (
        ({"nan_guard__patience": 5}, "nan_guard"),
        ({"early_stopping": {"patience": 5}}, "early_stopping"),
        ({"early_stopping": True, "patience": 5}, "early_stopping"),
    ):
        found = {choice.name: choice.settings for choice in load_config(None, keywords=keywords).plugins}
        assert found[plugin].patience == 5
    plateau = {"scheduler": "reduce_on_plateau", "patience": 5}
    assert load_config(None, keywords=plateau).scheduler.settings.patience == 5
    assert refused_by_us("production", **plateau) == [
        "patience: expected the name of one setting, but scheduler.patience and plugins.early_stopping.patience have "
        "it; write scheduler__patience=5 or early_stopping__patience=5"
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "file"),
    [
        ("extends: production\n", [], "run.yaml"),
        ("extends: production\ndata: {batch_size: 4}\n", ["data.max_length=8"], "run.yaml:2"),
        ("", [], None),
    ],
)
def test_no_preset_is_blamed_for_what_the_user_left_out(
    here: Path, text: str, overrides: list[str], file: str | None
) -> None:
    write(here / "run.yaml", text)
    config = load("run.yaml" if text else "production", *overrides)
    problem = config.place(DataError("data.label: expected the column to predict, got none"))
    place = ":".join(str(part) for part in (problem.file, problem.line) if part is not None)
    assert place == (file or "")
    where = "run.yaml" if text else "a file of yours"
    ways = f"give it in {where}, with --set data.label=…, or in Python as label=…"
    assert problem.message == f"expected the column to predict, got none; {ways}"


def test_what_is_printed_loads_again_with_what_was_off_and_where_plugins_come_from(here: Path) -> None:
    write(
        here / "mine.py", "from stepbus import hookimpl\nclass Mine:\n    @hookimpl\n    def on_step_end(self): ...\n"
    )
    text = (
        "plugins: {progress: false, mine: {use: './mine.py:Mine', on_error: disable}, early_stopping: {patience: 9}}\n"
    )
    config = load(write(here / "run.yaml", text))
    again = load(write(here / "elsewhere" / "run.yaml", to_yaml(config.resolved())))
    assert [(choice.name, choice.on_error) for choice in again.plugins] == [
        (choice.name, choice.on_error) for choice in config.plugins
    ]
    assert "progress" not in [choice.name for choice in again.plugins]
    assert [choice.on_error for choice in again.plugins if choice.name == "mine"] == ["disable"]
    assert again.resolved() == config.resolved()
    assert again.digest() == config.digest()
