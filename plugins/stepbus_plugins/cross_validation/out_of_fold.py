"""The held-out predictions of all folds, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stepbus import DataError, FitResult, LabelCodec, Predictions

if TYPE_CHECKING:
    import pandas as pd


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
