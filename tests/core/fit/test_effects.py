"""Settings without effect: what is refused, what is said by a run and by its plan, and why nothing is evaluated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from stepbus import Callback, ConfigError, create_trainer, load_config
from stepbus.plan.planning import describe_plan
from stepbus.testing import play

Make = Callable[..., dict[str, Any]]


class Listener(Callback):
    """Notes what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_message(self, text: str) -> None:
        self.said.append(text)


def said(tree: Any) -> list[str]:
    """Return what a run says, having seen that its plan says the same."""
    listener = Listener()
    create_trainer(config=tree, plugins=[listener]).train()
    notes = describe_plan(tree)["notes"]
    assert [note for note in notes if note not in listener.said] == []
    return notes


def refused(tree: Any) -> list[str]:
    """Return why a run is refused, having seen that its plan refuses the same."""
    with pytest.raises(ConfigError) as caught:
        create_trainer(config=tree).train()
    found = [f"{problem.path}: {problem.message}" for problem in caught.value.problems]
    assert [f"{each['path']}: {each['message']}" for each in describe_plan(tree)["problems"]] == found
    return found


def test_more_steps_than_the_epochs_give(tiny_config: Make) -> None:
    assert said(tiny_config(training={"max_steps": 1000})) == [
        "training.max_steps: 1,000 updates are never reached, because there are 22 in 2 epochs; a larger "
        "training.num_epochs trains longer"
    ]
    assert said(tiny_config(training={"max_steps": 22})) == []


@pytest.mark.parametrize(
    ("training", "words"),
    [
        (
            {"max_steps": 5},
            "training.max_steps: nothing is evaluated before the end of the training: training.max_steps ends the fit "
            "after 5 updates, within its first epoch of 11; raise it, or set eval_strategy: steps with eval_steps",
        ),
        (
            {"eval_strategy": "steps", "eval_steps": 500},
            "training.eval_steps: nothing is evaluated before the end of the training: training.eval_steps is 500 and "
            "the fit has 22 updates; lower eval_steps",
        ),
    ],
)
def test_an_evaluation_that_never_comes(tiny_config: Make, training: dict[str, Any], words: str) -> None:
    assert said(tiny_config(training=training)) == [words]
    why = words.partition("the training: ")[2]
    plugins: dict[str, Any] = {"progress": False}
    assert refused(tiny_config(training=training, plugins={**plugins, "early_stopping": {}})) == [
        f"plugins.early_stopping: expected an evaluation to watch, but {why}, or switch early_stopping off"
    ]
    assert refused(tiny_config(training=training, plugins={**plugins, "checkpoint": {"save_strategy": "best"}})) == [
        f"plugins.checkpoint.save_strategy: expected an evaluation that can be the best, but {why}, or save by epoch "
        "or steps"
    ]
    assert refused(tiny_config(training=training, scheduler={"type": "reduce_on_plateau"})) == [
        f"scheduler: expected an evaluation to watch, but {why}, or take another schedule than reduce_on_plateau"
    ]


@pytest.mark.parametrize("training", [{"max_steps": 11}, {"eval_strategy": "steps", "eval_steps": 22}])
def test_an_evaluation_at_the_very_end_is_one(tiny_config: Make, training: dict[str, Any]) -> None:
    assert said(tiny_config(training=training, plugins={"progress": False, "early_stopping": {}})) == []


def test_steps_beside_another_strategy() -> None:
    with pytest.raises(ConfigError, match=r"eval_steps: expected eval_strategy: steps with eval_steps, got 'no'"):
        load_config({"training": {"eval_strategy": "no", "eval_steps": 5}})
    config = load_config({"training": {"eval_steps": 5}})
    assert config.notes == (
        "training.eval_steps: it has no effect with eval_strategy: epoch; eval_strategy: steps uses it",
    )
    metrics = [{"eval_loss": 0.5}]
    played = play(steps_per_epoch=5, metrics=metrics, eval_steps=2)
    assert [record["step"] for record in played.state.history] == [5, 10]


def test_a_direction_against_the_metrics_own(tiny_config: Make) -> None:
    assert refused(tiny_config(training={"monitor": "eval_accuracy", "greater_is_better": False})) == [
        "training.greater_is_better: expected true, because more eval_accuracy is better, got false; leave it out"
    ]
    assert refused(tiny_config(training={"greater_is_better": True})) == [
        "training.greater_is_better: expected false, because less eval_loss is better, got true; leave it out"
    ]
    assert said(tiny_config(training={"monitor": "eval_accuracy", "greater_is_better": True})) == []


