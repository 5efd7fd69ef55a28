"""Spellings of the original module: values and names that can mean one thing, in files, keywords and classes."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import ConfigError, OptimizerConfig, TrainingConfig, load_config


def plugin(config: Any, name: str) -> Any:
    return next(each.settings for each in config.plugins if each.name == name)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("val_loss", "eval_loss"),
        ("val_accuracy", "eval_accuracy"),
        ("accuracy", "eval_accuracy"),
        ("f1", "eval_f1"),
        ("eval_f1", "eval_f1"),
        ("train_loss", "train_loss"),
        ("loss", "loss"),  # which may be that of training or of validation: the plan refuses it, and names both
        ("val_", "val_"),
    ],
)
def test_line_44_metrics_to_watch(written: str, meant: str) -> None:
    for config in (
        load_config({"training": {"monitor": written}}),
        load_config(None, keywords={"monitor": written}),
        load_config(None, keywords={"metric_for_best_model": written}),
        load_config(None, keywords={"training": TrainingConfig(metric_for_best_model=written)}),
        load_config(None, [f"training.monitor={written}"]),
    ):
        assert config.training.monitor == meant
        assert config.tree["training"]["monitor"] == config.resolved()["training"]["monitor"] == meant
    plateau = {"type": "reduce_on_plateau", "monitor": written}
    config = load_config({"early_stopping": {"monitor": written}, "scheduler": plateau})
    assert plugin(config, "early_stopping").monitor == config.scheduler.settings.monitor == meant


def test_a_spelling_is_no_change_of_the_run() -> None:
    one, two = (load_config({"training": {"monitor": name}}) for name in ("val_loss", "eval_loss"))
    assert one.digest() == two.digest()
    assert one.updated({"num_epochs": 9}).training.monitor == "eval_loss"


@pytest.mark.parametrize("written", [{"strategy": "timeseries"}, {"cv_strategy": "timeseries"}])
def test_line_66_time_series(written: dict[str, str]) -> None:
    config = load_config({"cross_validation": written})
    assert plugin(config, "cross_validation").strategy == "time_series"
    config = load_config(None, keywords={"cv_strategy": "timeseries", "cv_folds": 4})
    assert (plugin(config, "cross_validation").strategy, plugin(config, "cross_validation").folds) == ("time_series", 4)


def test_line_154_the_number_of_folds() -> None:
    for config in (
        load_config({"cross_validation": {"cv_folds": 7}}),
        load_config({"plugins": {"cross_validation": {"n_folds": 7}}}),
        load_config(None, keywords={"n_folds": 7}),
        load_config(None, keywords={"cv_folds": 7}),
        load_config(None, keywords={"cross_validation__cv_folds": 7}),
        load_config(None, ["plugins.cross_validation.n_folds=7"]),
    ):
        assert plugin(config, "cross_validation").folds == 7


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"cross_validation": {"cv_folds": 7, "folds": 5}}, "either plugins.cross_validation.cv_folds or plugins"),
        ({"cross_validation": {"strategy": "timeserie"}}, r"got 'timeserie' \(did you mean 'time_series'"),
        ({"training": {"cv_folds": 7}}, "did you mean 'plugins.cross_validation.folds'"),
        ({"cv_folds": 7}, "did you mean 'plugins.cross_validation.folds'"),
        ({"training": {"eval_accuracy": True}}, "training.eval_accuracy: expected a known setting"),
    ],
)
def test_what_can_mean_more_or_nothing_is_refused(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(tree)


def test_two_values_of_one_setting_in_a_call_are_a_contradiction() -> None:
    for keywords in (
        {"training": TrainingConfig(num_epochs=1), "num_epochs": 2},
        {"training": {"num_epochs": 1}, "num_epochs": 2},
        {"training.num_epochs": 1, "num_epochs": 2},
        {"num_epochs": 2, "training__num_epochs": 1},
        {"training.num_epochs": 1, "training__num_epochs": 2},
    ):
        with pytest.raises(ConfigError) as refused:
            load_config(None, keywords=keywords)
        assert str(refused.value) == (
            "training.num_epochs: expected one value of it in a call, got 1 and 2; leave one out"
        )
        with pytest.raises(ConfigError, match="expected one value of it in a call"):
            load_config(None).updated(keywords)
    with pytest.raises(ConfigError, match=r"data\.batch_size: expected one value of it in a call, got 8 and 4"):
        load_config(None, keywords={"batch_size": 4, "train_batch_size": 8})
    with pytest.raises(ConfigError, match=r"optimizer\.learning_rate: expected one value of it in a call"):
        load_config(None, keywords={"optimizer": OptimizerConfig(learning_rate=0.1), "learning_rate": 0.2})
    # One value twice is one value, and what a file or a preset says is there to be overridden.
    assert load_config(None, keywords={"training": {"num_epochs": 2}, "num_epochs": 2}).training.num_epochs == 2
    assert load_config({"training": {"num_epochs": 1}}, keywords={"num_epochs": 2}).training.num_epochs == 2
    assert load_config("production", keywords={"num_epochs": 2}).training.num_epochs == 2
