"""Cross-validation: one fit for each fold, out-of-fold predictions, and an honest score of the whole."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from attrs import define, evolve

from stepbus import (
    Axis,
    Fit,
    FitResult,
    LabelCodec,
    Predictions,
    Problem,
    Rows,
    grow,
    hookimpl,
    label_counts,
    listed,
    mean_predictions,
    setting,
    write_columns,
)
from stepbus_plugins.cross_validation.folds import Array, in_order, set_aside, split, too_few
from stepbus_plugins.cross_validation.out_of_fold import out_of_fold
from stepbus_plugins.cross_validation.report import combined_metrics, fold_scores, report_rows

HERE = "plugins.cross_validation"
SELECTED = "selected on validation"
SEEN = "of rows that the weights had seen before"
MAY_BE = "may be selected on validation"


class CrossValidation:
    """Train one fit for each fold, save the out-of-fold predictions and score them, mean ± sd over the folds."""

    scope: ClassVar[str] = "run"
    grows: ClassVar[tuple[Axis, ...]] = (Axis("fold"),)
    writes: ClassVar[tuple[str, ...]] = ("out_of_fold*.csv",)

    @define(frozen=True, kw_only=True)
    class Config:
        folds: int = setting(
            5, "how many folds", check=lambda value: value >= 2, expected="a whole number of at least 2"
        )
        strategy: Literal["stratified", "kfold", "group", "stratified_group", "time_series"] = setting(
            "stratified",
            "how rows are dealt out; stratified keeps the shares of classes (or of a regression target's tenths), "
            "group keeps groups whole, time_series always predicts later rows from earlier ones",
        )
        shuffle: bool = setting(True, "deal rows out at random; false follows the order of the file")
        seed: int | None = setting(
            None,
            "seed of the folds; training.seed when not given",
            check=lambda value: 0 <= value < 2**32,
            expected="an int from 0 to 4294967295",
        )
        group: str | None = setting(None, "column whose rows with one value stay together; data.group when not given")
        inner_validation: float | None = setting(
            None,
            "share of a fold's training rows that decides on stops and best weights in place of the scored ones",
            check=lambda value: 0 < value <= 0.5,
            expected="a share above 0 and at most 0.5",
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.problems: list[Problem] = []
        self.selecting: list[str] = []

    # Planning --------------------------------------------------------------------------------------------------------

    @hookimpl
    def expand_fits(self, run: Any, fits: list[Fit]) -> list[Fit]:
        """Make each fit into one for each fold; what stands against it is said by `validate_plan`."""
        self.problems, self.selecting = [], list(run.deciding)
        return grow(fits, lambda fit: self._folds(run.config, fit))

    @hookimpl
    def validate_plan(self) -> list[Problem]:
        """Say why the rows cannot be dealt out as asked."""
        return self.problems

    @hookimpl
    def on_run_start(self, run: Any) -> None:
        """Warn when the held-out rows also decide."""
        if any(fit.notice == MAY_BE for fit in run.fits):
            looks = "looks" if len(self.selecting) == 1 else "look"
            run.message(
                f"the score of each fold {MAY_BE}, because {listed(self.selecting)} {looks} at the rows that are "
                f"scored and may choose weights by them; set {HERE}.inner_validation: 0.1 for an honest one",
                "warning",
            )

    def _folds(self, config: Any, fit: Fit) -> list[Fit]:
        if "validation" in fit.sets:
            self._refuse("", "expected no validation rows, since each fold is one; leave data.validation out")
            return [fit]
        rows, data, folds = fit.sets["train"], config.data.settings, self.config.folds
        codec = LabelCodec.of(config)
        codec.fit(rows)
        labels = codec.encode(rows)
        groups = self._groups(rows, data.group)
        if self.config.seed is not None and (
            order := in_order(self.config.strategy, self.config.shuffle, self.config.inner_validation)
        ):
            self._refuse("seed", f"expected none, because {order} draws nothing, got {self.config.seed}; leave it out")
        counts = label_counts(codec, labels) if codec.task in ("binary", "multiclass") else {}
        if words := too_few(self.config.strategy, folds, len(rows), groups, counts):
            self._refuse("folds", words)
        if self.problems:
            return [fit]
        classes = codec.strata(rows, folds)
        seed = config.training.seed if self.config.seed is None else self.config.seed
        pairs = split(self.config.strategy, folds, classes, groups, seed if self.config.shuffle else None)
        if not all(len(train) and len(held) for train, held in pairs):
            self._refuse("folds", f"expected rows in each fold, but the groups leave one of {folds} empty; use fewer")
            return [fit]
        prefix = "" if fit.name == "fit" else f"{fit.name}-"
        return [
            evolve(
                fit,
                name=f"{prefix}fold-{fold + 1}",
                sets=fit.sets | self._sets(rows, train, held, classes, groups, seed + fold),
                scope=fit.scope | {"fold": fold},
                notice=MAY_BE if self.selecting and self.config.inner_validation is None else fit.notice,
            )
            for fold, (train, held) in enumerate(pairs)
        ]

    def _sets(
        self, rows: Rows, train: Array, held: Array, classes: Array, groups: Array | None, seed: int
    ) -> dict[str, Rows]:
        """Return the row sets of one fold."""
        sets = {"validation": rows.take(held, "validation")}
        if self.config.inner_validation is not None:
            share, strategy = self.config.inner_validation, self.config.strategy
            train, stop = set_aside(strategy, share, train, classes, groups, seed)
            sets["stop"] = rows.take(stop, "stop")
        return sets | {"train": rows.take(train, "train")}

    def _groups(self, rows: Rows, declared: str | None) -> Array | None:
        """Return the group number of each row, or None where no group column is declared."""
        column, strategy = self.config.group or declared, self.config.strategy
        if column is None:
            if strategy in ("group", "stratified_group"):
                self._refuse("group", f"expected a column for strategy: {strategy}, got none; set it, or data.group")
            return None
        if strategy not in ("group", "stratified_group"):
            self._refuse(
                "strategy",
                f"expected group or stratified_group, because rows of one {column!r} must stay together, "
                f"got {strategy}",
            )
        values = rows.present(column, f"{HERE}.group" if self.config.group else "data.group", "a group")
        return np.unique(np.array(values, dtype=object), return_inverse=True)[1].reshape(-1)

    def _refuse(self, name: str, message: str) -> None:
        self.problems.append(Problem(f".{name}", message))

    # Combining -------------------------------------------------------------------------------------------------------

    @hookimpl
    def combine_results(self, run: Any, axis: str, results: list[FitResult]) -> FitResult | None:
        """Put the held-out predictions together, save and score them, and show fold by fold what came out."""
        if axis != "fold":
            return None
        first = results[0].fit
        scope = {name: place for name, place in first.scope.items() if name != "fold"}
        group = "-".join(f"{name}-{place + 1}" for name, place in sorted(scope.items()))
        selected = any("validation" in result.selected for result in results)
        whole, columns = out_of_fold(results, run.codec, run.config.data.settings.id)
        path = run.directory / ("out_of_fold.csv" if not group else f"out_of_fold-{group}.csv")
        for note in write_columns(path, columns, remedy="let a spreadsheet import them as text"):
            run.message(note, "warning")
        run.artifact("out-of-fold", path)

        scores = run.score(whole.labels, whole.values, whole.weights)
        each = [fold_scores(result) for result in results]
        metrics = combined_metrics(scores, each)
        title = f"Cross-validation{f' of {group}' if group else ''}: {len(results)} folds, {self.config.strategy}"
        title += "" if whole.weights is None else ", by weight"
        rows = report_rows(results, each, scores, metrics, len(whole.row_ids))
        said = [SELECTED] if selected else []
        said += [SEEN] if any("validation" in result.seen for result in results) else []
        run.report(", ".join([title, *said]), ["fold", "rows", *each[0]], rows)
        if self.config.strategy == "time_series":
            run.message("the earliest rows have no out-of-fold prediction: nothing came before them to learn from")
        return FitResult(
            evolve(first, name=group or "cross-validation", scope=scope, notice=", ".join(said)),
            metrics=metrics,
            predictions={"validation": whole},
            directory=run.directory,
            steps=sum(result.steps for result in results),
        )

    @hookimpl
    def combine_predictions(self, predictions: list[Predictions]) -> Predictions:
        """Take the mean of what the folds say."""
        return mean_predictions(predictions)
