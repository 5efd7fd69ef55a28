"""Cross-validation: one fit for each fold, out-of-fold predictions, and an honest score of the whole."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from attrs import define, evolve

from stepbus import (
    DataError,
    Fit,
    FitResult,
    LabelCodec,
    Predictions,
    Problem,
    Rows,
    hookimpl,
    setting,
    write_text_atomically,
)

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
Strategy = Literal["stratified", "kfold", "group", "stratified_group", "time_series"]

HERE = "plugins.cross_validation"
SELECTED = "selected on validation"


def strata(labels: Array, task: str, least: int) -> Array:
    """Return a class number for each row, whose shares the folds keep.

    Args:
        labels: [N] class numbers, [N, K] 0/1, or [N] targets.
        task: binary, multiclass, multilabel or regression.
        least: Combinations of labels that are rarer than this count as one class.

    Returns:
        int64 [N]: the classes, combinations of labels, or tenths of a regression target.
    """
    if task == "regression":
        ranks = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
        return np.asarray(ranks * min(10, max(1, len(labels) // least)) // len(labels), np.int64)
    if task == "multilabel":
        _, classes, counts = np.unique(labels, axis=0, return_inverse=True, return_counts=True)
        classes = classes.reshape(-1)
        return np.where(counts[classes] < least, -1, classes)
    return labels.astype(np.int64)


def split(
    strategy: Strategy, folds: int, classes: Array, groups: Array | None, seed: int | None
) -> list[tuple[Array, Array]]:
    """Return the training and the held-out positions of each fold, both ascending.

    Args:
        strategy: How rows are dealt out.
        folds: How many folds.
        classes: int [N], as `strata` returns them.
        groups: int [N]; rows of one group stay together.
        seed: Shuffles before dealing; None deals in the order of the file.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

    shuffle: dict[str, Any] = {} if seed is None else {"shuffle": True, "random_state": seed}
    if strategy == "group" and seed is not None and groups is not None:
        # Equal groups are dealt in the order of their numbers, so new numbers make new folds.
        groups = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups]
    splitter = {
        "kfold": lambda: KFold(folds, **shuffle),
        "stratified": lambda: StratifiedKFold(folds, **shuffle),
        "group": lambda: GroupKFold(folds),
        "stratified_group": lambda: StratifiedGroupKFold(folds, **shuffle),
        "time_series": lambda: TimeSeriesSplit(folds),
    }[strategy]()
    with warnings.catch_warnings():
        # What is too rare is refused or lumped together before; whole groups may still leave a fold without a class.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        pairs = splitter.split(np.zeros(len(classes)), classes, groups)
        return [(np.sort(train), np.sort(held)) for train, held in pairs]


