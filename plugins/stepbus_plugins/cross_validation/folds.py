"""How rows are dealt out to folds: pure functions of labels, groups and a seed."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Strategy = Literal["stratified", "kfold", "group", "stratified_group", "time_series"]


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
        pairs = splitter.split(np.zeros(len(classes)), classes, groups if "group" in strategy else None)
        return [(np.sort(train), np.sort(held)) for train, held in pairs]


def set_aside(
    strategy: Strategy, share: float, train: Array, classes: Array, groups: Array | None, seed: int
) -> tuple[Array, Array]:
    """Return which of a fold's training rows train, and which are set aside to decide on stops and best weights.

    Args:
        strategy: How rows are dealt out; the rows set aside are chosen in the same way, the last ones of a time series.
        share: About how many, between 0 and 0.5.
        train: The fold's training positions, ascending.
        classes: int [N] of all rows.
        groups: int [N] of all rows; rows of one group stay together.
        seed: Shuffles.
    """
    parts = max(2, round(1 / share))
    if strategy == "time_series":
        cut = len(train) - max(1, len(train) // parts)
        return train[:cut], train[cut:]
    inner = None if groups is None else np.unique(groups[train], return_inverse=True)[1].reshape(-1)
    parts = min(parts, len(train) if inner is None else int(inner.max()) + 1)
    own = classes[train]
    known, counts = np.unique(own, return_counts=True)
    # Classes too rare for so many parts are dealt out as one.
    own = np.where(np.isin(own, known[counts < parts]), classes.min() - 1, own)
    if strategy == "stratified" and not (counts >= parts).any():
        strategy = "kfold"
    kept, aside = split(strategy, parts, own, inner, seed)[0]
    return train[kept], train[aside]
