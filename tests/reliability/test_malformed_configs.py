"""Malformed configurations: each written by hand gets its line and its words; fuzzed ones never end otherwise."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepbus.base.errors import ConfigError
from stepbus.base.trees.yaml_writer import to_yaml
from stepbus.config.discovery.plugins import import_module
from stepbus.config.load import load_config

fakes = import_module(str(Path(__file__).parents[1] / "fixtures" / "fake_plugins.py"))
effort: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "effort.py"))

# The text, and for each problem that it must report: the line, and how path and message begin.
MALFORMED: list[tuple[str, list[tuple[int, str]]]] = [
    # -- the text itself
    ("", [(1, "expected a mapping of sections, the file is empty")]),
    ("# nothing\n", [(1, "expected a mapping of sections, the file is empty")]),
    ("---\n...\n", [(2, "expected a mapping of sections, got null")]),
    ("- model\n- data\n", [(1, "expected a mapping of sections, got a list")]),
    ("train\n", [(1, "expected a mapping of sections, got 'train'")]),
    ("42\n", [(1, "expected a mapping of sections, got 42")]),
    ("data: {}\n\tx: 1\n", [(2, "the text is no YAML: expected spaces as indentation, got a tab")]),
    ("data:\n  batch_size: 1\n batch: 2\n", [(3, "the text is no YAML")]),
    ("data: {batch_size: 1\ntraining: {}\n", [(2, "the text is no YAML")]),
    ("data: batch_size: 1\n", [(1, "the text is no YAML: mapping values are not allowed")]),
    ("data: `x`\n", [(1, "the text is no YAML")]),
    ("data: {batch_size 1}\n", [(1, "data.batch_size 1: expected a known setting, got 'batch_size 1' (did you mean")]),
    ("data: 'open\n", [(2, "the text is no YAML")]),
    ("data: {}\n---\ndata: {}\n", [(2, "expected one document")]),
    ("a: \x1b[31m\n", [(1, "expected text, got the control character U+001B")]),
    ("data: {}\n\ndata: {}\n", [(3, "the key 'data' is there twice, first in line 1")]),
    ("data:\n  batch_size: 1\n  max_length: 8\n  batch_size: 2\n", [(4, "the key 'batch_size' is there twice")]),
    ("base: &base {seed: 1}\n", [(1, "anchors and aliases")]),
    ("training: *base\n", [(1, "anchors and aliases")]),
    ("training:\n  <<: {seed: 1}\n", [(2, "merge keys (<<)")]),
    ("training:\n  seed: !!int '3'\n", [(2, "tags are not read")]),
    ("training: !!python/object/new:os.system [echo]\n", [(1, "tags are not read")]),
    ("training:\n  ? [a]\n  : 1\n", [(2, "expected a name as key")]),
    ("training:\n  ? ''\n  : 1\n", [(2, "expected a name as key")]),
    ("x: " + "[" * 30 + "]" * 30 + "\n", [(1, "expected at most 20 levels of nesting")]),
    ("x: [" + "1, " * 60_000 + "]\n", [(1, "expected at most 50,000 keys and values")]),
    ("x: " + "y" * 1_000_001, [(0, "expected at most 1,000,000 bytes")]),
    # -- sections
    ("modle: {}\n", [(1, "modle: expected a section or an installed plugin, got 'modle' (did you mean 'model'?)")]),
    ("\nzzz: 1\n", [(2, "zzz: expected a section or an installed plugin, got 'zzz'; sections: model, data")]),
    ("Training: {}\n", [(1, "Training: expected a section or an installed plugin, got 'Training' (did you mean")]),
    ("training: 5\n", [(1, "training: expected a mapping of settings, got 5")]),
    ("training: [seed]\n", [(1, "training: expected a mapping of settings, got a list")]),
    ("environment: runs\n", [(1, "environment: expected a mapping of settings, got 'runs'")]),
    ("model: 3\n", [(1, "model: expected a mapping of settings, got 3")]),
    ("optimizer: adamx\n", [(1, "optimizer.type: expected a known optimizer, got 'adamx' (did you mean 'adamw'?)")]),
    ("optimizer: {type: 3}\n", [(1, "optimizer: expected a name, or a mapping with type:, for the optimizer")]),
    ("optimizer: {type: }\n", [(1, "optimizer: expected a name, or a mapping with type:, for the optimizer")]),
    ("data: {type: [text]}\n", [(1, "data: expected a name, or a mapping with type:, for the data")]),
    ("data:\n  type: tabel\n", [(2, "data.type: expected a known data, got 'tabel' (did you mean 'table'?)")]),
    ("scheduler:\n  type: Linear\n", [(2, "scheduler.type: expected a known scheduler, got 'Linear'")]),
    ("model:\n  type: gpt\n", [(2, "model.type: expected a known model, got 'gpt'; known: bert")]),
    # -- types
    ("training:\n  num_epochs: 3.5\n", [(2, "training.num_epochs: expected int, got 3.5")]),
    ("training:\n  num_epochs: 3.0\n", [(2, "training.num_epochs: expected int, got 3.0")]),
    ("training:\n  num_epochs: '3'\n", [(2, "training.num_epochs: expected int, got '3'")]),
    ("training:\n  num_epochs: true\n", [(2, "training.num_epochs: expected int, got true")]),
    ("training:\n  num_epochs:\n", [(2, "training.num_epochs: expected int, got null")]),
    ("training:\n  num_epochs: 1_000\n", [(2, "training.num_epochs: expected int, got '1_000'")]),
    ("training:\n  num_epochs: 010\n", [(2, "training.num_epochs: expected int, got '010'")]),
    ("training:\n  num_epochs: [1]\n", [(2, "training.num_epochs: expected int, got a list")]),
    ("training:\n  seed: {a: 1}\n", [(2, "training.seed: expected int, got a mapping")]),
    ("training:\n  monitor: 3\n", [(2, "training.monitor: expected text, got 3")]),
    ("training:\n  monitor: null\n", [(2, "training.monitor: expected text, got null")]),
    ("training:\n  greater_is_better: yes\n", [(2, "training.greater_is_better: expected true or false, got 'yes'")]),
    ("training:\n  greater_is_better: 1\n", [(2, "training.greater_is_better: expected true or false, got 1")]),
    ("data:\n  drop_last: off\n", [(2, "data.drop_last: expected true or false, got 'off'")]),
    ("data:\n  stratify: 'true'\n", [(2, "data.stratify: expected true or false, got 'true'")]),
    ("data:\n  label: 7\n", [(2, "data.label: expected text or a list of text, got 7")]),
    ("data:\n  label: [a, 7]\n", [(2, "data.label[1]: expected text, got 7")]),
    ("data:\n  label:\n    - a\n    - {b: 1}\n", [(4, "data.label[1]: expected text, got a mapping")]),
    ("data:\n  validation: [a.csv]\n", [(2, "data.validation: expected text or number, got a list")]),
    ("data:\n  cache: 1\n", [(2, "data.cache: expected true or false or text, got 1")]),
    ("optimizer:\n  learning_rate: fast\n", [(2, "optimizer.learning_rate: expected number, got 'fast'")]),
    ("optimizer:\n  learning_rate: 2e\n", [(2, "optimizer.learning_rate: expected number, got '2e'")]),
    ("optimizer:\n  learning_rate: '1e-5'\n", [(2, "optimizer.learning_rate: expected number, got '1e-5'")]),
    ("optimizer:\n  learning_rate: false\n", [(2, "optimizer.learning_rate: expected number, got false")]),
    (
        "training:\n  eval_strategy: false\n",
        [(2, "training.eval_strategy: expected one of 'epoch', 'steps', 'no', got")],
    ),
    ("training:\n  eval_strategy: epochs\n", [(2, "training.eval_strategy: expected one of")]),
    ("training:\n  precision: fp16\n", [(2, "training.precision: expected one of 'auto', 'float32'")]),
    ("environment:\n  device: cuda\n", [(2, "environment.device: expected one of 'auto', 'cpu', 'gpu', got 'cuda'")]),
    ("training:\n  metrics: f1\n", [(2, "training.metrics: expected a list of metric names, got 'f1'")]),
    ("training:\n  metrics:\n    - f1\n    - f2\n", [(4, "training.metrics[1]: expected a known metric, got 'f2'")]),
    (
        "training:\n  metrics:\n    - {type: f1, average: mean}\n",
        [(3, "training.metrics[0].average: expected one of 'macro', 'micro', got 'mean'")],
    ),
    # -- impossible values
    ("optimizer:\n  learning_rate: -1e-5\n", [(2, "optimizer.learning_rate: expected a number above 0, got -1e-5")]),
    ("optimizer:\n  learning_rate: 0\n", [(2, "optimizer.learning_rate: expected a number above 0, got 0")]),
    ("optimizer:\n  learning_rate: .nan\n", [(2, "optimizer.learning_rate: expected a finite number, got .nan")]),
    ("optimizer:\n  learning_rate: 1e999\n", [(2, "optimizer.learning_rate: expected a finite number, got .inf")]),
    ("optimizer:\n  weight_decay: -0.1\n", [(2, "optimizer.weight_decay: expected a number of at least 0, got -0.1")]),
    ("optimizer:\n  beta1: 1.0\n", [(2, "optimizer.beta1: expected a number from 0 up to 1, got 1.0")]),
    ("training:\n  num_epochs: 0\n", [(2, "training.num_epochs: expected a number of at least 1, got 0")]),
    ("training:\n  num_epochs: -3\n", [(2, "training.num_epochs: expected a number of at least 1, got -3")]),
    ("training:\n  max_steps: 0\n", [(2, "training.max_steps: expected a number of at least 1, got 0")]),
    ("training:\n  seed: -1\n", [(2, "training.seed: expected an int from 0")]),
    ("training:\n  seed: 4294967296\n", [(2, "training.seed: expected an int from 0")]),
    (
        "training:\n  gradient_accumulation_steps: 0\n",
        [(2, "training.gradient_accumulation_steps: expected a number of at least 1, got 0")],
    ),
    ("training:\n  eval_strategy: steps\n", [(2, "training.eval_strategy: expected eval_steps to be set")]),
    ("training:\n  pipeline_depth: -1\n", [(2, "training.pipeline_depth: expected a number of at least 0, got -1")]),
    ("data:\n  batch_size: 0\n", [(2, "data.batch_size: expected a number of at least 1, got 0")]),
    ("data:\n  max_length: 1\n", [(2, "data.max_length: expected a number of at least 2, got 1")]),
    ("data:\n  validation: 1.0\n", [(2, "data.validation: expected a file or a fraction between 0 and 1, got 1.0")]),
    ("data:\n  validation: 0\n", [(2, "data.validation: expected a file or a fraction between 0 and 1, got 0")]),
    ("data:\n  label: []\n", [(2, "data.label: expected a column's name, or a list of different names, got a list")]),
    ("data:\n  label: [a, a]\n", [(2, "data.label: expected a column's name, or a list of different names")]),
    ("model:\n  dropout: 1\n", [(2, "model.dropout: expected a number from 0 up to, but not including, 1, got 1")]),
    ("scheduler:\n  warmup_ratio: 1.5\n", [(2, "scheduler.warmup_ratio: expected a number from 0 up to")]),
    ("scheduler:\n  warmup_ratio: -0.1\n", [(2, "scheduler.warmup_ratio: expected a number from 0 up to")]),
    ("scheduler:\n  warmup_steps: -5\n", [(2, "scheduler.warmup_steps: expected a number of at least 0, got -5")]),
    (
        "scheduler:\n  warmup_steps: 5\n  warmup_ratio: 0.1\n",
        [(3, "scheduler.warmup_ratio: expected either warmup_steps (5) or warmup_ratio, got both")],
    ),
    (
        "scheduler:\n  warmup_steps: 100\ntraining:\n  max_steps: 10\n",
        [(2, "scheduler.warmup_steps: expected a warm-up shorter than training.max_steps (10), got 100")],
    ),
    # -- unknown settings
    ("training:\n  epochs: 3\n", [(2, "training.epochs: expected a known setting, got 'epochs' (did you mean")]),
    (
        "optimizer:\n  lr: 1\n",
        [(2, "optimizer.lr: expected a known setting, got 'lr' (did you mean 'optimizer.learning_rate'?)")],
    ),
    ("optimizer:\n  momentum: 0.9\n", [(2, "optimizer.momentum: expected a known setting, got 'momentum'")]),
    ("scheduler:\n  min_lr: 1\n", [(2, "scheduler.min_lr: expected a known setting, got 'min_lr'")]),
    ("data:\n  columns: [a]\n", [(2, "data.columns: expected a known setting, got 'columns'")]),
    (
        "model:\n  pooling:\n    typ: mean\n",
        [(2, "model.pooling: expected a name, or a mapping with type:, for the pooling")],
    ),
    ("model:\n  pooling:\n    type: mean\n    heads: 2\n", [(4, "model.pooling.heads: expected a known setting")]),
    ("model:\n  head: binry\n", [(2, "model.head: expected a known head, got 'binry' (did you mean 'binary'?)")]),
    # -- plugins and hooks
    ("plugins: [early_stopping]\n", [(1, "plugins: expected a mapping from plugin names to settings, got a list")]),
    ("plugins: early_stopping\n", [(1, "plugins: expected a mapping from plugin names to settings, got 'early")]),
    (
        "plugins:\n  erly_stopping: {}\n",
        [(2, "plugins.erly_stopping: no installed plugin is called 'erly_stopping' (did")],
    ),
    ("plugins:\n  early_stopping: 3\n", [(2, "plugins.early_stopping: expected settings, true, false or null, got 3")]),
    (
        "plugins:\n  early_stopping: on\n",
        [(2, "plugins.early_stopping: expected settings, true, false or null, got 'on'")],
    ),
    (
        "plugins:\n  early_stopping:\n    patience: 0\n",
        [(3, "plugins.early_stopping.patience: expected a number of at")],
    ),
    (
        "plugins:\n  early_stopping:\n    patience: three\n",
        [(3, "plugins.early_stopping.patience: expected int, got 't")],
    ),
    (
        "plugins:\n  early_stopping:\n    patients: 3\n",
        [(3, "plugins.early_stopping.patients: expected a known setting")],
    ),
    ("early_stopping:\n  patience: 0\n", [(2, "plugins.early_stopping.patience: expected a number of at least 1")]),
    ("plugins:\n  nan_guard: {mode: 1}\n", [(2, "plugins.nan_guard.mode: expected no settings, got 'mode'")]),
    (
        "plugins:\n  progress: {on_error: skip}\n",
        [(2, "plugins.progress.on_error: expected raise or disable, got 'skip'")],
    ),
    ("plugins:\n  mine: {use: ./absent.py:Mine}\n", [(2, "plugins.mine: there is no file")]),
    ("plugins:\n  mine: {use: no_such_module:Mine}\n", [(2, "plugins.mine: cannot import no_such_module")]),
    ("plugins:\n  mine: {use: json}\n", [(2, "plugins.mine: expected use: module:Class")]),
    ("plugins:\n  mine: {use: 'json:Mine'}\n", [(2, "plugins.mine: json:Mine: the module")]),
    ("plugins:\n  mine: {use: [a]}\n", [(2, "plugins.mine.use: expected module:Class")]),
    ("plugins:\n  Mine: {use: 'json:JSONDecoder'}\n", [(2, "plugins.Mine: expected a plugin name of small letters")]),
    ("plugins:\n  picky: {}\n", [(2, "plugins.picky.target: expected a value (what to aim at), got none")]),
    (
        "plugins:\n  optimizers: false\n",
        [(0, "optimizer.type: expected a known optimizer, got 'adamw'; known: none, no plugin")],
    ),
    ("hooks: 3\n", [(1, "hooks: expected a module's name or a .py file, got 3")]),
    ("hooks:\n  - a\n  - ''\n", [(3, "hooks[1]: expected a module's name or a .py file, got ''")]),
    ("hooks: {a: b}\n", [(1, "hooks: expected a module's name or a .py file, got a mapping")]),
    # -- extends and other spellings
    ("extends: absent.yaml\n", [(1, "extends: there is no file 'absent.yaml'")]),
    ("extends: run.yaml\n", [(1, "extends: expected a file that does not come back to this one")]),
    (
        "extends: prodution\n",
        [(1, "extends: expected a preset or a file, got 'prodution' (did you mean 'production'?)")],
    ),
    ("extends: [3]\n", [(1, "extends: expected a file, a preset or a list of them, got 3")]),
    ("extends: .\n", [(1, "extends: expected a preset or a file, got '.'")]),
    (
        "data:\n  batch_size: 3\n  train_batch_size: 4\n",
        [(3, "data.train_batch_size: expected either data.train_batch_size or data.batch_size")],
    ),
    (
        "training:\n  early_stopping_patience: x\n",
        [(2, "plugins.early_stopping.patience (written training.early_stopping_patience): expected int, got 'x'")],
    ),
    # -- several at once, in the order of the file
    (
        "data:\n  batch_size: x\ntraining:\n  seed: y\n  typo: 1\nplugins:\n  nope: {}\n",
        [
            (2, "data.batch_size: expected int, got 'x'"),
            (4, "training.seed: expected int, got 'y'"),
            (5, "training.typo: expected a known setting, got 'typo'"),
            (7, "plugins.nope: no installed plugin is called 'nope'"),
        ],
    ),
]


def test_there_are_enough_of_them() -> None:
    assert len(MALFORMED) >= 80
    assert len({text for text, _ in MALFORMED}) == len(MALFORMED)


@pytest.mark.parametrize(("text", "expected"), MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[tuple[int, str]], tally: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with tally("5 malformed configurations by hand", repr(text[:200])) as seen:
        with effort.ends(), pytest.raises(ConfigError) as caught:
            load_config("run.yaml", loader=fakes.Loader())
        lines = [str(problem) for problem in caught.value.problems]
        assert len(lines) == len(expected), lines
        for line, (number, words) in zip(lines, expected, strict=True):
            assert line.startswith(f"run.yaml:{number}: {words}" if number else f"run.yaml: {words}"), line
        assert "\n" not in "".join(lines)
        assert [entry.name for entry in tmp_path.iterdir()] == ["run.yaml"]
        seen.refused(str(caught.value))


# Keys and values near to real ones, so that the fuzz gets past the first refusal.
names = st.sampled_from(
    [
        *("model", "data", "optimizer", "scheduler", "training", "environment", "plugins", "hooks", "extends", "type"),
        *(
            "learning_rate",
            "batch_size",
            "num_epochs",
            "metrics",
            "pooling",
            "label",
            "validation",
            "seed",
            "max_steps",
        ),
        *("warmup_steps", "warmup_ratio", "early_stopping_patience", "early_stopping", "patience", "use", "on_error"),
        *("kaggle", "picky", "inner", "weights", "nan_guard", "expand", "x"),
    ]
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["adamw", "bert", "text", "f1", "no", "./x.py:Y", "production", "quick_test", "mean", ""])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=15
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, trees, max_size=6))
def test_a_fuzzed_tree_is_a_configuration_or_a_config_error(tmp_path: Path, tree: dict[str, Any]) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(to_yaml(tree), encoding="utf-8")
    try:
        config = load_config(path, loader=fakes.Loader())
    except ConfigError as error:
        assert error.problems
        assert all(problem.message for problem in error.problems)
        return
    # What is accepted loads again as the same configuration.
    assert load_config(config.tree, loader=fakes.Loader()).digest() == config.digest()


@settings(max_examples=350, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120) | st.text(" \n\t:-,[]{}'\"#&*!|>%@`ab01.~?<é", max_size=80).map(str.encode))
def test_any_bytes_are_a_configuration_or_a_config_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(data)
    try:
        load_config(path, loader=fakes.Loader())
    except ConfigError as error:
        assert all(str(problem).startswith(str(path)) for problem in error.problems)


def test_a_bomb_of_aliases_is_refused_at_its_first_anchor(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    names = "abcdefghi"
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in itertools.pairwise(names)]
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=r"bomb\.yaml:1: anchors and aliases"):
        load_config(path, loader=fakes.Loader())
    assert yaml.safe_load("a: &a [1]\nb: *a") == {"a": [1], "b": [1]}  # PyYAML itself would expand it


def test_the_command_answers_at_once_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("training:\n  num_epochs: 0\nplugins:\n  early_stoping: {}\n")
    command = [sys.executable, "-X", "importtime", "-m", "stepbus.cli", "train", "run.yaml"]
    done = subprocess.run(
        [*command, "--set", "environment.output_dir=out"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done
    assert "run.yaml:2: training.num_epochs: expected a number of at least 1, got 0" in done.stderr
    assert "run.yaml:4: plugins.early_stoping: no installed plugin" in done.stderr
    assert "did you mean 'early_stopping'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.yaml"]
    imported = set(re.findall(r"^import time:.*\| +([a-z_]+)", done.stderr, re.MULTILINE))
    assert "stepbus" in imported
    assert not imported & {"mlx", "pandas", "sklearn", "tokenizers"}  # a second and more, together