class CrossValidation:
    """Train one fit for each fold, save the out-of-fold predictions and score them, mean ± sd over the folds."""

    scope: ClassVar[str] = "run"

    @define(frozen=True, kw_only=True)
    class Config:
        folds: int = setting(
            5, "how many folds", check=lambda value: value >= 2, expected="a whole number of at least 2"
        )
        strategy: Strategy = setting(
            "stratified",
            "how rows are dealt out; stratified keeps the shares of classes (tenths of a regression target), group keeps "
            "groups whole, time_series always predicts later rows from earlier ones",
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
            "about this share of a fold's training rows decides on stops and best weights, so that the held-out rows do not",
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
        self.problems, self.selecting = [], _selecting(run.config)
        return [fold for fit in fits for fold in self._folds(run.config, fit)]

    @hookimpl
    def validate_plan(self) -> list[Problem]:
        """Say why the rows cannot be dealt out as asked."""
        return self.problems

    @hookimpl
    def on_run_start(self, run: Any) -> None:
        """Warn when the held-out rows also decide."""
        if any(fit.notice == SELECTED for fit in run.fits):
            run.message(
                f"the score of each fold is {SELECTED}, because {' and '.join(self.selecting)} looks at the rows that are "
                f"scored; set {HERE}.inner_validation: 0.1 for an honest one",
                "warning",
            )

    def _folds(self, config: Any, fit: Fit) -> list[Fit]:
        if "validation" in fit.sets:
            self._refuse("", "expected no validation rows, since each fold is one; leave data.validation out")
            return [fit]
        rows, data, folds = fit.sets["train"], config.data.settings, self.config.folds
        codec = LabelCodec(data.label, data.task, data.target)
        codec.fit(rows)
        labels = codec.encode(rows)
        groups = self._groups(rows, data.group)
        self._check(rows, codec, labels, groups)
        if self.problems:
            return [fit]
        classes = strata(labels, str(codec.task), folds)
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
                notice=SELECTED if self.selecting and self.config.inner_validation is None else fit.notice,
            )
            for fold, (train, held) in enumerate(pairs)
        ]

    def _sets(
        self, rows: Rows, train: Array, held: Array, classes: Array, groups: Array | None, seed: int
    ) -> dict[str, Rows]:
        """Return the row sets of one fold."""
        sets = {"validation": rows.take(held, "validation")}
        if self.config.inner_validation is not None:
            parts = max(2, round(1 / self.config.inner_validation))
            if self.config.strategy == "time_series":
                cut = len(train) - max(1, len(train) // parts)
                train, stop = train[:cut], train[cut:]
            else:
                inner = groups[train] if groups is not None else None
                if inner is not None:
                    parts = min(parts, len(np.unique(inner)))
                known, counts = np.unique(classes[train], return_counts=True)
                rare = np.isin(classes[train], known[counts < parts])
                # A class too rare for the inner parts is dealt out with the other rare ones.
                lumped = np.where(rare, classes.min() - 1, classes[train])
                strategy = self.config.strategy if (counts >= parts).any() else "kfold"
                kept, aside = split(strategy, parts, lumped, inner, seed)[0]
                train, stop = train[kept], train[aside]
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
                f"expected group or stratified_group, because rows with one {column!r} must stay together, got {strategy}",
            )
        values = rows.column(column, f"{HERE}.group" if self.config.group else "data.group")
        if len(empty := np.flatnonzero(rows.missing(column))):
            raise rows.error(int(empty[0]), column, "expected a group, got an empty field")
        return np.unique(values.astype(str).to_numpy(dtype=str), return_inverse=True)[1].reshape(-1)

    def _check(self, rows: Rows, codec: LabelCodec, labels: Array, groups: Array | None) -> None:
        folds, strategy = self.config.folds, self.config.strategy
        if len(rows) < folds + (strategy == "time_series"):
            self._refuse("folds", f"expected at least one row in each of {folds} folds, got {len(rows)} rows")
        elif groups is not None and (number := len(np.unique(groups))) < folds:
            self._refuse("folds", f"expected at least one group in each of {folds} folds, got {number} groups")
        elif strategy in ("stratified", "stratified_group") and codec.task in ("binary", "multiclass"):
            counts = np.bincount(labels, minlength=len(codec.names))
            rarest = int(counts.argmin())
            if counts[rarest] < folds:
                other = "kfold" if strategy == "stratified" else "group"
                self._refuse(
                    "folds",
                    f"expected at least {folds} rows of each class, one a fold, got {counts[rarest]} of "
                    f"{codec.names[rarest]!r}; use fewer folds, or strategy: {other}",
                )

    def _refuse(self, name: str, message: str) -> None:
        self.problems.append(Problem(f"{HERE}.{name}" if name else HERE, message))

    # Combining -------------------------------------------------------------------------------------------------------

    @hookimpl
    def combine_results(self, run: Any, axis: str, results: list[FitResult]) -> FitResult | None:
        """Put the held-out predictions together, save and score them, and show fold by fold what came out."""
        if axis != "fold":
            return None
        first = results[0].fit
        scope = {name: place for name, place in first.scope.items() if name != "fold"}
        group = "-".join(f"{name}-{place + 1}" for name, place in sorted(scope.items()))
        selected = any(result.fit.notice == SELECTED for result in results)
        whole, table = out_of_fold(results, run.trainer.encoder.codec, run.config.data.settings.id or "row")
        path = run.directory / ("out_of_fold.csv" if not group else f"out_of_fold-{group}.csv")
        write_text_atomically(path, table.to_csv(index=False, lineterminator="\n"))
        run.artifact("out-of-fold", path)

        scores = run.score(whole.labels, whole.values)
        each = [_scored(result) for result in results]
        metrics = {f"oof_{name}": value for name, value in scores.items()}
        for name in each[0]:
            values = [fold[name] for fold in each]
            metrics |= {f"cv_{name}_mean": float(np.mean(values)), f"cv_{name}_sd": float(np.std(values, ddof=1))}
        self._show(run, group, results, each, scores, metrics, len(whole.row_ids), selected)
        return FitResult(
            evolve(first, name=group or "cross-validation", scope=scope, notice=SELECTED if selected else first.notice),
            metrics=metrics,
            predictions={"validation": whole},
            directory=run.directory,
            steps=sum(result.steps for result in results),
        )

    def _show(
        self,
        run: Any,
        group: str,
        results: list[FitResult],
        each: list[dict[str, float]],
        scores: dict[str, float],
        metrics: dict[str, float],
        predicted: int,
        selected: bool,
    ) -> None:
        names = list(each[0])
        rows = [
            [str(result.fit.scope["fold"] + 1), str(len(result.fit.sets["validation"])), *_words(fold, names)]
            for result, fold in zip(results, each, strict=True)
        ]
        spread = [f"{metrics[f'cv_{name}_mean']:.4f} ± {metrics[f'cv_{name}_sd']:.4f}" for name in names]
        rows += [["mean ± sd", "", *spread], ["out-of-fold", str(predicted), *_words(scores, names)]]
        title = f"Cross-validation{f' of {group}' if group else ''}: {len(results)} folds, {self.config.strategy}"
        run.report(f"{title}, {SELECTED}" if selected else title, ["fold", "rows", *names], rows)
        if self.config.strategy == "time_series":
            run.message("the earliest rows have no out-of-fold prediction: nothing came before them to learn from")