def test_what_the_original_module_writes_loads_and_says_what_is_without_effect() -> None:
    config = load_config(
        {
            "data": {
                "train_batch_size": 32, "eval_batch_size": 64, "num_workers": 8, "prefetch_size": 4,
                "drop_last": False, "pin_memory": False,
            },
            "training": {
                "num_epochs": 10, "gradient_accumulation_steps": 1, "gradient_clip_value": 1.0,
                "eval_strategy": "epoch", "eval_steps": 500, "save_strategy": "best", "save_steps": 1000,
                "metric_for_best_model": "eval_loss", "greater_is_better": False, "early_stopping_patience": 3,
                "early_stopping_threshold": 0.001,
            },
        }
    )  # fmt: skip
    settings = {choice.name: choice.settings for choice in config.plugins}
    assert (settings["early_stopping"].patience, settings["early_stopping"].min_delta) == (3, 0.001)
    assert [note.partition(":")[0] for note in config.notes] == [
        "data.pin_memory",
        "training.eval_steps",
        "plugins.checkpoint.save_steps (written training.save_steps)",
    ]


@pytest.mark.parametrize(
    ("alias", "plugin", "name"),
    [
        ("early_stopping_patience", "early_stopping", "patience"),
        ("early_stopping_threshold", "early_stopping", "min_delta"),
        ("gradient_clip_value", "gradient_clipping", "max_norm"),
        ("save_steps", "checkpoint", "save_steps"),
    ],
)
@pytest.mark.parametrize("in_python", [True, False])
def test_an_alias_alone_switches_its_plugin_on(alias: str, plugin: str, name: str, in_python: bool) -> None:
    base = {"plugins": {plugin: False}}
    assert plugin not in [choice.name for choice in load_config(base).plugins]
    config = load_config(base, keywords={alias: 7}) if in_python else load_config(base, [f"training.{alias}=7"])
    [chosen] = [choice for choice in config.plugins if choice.name == plugin]
    assert getattr(chosen.settings, name) == 7


def test_an_alias_beside_its_plugin_switched_off_is_said() -> None:
    config = load_config({"training": {"early_stopping": False, "early_stopping_patience": 10}})
    assert config.notes == (
        "training.early_stopping_patience: it has no effect, because training.early_stopping is false beside it; leave "
        "one of them out",
    )


def test_splits_that_there_are_none_of(tiny_config: Make) -> None:
    assert said(tiny_config(data={"stratify": True, "group": "label"})) == [
        "data.stratify: it has no effect, because no rows are split here",
        "data.group: no rows are kept together by it, because none are split",
    ]
    assert said(tiny_config(data={"stratify": True, "validation": 0.25})) == []


def test_a_split_that_python_asks_for(tiny_config: Make, caplog: pytest.LogCaptureFixture) -> None:
    tree = tiny_config(data={"stratify": True, "group": "text", "validation": None}, training={"max_steps": 1})
    trainer = create_trainer(config=tree)
    trainer.train(validation=0.25)
    assert "split" not in caplog.text
    trainer.train(validation=tiny_config()["data"]["validation"])
    assert "data.stratify: it has no effect, because no rows are split here" in caplog.text


def test_workers_give_the_same_bits(tiny_config: Make) -> None:
    found = []
    for workers in (0, 1, 3):
        tree = tiny_config(data={"num_workers": workers}, environment={"output_dir": f"run-{workers}"})
        tree["environment"]["output_dir"] = str(Path(tiny_config()["environment"]["output_dir"]).parent / f"w{workers}")
        found.append([record["eval_loss"] for record in create_trainer(config=tree).train().history])
    assert found[0] == found[1] == found[2]


def test_callbacks_are_plugins(tiny_config: Make) -> None:
    listener = Listener()
    tree = tiny_config(data={"pin_memory": True})
    create_trainer(config=tree, callbacks=[listener]).train()
    assert listener.said[0] == "data.pin_memory: it has no effect: memory is unified, there is nothing to pin"


def test_no_preset_is_blamed_for_a_plugin_that_it_switches_on(tiny_config: Make, tmp_path: Path) -> None:
    tree = tiny_config(training={"eval_strategy": "no"})
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({"extends": "production", **tree}))
    [problem] = describe_plan(file)["problems"]
    assert (problem["path"], problem["file"]) == ("plugins.early_stopping", str(file))


def test_settings_beside_others_that_decide(tiny_config: Make) -> None:
    assert said(tiny_config(data={"tokens_per_batch": 64})) == [
        "data.batch_size: it counts in evaluations only, because of tokens_per_batch"
    ]
    assert said(tiny_config(data={"tokens_per_batch": 64, "eval_batch_size": 8})) == [
        "data.batch_size: it has no effect beside tokens_per_batch and eval_batch_size"
    ]
    short = tiny_config(data={"tokens_per_batch": 8}, training={"max_steps": 2})
    assert [note for note in said(short) if "longer" in note] == [
        "data.tokens_per_batch: a row of 14 tokens is longer than 8, and makes a larger batch by itself"
    ]
    config = load_config({"data": {"type": "table", "numbers": "value", "bins": 5}})
    assert config.notes == ("data.bins: it has no effect with numbers: value; words and both use it",)
    kept = {"save_strategy": "no", "keep_last": 5, "keep_best": 3}
    words = "it has no effect with save_strategy: no, where nothing is saved"
    assert load_config({"plugins": {"checkpoint": kept}}).notes == (
        f"plugins.checkpoint.keep_last: {words}",
        f"plugins.checkpoint.keep_best: {words}",
    )
    assert load_config({"data": {"type": "table", "bins": 5}}).notes == ()
