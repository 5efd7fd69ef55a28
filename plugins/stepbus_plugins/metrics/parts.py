"""Which metrics there are: names, tasks, directions, and what builds each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

from stepbus import Component
from stepbus_plugins.metrics import settings as of

VALUES = ("regression",)
SINGLE = ("binary", "multiclass")
CLASSES = (*SINGLE, "multilabel")


def _metric(
    name: str, config: type, build: Any, tasks: tuple[str, ...], *, greater: bool = True, default: Iterable[str] = ()
) -> Component:
    """Return a component; `default` holds the tasks that compute it when training.metrics names none."""
    return Component(
        "metric", name, config, build, {"tasks": tasks, "greater_is_better": greater, "default": tuple(default)}
    )


def _later(place: str, *arguments: str) -> Callable[[Any], Any]:
    """Return a build function that imports the scores only when it is called.

    Args:
        place: module.function of this package.
        *arguments: What the function is called with first, where it returns what builds.
    """
    module, function = place.split(".")

    def build(settings: Any) -> Any:
        make = getattr(import_module(f"stepbus_plugins.metrics.{module}"), function)
        return make(*arguments)(settings) if arguments else make(settings)

    return build


def _deciding(function: str, *arguments: str) -> Callable[..., Any]:
    """Return a build function of a metric of decisions, which are taken as the labels' codec has them."""

    def build(settings: Any, codec: Any = None) -> Any:
        make = getattr(import_module("stepbus_plugins.metrics.classification"), function)
        return make(*arguments)(settings, codec) if arguments else make(settings, codec)

    return build


PARTS = [
    _metric("accuracy", of.DecisionConfig, _deciding("accuracy"), CLASSES, default=CLASSES),
    *(
        _metric(name, of.AveragedConfig, _deciding("averaged", name), CLASSES, default=("binary",))
        for name in ("precision", "recall", "f1")
    ),
    *(
        _metric(
            f"f1_{average}",
            of.DecisionConfig,
            _deciding("averaged", "f1", average),
            CLASSES,
            default=("multiclass", "multilabel"),
        )
        for average in ("macro", "micro")
    ),
    *(
        _metric(name, of.RankConfig, _later("ranking.ranked", name), CLASSES, default=("binary", "multilabel"))
        for name in ("auc_roc", "auc_pr")
    ),
    _metric("mcc", of.ClassConfig, _deciding("mcc"), SINGLE),
    _metric("cohen_kappa", of.KappaConfig, _deciding("kappa", ""), SINGLE),
    _metric("quadratic_kappa", of.OrderConfig, _deciding("kappa", "quadratic"), ("multiclass",)),
    _metric("top_k", of.TopConfig, _later("probabilities.top_k"), ("multiclass",)),
    _metric("log_loss", of.ValueConfig, _later("probabilities.log_loss"), CLASSES, greater=False),
    _metric(
        "calibration_error", of.CalibrationConfig, _later("probabilities.calibration_error"), CLASSES, greater=False
    ),
    *(
        _metric(name, of.ValueConfig, _later("regression.errors", name), VALUES, greater=name == "r2", default=VALUES)
        for name in ("mse", "mae", "rmse", "r2")
    ),
    *(
        _metric(name, of.ValueConfig, _later("regression.errors", name), VALUES, greater=name == "explained_variance")
        for name in ("rmsle", "mape", "explained_variance")
    ),
    _metric("quantile_loss", of.QuantileConfig, _later("regression.quantile_loss"), VALUES, greater=False),
    *(
        _metric(name, of.ValueConfig, _later("regression.correlation", name), VALUES)
        for name in ("pearson", "spearman")
    ),
]  # fmt: skip