def out_of_fold(results: list[FitResult], codec: LabelCodec, id_name: str) -> tuple[Predictions, pd.DataFrame]:
    """Return the held-out predictions of all folds in the order of the source, as arrays and as a table.

    Args:
        results: One for each fold.
        codec: Turns predictions into words.
        id_name: Head of the column of row ids.

    Raises:
        DataError: The folds know different classes, or a fold predicted other rows than it was given.
    """
    import pandas as pd

    held = [result.predictions["validation"] for result in results]
    given = [result.fit.sets["validation"] for result in results]
    for result, predictions, rows in zip(results, held, given, strict=True):
        if [str(row) for row in predictions.row_ids] != [str(row) for row in rows.ids]:
            raise DataError(f"{result.fit.name}: expected predictions of its held-out rows, got other row ids")
        if predictions.values.shape[1:] != held[0].values.shape[1:]:
            raise DataError(
                f"{result.fit.name}: expected the classes of the other folds, got others; use stratified folds"
            )
    order = np.argsort(np.concatenate([rows.numbers for rows in given]), kind="stable")
    ids = np.concatenate([rows.ids for rows in given])[order]
    values = np.concatenate([predictions.values for predictions in held])[order]
    labels = np.concatenate([np.asarray(predictions.labels) for predictions in held])[order]

    frame = pd.concat([rows.frame for rows in given], ignore_index=True).iloc[order].reset_index(drop=True)
    decoded = {codec.columns[0]: values.reshape(len(values))} if codec.task == "regression" else codec.decode(values)
    table = {id_name: ids} | {column: frame[column] for column in codec.columns}
    for name, column in decoded.items():
        one = name in codec.columns and len(codec.columns) == 1
        table["prediction" if one else f"prediction_{name}" if name in codec.columns else name] = column
    table["fold"] = np.repeat([result.fit.scope["fold"] + 1 for result in results], [len(rows) for rows in given])[
        order
    ]
    return Predictions(ids, values, labels), pd.DataFrame(table)


def _selecting(config: Any) -> list[str]:
    """Return what decides by the monitored rows: a stop, the best weights, or the learning rate."""
    names = [choice.name for choice in config.plugins if choice.name == "early_stopping"]
    return names + [name for name in [config.scheduler.name] if name == "reduce_on_plateau"]


def _scored(result: FitResult) -> dict[str, float]:
    """Return the metrics of the held-out rows, without prefix."""
    prefix = "eval_" if result.fit.monitored == "validation" else "validation_"
    return {name.removeprefix(prefix): value for name, value in result.metrics.items() if name.startswith(prefix)}


def _words(scores: dict[str, float], names: list[str]) -> list[str]:
    return [f"{scores[name]:.4f}" if name in scores else "" for name in names]
