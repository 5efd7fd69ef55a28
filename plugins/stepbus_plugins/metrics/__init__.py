"""Metrics of whole sets, chosen by task, and the tables at the end of a fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from attrs import define

from stepbus import Component, Predictions, Problem, hookimpl, setting
from stepbus_plugins.metrics.settings import AveragedConfig, DecisionConfig, RankConfig, ValueConfig, meaningless

CLASSES = ("binary", "multiclass", "multilabel")
VALUES = ("regression",)


def _metric(
    name: str, config: type, build: Callable[[Any], Any], tasks: tuple[str, ...], *, greater: bool, default: Any
) -> Component:
    """Return a component; `default` holds the tasks that compute it when training.metrics names none."""
    return Component(
        "metric", name, config, build, {"tasks": tasks, "greater_is_better": greater, "default": tuple(default)}
    )


def _later(maker: str, *arguments: str) -> Callable[[Any], Any]:
    """Return a build function that imports the scores only when it is called."""

    def build(settings: Any) -> Any:
        from stepbus_plugins.metrics import scores

        function = getattr(scores, maker)
        return function(*arguments)(settings) if arguments else function(settings)

    return build


class Metrics:
    """Compute accuracy, precision, recall, F1, AUC and regression errors over whole sets; show a confusion table."""

    components: ClassVar[list[Component]] = [
        _metric("accuracy", DecisionConfig, _later("accuracy"), CLASSES, greater=True, default=CLASSES),
        *(
            _metric(name, AveragedConfig, _later("averaged", name), CLASSES, greater=True, default=("binary",))
            for name in ("precision", "recall", "f1")
        ),
        *(
            _metric(
                f"f1_{average}",
                DecisionConfig,
                _later("averaged", "f1", average),
                CLASSES,
                greater=True,
                default=("multiclass", "multilabel"),
            )
            for average in ("macro", "micro")
        ),
        *(
            _metric(name, RankConfig, _later("ranked", name), CLASSES, greater=True, default=("binary", "multilabel"))
            for name in ("auc_roc", "auc_pr")
        ),
        *(
            _metric(name, ValueConfig, _later("regression", name), VALUES, greater=name == "r2", default=default)
            for name, default in (("mse", VALUES), ("mae", VALUES), ("rmse", VALUES), ("r2", VALUES), ("rmsle", ()))
        ),
    ]

    @define(frozen=True, kw_only=True)
    class Config:
        tables: bool = setting(True, "show the confusion table and each class's scores after the final evaluation")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Find settings of metrics that mean nothing for the labels of this run."""
        chosen = enumerate(plan.config.training.metrics or ())
        own = {part.name for part in self.components}
        return [
            Problem(f"training.metrics[{place}].{name}", message)
            for place, selected in chosen
            if selected.name in own
            for name, message in meaningless(selected.name, selected.settings, plan.task)
        ]

    @hookimpl
    def on_predictions(self, trainer: Any, name: str, predictions: Predictions, final: bool) -> None:
        """Show the tables of a labelled set that was evaluated for the last time."""
        if not (final and self.config.tables) or predictions.labels is None:
            return
        from stepbus_plugins.metrics.tables import tables

        threshold, codec = self._threshold(trainer), trainer.data.codec
        if codec is None and trainer.data.task is None:
            return
        # Labels that came as numbers have no other names.
        names = [str(number) for number in range(predictions.values.shape[-1])] if codec is None else codec.names
        found = tables(predictions.labels, predictions.values, names, threshold, predictions.weights)
        for title, columns, rows in found:
            trainer.report(f"{name}: {title}", columns, rows)

    def _threshold(self, trainer: Any) -> float:
        """Return the one threshold that the run's metrics decide at, or 0.5 where they have several."""
        training = getattr(getattr(trainer, "config", None), "training", None)
        chosen = [selected.settings for selected in getattr(training, "metrics", None) or ()]
        found = {settings.threshold for settings in chosen if isinstance(settings, DecisionConfig)}
        return found.pop() if len(found) == 1 else 0.5
