"""How rows are dealt out to folds: pure functions of labels, groups and a seed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

Array = np.ndarray[Any, Any]
Strategy = Literal["stratified", "kfold", "group", "stratified_group", "time_series"]


def too_few(strategy: Strategy, folds: int, rows: int, groups: Array | None, counts: Mapping[str, float]) -> str:
    """Return why rows do not go into so many folds, or nothing.

    Args:
        strategy: How rows are dealt out.
        folds: How many folds.
        rows: How many rows.
        groups: int [N]; None without groups.
        counts: Class -> its rows, where the labels are classes that exclude each other.
    """
    if rows < folds + (strategy == "time_series"):
        return f"expected at least one row in each of {folds} folds, got {rows} rows"
    if groups is not None and (number := len(np.unique(groups))) < folds:
        return f"expected at least one group in each of {folds} folds, got {number} groups"
    if strategy in ("stratified", "stratified_group") and counts:
        rarest = min(counts, key=lambda name: counts[name])
        if counts[rarest] < folds:
            other = "kfold" if strategy == "stratified" else "group"
            return (
                f"expected at least {folds} rows of each class, one a fold, got {counts[rarest]} of {rarest!r}; use "
                f"fewer folds, or strategy: {other}"
            )
    return ""


def split(
    strategy: Strategy, folds: int, classes: Array, groups: Array | None, seed: int | None
) -> list[tuple[Array, Array]]:
    """Return the training and the held-out positions of each fold, both ascending.

    Args:
        strategy: How rows are dealt out.
        folds: How many folds.
        classes: int [N], as `LabelCodec.strata` returns them.
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


def in_order(strategy: Strategy, shuffle: bool, share: float | None) -> str:
    """Return the setting by which folds follow the order of the file, whatever the seed; "" where rows are drawn.

    Args:
        strategy: How rows are dealt out.
        shuffle: Whether at random.
        share: How many of a fold's training rows are drawn to be set aside, or None.
    """
    if strategy == "time_series":
        return "strategy: time_series"
    return "" if shuffle or share is not None else "shuffle: false"


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
    known, first, counts = np.unique(own, return_index=True, return_counts=True)
    rare = np.isin(own, known[counts < parts])
    # Classes too rare for so many parts are dealt out as one, but for a row of each, which stays in training.
    own = np.where(rare, classes.min() - 1, own)
    free = np.setdiff1d(np.arange(len(train)), first[counts < parts] if strategy == "stratified" else [])
    free = free if len(free) > 1 else np.arange(len(train))
    parts = min(parts, len(free))
    if strategy == "stratified" and np.unique(own[free], return_counts=True)[1].max() < parts:
        strategy = "kfold"
    aside = free[split(strategy, parts, own[free], inner, seed)[0][1]]
    return np.delete(train, aside), train[aside]
