"""The held-out predictions of all folds, put together."""

from __future__ import annotations

import numpy as np

from stepbus import Column, DataError, FitResult, LabelCodec, Predictions


def out_of_fold(results: list[FitResult], codec: LabelCodec, id_name: str | None) -> tuple[Predictions, list[Column]]:
    """Return the held-out predictions of all folds in the order of the source, as arrays and as columns.

    Args:
        results: One for each fold.
        codec: Turns predictions into words.
        id_name: The user's column of row ids; None numbers the rows.

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

    weights = None
    if any(predictions.weights is not None for predictions in held):
        counts = [np.ones(len(each.row_ids)) if each.weights is None else each.weights for each in held]
        weights = np.concatenate(counts)[order]

    frame = pd.concat([rows.frame for rows in given], ignore_index=True).iloc[order].reset_index(drop=True)
    columns = [Column(id_name or "row", ids, own=id_name is not None)]
    soft = any(getattr(rows, "soft", None) is not None for rows in given)
    for label in codec.in_words(labels):
        cells = label.values if soft else frame[label.name]  # no column need hold what soft labels say
        columns += [] if label.name == id_name else [Column(label.name, cells, own=True)]
    for column in codec.decoded_columns(values):
        name = column.name
        if column.own:  # the label itself stands beside
            name = "prediction" if len(codec.columns) == 1 else f"prediction_{name}"
        columns.append(Column(name, column.values))
    folds = np.repeat([result.fit.scope["fold"] for result in results], [len(rows) for rows in given])[order]
    if weights is not None:
        columns.append(Column("weight", weights))
    return Predictions(ids, values, labels, weights, folds), [*columns, Column("fold", folds + 1)]
