"""Rows set aside for validation: the same ones for the same seed, each class on both sides where it is asked for."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from stepbus.base import DataError, IntArray
from stepbus.text.rows import Rows


def set_aside(number: int, fraction: float) -> int:
    """Return how many of some rows a fraction of them is, rounded up, as scikit-learn does."""
    return math.ceil(number * fraction)


def split_rows(
    rows: Rows,
    fraction: float,
    *,
    seed: int,
    stratify_by: Sequence[Hashable] | np.ndarray[Any, Any] | None = None,
    groups: Sequence[Hashable] | np.ndarray[Any, Any] | None = None,
) -> tuple[Rows, Rows]:
    """Set a fraction of the rows aside for validation: the same ones for the same seed.

    Args:
        rows: All rows.
        fraction: Share to set aside, between 0 and 1; with groups it is met as nearly as whole groups allow.
        seed: Seed of the split.
        stratify_by: Class of each row, as messages name it, whose shares stay the same on both sides, [N].
        groups: Value of each row whose rows stay on one side, [N].

    Returns:
        Training and validation rows, each in the order of the source.

    Raises:
        DataError: A side would be empty, or would not have a class.
    """
    import pandas as pd
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    number = len(rows)
    classes: IntArray | None = None
    names: list[str] = []
    if stratify_by is not None:
        codes, known = pd.factorize(pd.Series(list(stratify_by), dtype=object))
        classes, names = codes.astype(np.int64), [str(name) for name in known]
    if groups is not None:
        keys = pd.factorize(pd.Series(list(groups), dtype=object), use_na_sentinel=False)[0].astype(np.int64)
        if len(set(keys.tolist())) < 2:
            raise DataError(f"{rows.source}: data.group: expected at least two groups to split, got one")
        if classes is None:
            splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
            kept, aside = next(splitter.split(np.arange(number), groups=keys))
        else:
            kept, aside = _whole_groups(rows, fraction, seed, classes, names, keys)
    else:
        if not 0 < set_aside(number, fraction) < number:
            raise DataError(
                f"{rows.source}: data.validation: expected rows on both sides of the split, got {number} rows to split "
                f"at {fraction:g}"
            )
        if classes is None:
            kept, aside = train_test_split(np.arange(number), test_size=fraction, random_state=seed, shuffle=True)
        else:
            kept, aside = _dealt(rows, fraction, seed, classes, names)
    return rows.take(np.sort(kept), "train"), rows.take(np.sort(aside), "validation")


def _dealt(rows: Rows, fraction: float, seed: int, classes: IntArray, names: list[str]) -> tuple[IntArray, IntArray]:
    """Set rows of each class aside: its share, rounded so that the whole comes out, and at least one on each side."""
    from sklearn.model_selection import train_test_split

    counts = np.bincount(classes)
    if len(alone := np.flatnonzero(counts == 1)):
        places = [rows.where(int(np.flatnonzero(classes == name)[0])) for name in alone[:5]]
        said = ", ".join(f"{names[name]!r} ({place})" for name, place in zip(alone, places, strict=False))
        raise DataError(
            f"{rows.source}: data.stratify: expected at least two rows of each class, one for each side of the split, "
            f"got one of {said}{', …' if len(alone) > 5 else ''}; take the row out, or set data.stratify: false"
        )
    wanted = set_aside(len(rows), fraction)
    if not len(counts) <= min(wanted, len(rows) - wanted):
        raise DataError(
            f"{rows.source}: data.stratify: expected at least one row of each of {len(counts)} classes on both sides, "
            f"got {len(rows)} rows to split at {fraction:g}; set data.stratify: false or another fraction"
        )
    kept, aside = train_test_split(np.arange(len(rows)), test_size=fraction, random_state=seed, stratify=classes)
    if len(set(classes[kept].tolist())) == len(set(classes[aside].tolist())) == len(counts):
        return kept, aside
    # That rounds the share of a small class down to nothing.
    shares = counts * wanted / len(rows)
    sizes = np.clip(np.floor(shares).astype(np.int64), 1, counts - 1)
    while (missing := wanted - int(sizes.sum())) != 0:
        # One more, or one less, where a class is farthest from its share and may still give.
        step = 1 if missing > 0 else -1
        free = sizes < counts - 1 if missing > 0 else sizes > 1
        sizes[np.argmax(np.where(free, step * (shares - sizes), -np.inf))] += step
    draw = np.random.default_rng(seed)
    mixed = draw.permutation(len(rows))
    aside = np.concatenate([mixed[classes[mixed] == name][:size] for name, size in enumerate(sizes)])
    return np.setdiff1d(np.arange(len(rows)), aside), aside


def _whole_groups(
    rows: Rows, fraction: float, seed: int, classes: IntArray, names: list[str], groups: IntArray
) -> tuple[IntArray, IntArray]:
    """Set whole groups aside so that the shares of the classes are kept as nearly as the groups allow."""
    import warnings

    from sklearn.model_selection import StratifiedGroupKFold

    for name in range(len(names)):
        own = classes == name
        if len(set(groups[own].tolist())) == 1:
            raise DataError(
                f"{rows.source}: data.stratify: expected rows of each class in at least two groups, one for each side "
                f"of the split, got {names[name]!r} in one group ({rows.where(int(np.flatnonzero(own)[0]))}); "
                "set data.stratify: false"
            )
    number = len(set(groups.tolist()))
    # A fold of a share above one half is the rest of a fold of the other share.
    small = min(fraction, 1 - fraction)
    folds = min(max(2, round(1 / small)), number, int(np.bincount(classes).max()))
    with warnings.catch_warnings():
        # A class that has fewer rows than there are folds is looked for below.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = list(splitter.split(np.arange(len(rows)), classes, groups))
    whole = set(classes.tolist())
    for rest, part in parts:
        if whole == set(classes[rest].tolist()) == set(classes[part].tolist()):
            return (rest, part) if fraction <= 0.5 else (part, rest)
    absent = next(name for name in sorted(whole) if not all((classes[part] == name).any() for part in parts[0]))
    raise DataError(
        f"{rows.source}: data.stratify: expected rows of each class on both sides of the split, got groups that leave "
        f"one side without {names[absent]!r}; set data.stratify: false or another fraction"
    )
