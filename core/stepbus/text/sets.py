"""The rows of a run: read, set aside for validation, and their labels held against each other before any training."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import DataError
from stepbus.text.labels import LabelCodec
from stepbus.text.rows import (
    Rows,
    as_texts,
    read_rows,
    refuse_weightless,
    rows_that_count,
    set_aside,
    split_rows,
    weighed,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stepbus.config import Config
    from stepbus.kernel import Fit
    from stepbus.text.encoder import RowEncoder, TextSource

log = logging.getLogger(__name__)


def read_sets(config: Config, train: Any = None, validation: Any = None, test: Any = None) -> dict[str, Rows]:
    """Read the rows of a run.

    Args:
        config: The configuration.
        train: Training rows, or None for those of the configuration.
        validation: Validation rows, a fraction, or None for those of the configuration.
        test: Rows to predict, or None for those of the configuration.

    Returns:
        `train`, and `validation` and `test` where there are such rows.

    Raises:
        DataError: Rows cannot be read or split.
    """
    settings = config.data.settings
    source = train if train is not None else settings.train
    if source is None:
        raise DataError("data.train: expected a file of training rows, got none")
    sets = {"train": weighed(read_rows(source, name="train", config=settings), settings, training=True)}
    held_out = validation if validation is not None else settings.validation
    if isinstance(held_out, bool | int | float | np.number | np.bool_):
        if isinstance(held_out, bool | np.bool_) or not 0 < held_out < 1:
            raise DataError(
                f"data.validation: expected rows, a file, or a fraction between 0 and 1, got {held_out}; "
                "leave it out to train on all rows"
            )
        sets["train"], sets["validation"] = _split(config, sets["train"], float(held_out))
    elif held_out is not None:
        sets["validation"] = weighed(read_rows(held_out, name="validation", config=settings), settings)
        _warn_of_the_same(sets["train"], sets["validation"], settings.id)
    if (predicted := test if test is not None else settings.test) is not None:
        column = getattr(settings, "text", None)
        if isinstance(column, str) and (texts := as_texts(predicted)) is not None:  # bare ones are those of the column
            predicted = {column: texts}
        sets["test"] = read_rows(predicted, name="test", config=settings)
        _say_unread(sets["test"], LabelCodec.of(config).columns)
    return sets


def _say_unread(rows: Rows, labels: Sequence[str]) -> None:
    """Say once that rows to predict have labels, which are not read."""
    if labels and set(labels) <= set(rows.frame.columns):
        column = f"column {labels[0]!r}" if len(labels) == 1 else f"columns {', '.join(map(repr, labels))}"
        rows.say(
            f"data.test: its labels ({column}) are not read, because its rows are predicted and not scored; `stepbus "
            "evaluate RUN FILE` scores them (in Python: trainer.evaluate(rows))"
        )


def _split(config: Config, rows: Rows, fraction: float) -> tuple[Rows, Rows]:
    settings, classes, groups = config.data.settings, None, None
    if settings.stratify:
        codec = LabelCodec.of(config)
        codec.fit(rows)
        aside = set_aside(len(rows), fraction)
        # As many classes at most as the smaller side has rows.
        classes = codec.strata(rows, -(-len(rows) // max(1, min(aside, len(rows) - aside))))
        if codec.task in ("binary", "multiclass"):
            classes = np.array(codec.names, dtype=object)[classes]
    if settings.group is not None:
        groups = rows.present(settings.group, "data.group", "a group")
    return split_rows(rows, fraction, seed=config.training.seed, stratify_by=classes, groups=groups)


def _warn_of_the_same(train: Rows, validation: Rows, id_column: str | None) -> None:
    """Warn where validation rows are training rows: the file is the same, or all of its rows stand in the other."""
    if _one_file(train.source, validation.source):
        log.warning(
            "data.validation: %s is the file of the training rows: its scores say nothing of new rows; "
            "set a fraction (0.1), or a file of other rows",
            validation.source,
        )
        return
    names = [name for name in train.frame.columns if name != id_column]
    if not names or not set(names) <= set(validation.frame.columns):
        return
    try:
        known = set(zip(*(train.cells(name) for name in names), strict=True))
        rows = set(zip(*(validation.cells(name) for name in names), strict=True))
    except DataError:  # a column of lists, which matters only where it is used
        return
    if rows <= known:
        log.warning(
            "data.validation: every row of %s also stands in %s: its scores say nothing of new rows",
            validation.source,
            train.source,
        )


def _one_file(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except (OSError, ValueError):
        return False


def check_labels(config: Config, fits: Sequence[Fit]) -> None:
    """Look at the labels of every fit, so that none fails when others are done.

    Args:
        config: The configuration.
        fits: All fits of the run.

    Raises:
        DataError: A label is missing or unknown to the training rows of its fit, or fits know different classes.
    """
    first: tuple[Fit, list[str]] | None = None
    for fit in fits:
        codec = LabelCodec.of(config)
        try:
            for name, rows in fit.sets.items():
                if fit.is_labelled(name):
                    refuse_weightless(rows)
            codec.fit(rows_that_count(fit.sets["train"]))
            for name, rows in fit.sets.items():
                if not fit.is_labelled(name):
                    continue
                codec.for_loss(rows_that_count(rows) if name == "train" else rows)
                if name != "train":
                    codec.encode(rows)
        except DataError as error:
            raise DataError(_placed(fit, fits, str(error), codec)) from None
        if fit.auxiliary:
            continue  # which may have classes of its own
        if first is None:
            first = (fit, codec.names)
        elif codec.names != first[1]:
            absent = [name for name in first[1] if name not in codec.names]
            whose, absent = (fit, absent) if absent else (first[0], [n for n in codec.names if n not in first[1]])
            raise DataError(
                f"{fit.sets['train'].source}: column {codec.columns[0]!r}: expected rows of each class in the training "
                f"rows of every fit, got none of {absent[0]!r} in {whose.name}; take the class out, or use fewer folds "
                "or a stratified strategy"
            )


def check_texts(source: TextSource | RowEncoder, fits: Sequence[Fit]) -> None:
    """Look at the texts of rows that the first fit does not see, so that no later fit fails at one of them.

    Args:
        source: What turns rows into texts; it has seen the training rows of the first fit.
        fits: All fits of the run.

    Raises:
        DataError: A row has no text.
    """
    seen = {place for rows in fits[0].sets.values() for place in _places(rows)}
    for fit in fits[1:]:
        for rows in fit.sets.values():
            places = list(_places(rows))
            if rest := [index for index, place in enumerate(places) if place not in seen]:
                source.texts(rows.take(rest))
                seen.update(places)


def _places(rows: Rows) -> Iterator[tuple[str, int]]:
    return ((rows.source, number) for number in rows.numbers.tolist())


def _placed(fit: Fit, fits: Sequence[Fit], message: str, codec: LabelCodec) -> str:
    """Return a message with the fit that it is about, where there are several or the rows were split."""
    split = fit.sets["train"].whole is not None and "a label that training has seen" in message
    if not split:
        return message if len(fits) == 1 else f"{message} ({fit.name})"
    where = f" of {fit.name}" if len(fits) > 1 else ""
    return (
        f"{message}; the split{where} left no row of this class in training: take the class out, "
        "or deal it out by class (data.stratify: true, or strategy: stratified)"
    )
