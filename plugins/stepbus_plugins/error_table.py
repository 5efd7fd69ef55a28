"""The rows that a model gets most wrong, as a table and as a file."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from attrs import define

from stepbus import Column, LabelCodec, Predictions, Rows, decide, hookimpl, setting, write_columns

Array = np.ndarray[Any, Any]
SHOWN = 60  # characters of a cell on the screen


class ErrorTable:
    """Show the scored rows that the model gets most wrong, and write them to errors.csv."""

    affects_result: ClassVar[bool] = False
    writes: ClassVar[tuple[str, ...]] = ("errors.csv", "errors_*.csv")

    @define(frozen=True, kw_only=True)
    class Config:
        rows: int = setting(
            100, "rows in the file, the worst ones", check=lambda value: value >= 1, expected="a number of at least 1"
        )
        shown: int = setting(
            10, "rows in the table on the screen", check=lambda value: value >= 0, expected="a number of at least 0"
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def on_predictions(self, trainer: Any, name: str, predictions: Predictions, final: bool) -> None:
        """Write and show the worst errors of a set that was scored for the last time."""
        rows, codec = trainer.fit.sets.get(name), trainer.data.codec
        if not final or predictions.labels is None:
            return
        if codec is None or not isinstance(rows, Rows):
            trainer.message(f"error_table shows rows with columns, and {name} is a loader: nothing is written")
            return
        size, wrong = errors(codec, predictions.values, predictions.labels)
        worst = np.argsort(-size, kind="stable")
        worst = worst[wrong[worst]][: self.config.rows]
        if not len(worst):
            trainer.message(f"{name}: no row of {len(size):,} is predicted wrongly, so there are no errors to write")
            return
        columns = table(rows, codec, predictions, size, worst, trainer.config.data.settings.id)
        path = trainer.directory / ("errors.csv" if name == "validation" else f"errors_{name}.csv")
        for note in write_columns(path, columns, remedy="let a spreadsheet import them as text"):
            trainer.message(note, "warning")
        trainer.artifact("errors", path)
        if self.config.shown:
            heads = [column.name for column in columns]
            cells = [[_cut(column.values[place]) for column in columns] for place in range(len(worst))]
            title = f"{name}: the worst of {int(wrong.sum()):,} errors in {len(size):,} rows"
            trainer.report(title, heads, cells[: self.config.shown])


def errors(codec: LabelCodec, values: Array, labels: Array) -> tuple[Array, Array]:
    """Return how wrong each row is, [N], and whether it counts as an error, bool [N].

    Args:
        codec: Knows what the labels are.
        values: Probabilities [N, K], or values [N] in the target's own unit.
        labels: Class numbers [N], 0/1 [N, K], or values [N].

    Returns:
        The absolute error of a value; of classes the negative logarithm of the label's probability, of several labels
        its mean. A row counts where its prediction is not its label.
    """
    if codec.task == "regression":
        size = np.abs(values - labels)
        return size, size > 0
    chances = np.clip(values.astype(np.float64), 1e-12, 1.0)
    if codec.task == "multilabel":
        against = np.clip(1.0 - values.astype(np.float64), 1e-12, 1.0)
        wrong = (decide(values, codec.task, codec.thresholds) != (labels > 0.5)).any(axis=1)
        return -np.where(labels > 0.5, np.log(chances), np.log(against)).mean(axis=1), wrong
    numbers = labels.astype(np.int64)
    decided = decide(values, codec.task, codec.thresholds)
    return -np.log(chances[np.arange(len(numbers)), numbers]), decided != numbers


def table(
    rows: Rows, codec: LabelCodec, predictions: Predictions, size: Array, worst: Array, id_name: str | None
) -> list[Column]:
    """Return the columns of the worst rows: id, how wrong, label, prediction, probabilities, and the row's own cells.

    Args:
        rows: The set.
        codec: Turns numbers into words.
        predictions: Its predictions, with labels.
        size: How wrong each row is, [N].
        worst: Places of the rows to name, [M].
        id_name: The user's column of row ids; None numbers the rows.
    """
    columns = [Column(id_name or "row", predictions.row_ids[worst], own=id_name is not None)]
    columns.append(Column("error" if codec.task == "regression" else "loss", size[worst]))
    for column in codec.decoded_columns(predictions.values[worst]):
        name = column.name
        if column.own:  # the label itself stands beside
            name = "prediction" if len(codec.columns) == 1 else f"prediction_{name}"
        columns.append(Column(name, column.values))
    own = [*codec.columns, *(name for name in rows.frame.columns if name not in codec.columns)]
    part = rows.take(worst)
    return columns + [
        Column(str(name), part.cells(name), own=True) for name in own if name != id_name and name in rows.frame
    ]


def _cut(cell: Any) -> str:
    text = f"{cell:.4g}" if isinstance(cell, float | np.floating) else "" if cell is None else str(cell)
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
