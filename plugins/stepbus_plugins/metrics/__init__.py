"""Metrics of whole sets, chosen by task, and the tables at the end of a fit and of what was combined."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from attrs import define

from stepbus import Component, FitResult, Predictions, Problem, hookimpl, listed, setting, write_columns
from stepbus_plugins.metrics.parts import PARTS
from stepbus_plugins.metrics.settings import DecisionConfig, meaningless


class Metrics:
    """Compute metrics of classes, probabilities and values over whole sets; show and write the confusion matrix."""

    scope: ClassVar[str] = "run"
    components: ClassVar[list[Component]] = PARTS
    writes: ClassVar[tuple[str, ...]] = ("confusion_matrix*.csv", "per_class*.csv")

    @define(frozen=True, kw_only=True)
    class Config:
        tables: bool = setting(True, "show the confusion table and each class's scores after the final evaluation")
        files: bool = setting(True, "write them to confusion_matrix.csv and per_class.csv, of folds together as well")

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
            for name, message in meaningless(selected.name, selected.settings, plan.task, plan.classes)
        ]

    @hookimpl
    def on_run_start(self, run: Any) -> None:
        """Say which metrics decide otherwise than tables and written predictions do."""
        common, training = run.config.data.settings.threshold, run.config.training
        chosen = [each for each in training.metrics or () if isinstance(each.settings, DecisionConfig)]
        others = [
            each.called or each.name for each in chosen if each.settings.threshold not in (None, common, common or 0.5)
        ]
        if others:
            run.message(
                f"{listed(others)} {'decides' if len(others) == 1 else 'decide'} at a threshold of "
                f"{'its' if len(others) == 1 else 'their'} own, and tables and written predictions at "
                f"{common or 0.5}; data.threshold is that of all of them"
            )

    @hookimpl
    def on_predictions(self, trainer: Any, name: str, predictions: Predictions, final: bool) -> None:
        """Show and write the tables of a labelled set that was evaluated for the last time."""
        if not final or (trainer.data.codec is None and trainer.data.task is None):
            return
        suffix = "" if name == "validation" else f"_{name}"
        self._tell(predictions, trainer.data.codec, trainer, trainer.directory, name, suffix)

    @hookimpl
    def on_result(self, run: Any, result: FitResult) -> None:
        """Write the tables of what was combined."""
        scope = "".join(f"-{axis}-{place + 1}" for axis, place in sorted(result.fit.scope.items()))
        for name, predictions in result.predictions.items():
            suffix = scope if name == "validation" else f"_{name}{scope}"
            self._tell(predictions, run.codec, run, run.directory, f"{result.fit.name}, {name}", suffix)

    def _tell(self, predictions: Predictions, codec: Any, voice: Any, folder: Path, title: str, suffix: str) -> None:
        """Show and write the tables of a set, where it has labels and classes.

        Args:
            predictions: What is said of it.
            codec: Knows its labels; None where they came as numbers.
            voice: The fit or the run, which reports and announces.
            folder: Where the files go.
            title: What the tables are called.
            suffix: What stands behind the files' names.
        """
        if predictions.labels is None or not (self.config.tables or self.config.files):
            return
        from stepbus_plugins.metrics.counts import counts
        from stepbus_plugins.metrics.tables import tables

        # Labels that came as numbers have no other names.
        names = [str(number) for number in range(predictions.values.shape[-1])] if codec is None else codec.names
        thresholds = None if codec is None else codec.thresholds
        found = counts(predictions.labels, predictions.values, names, thresholds, predictions.weights)
        if found is None:
            return
        for heading, columns, rows in tables(found) if self.config.tables else ():
            voice.report(f"{title}: {heading}", columns, rows)
        if self.config.files:
            remedy = "let a spreadsheet import them as text"
            for kind, cells in (("confusion_matrix", found.confusion_columns()), ("per_class", found.class_columns())):
                path = folder / f"{kind}{suffix}.csv"
                for note in write_columns(path, cells, remedy=remedy):
                    voice.message(note, "warning")
                voice.artifact(kind, path)
