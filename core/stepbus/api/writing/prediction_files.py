"""Predictions as files: ids and labels as they are written, numbers to their last digit, every column kept."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stepbus.api.writing.output_files import Output, find_output, write_output
from stepbus.base import BadInput, DataError
from stepbus.text.labels import Column, distinct
from stepbus.text.rows import Rows, a_thing, read_rows, shown

if TYPE_CHECKING:
    import pandas as pd

    from stepbus.api import Trainer
    from stepbus.kernel import Predictions
    from stepbus.text.labels import LabelCodec

log = logging.getLogger(__name__)

# What a spreadsheet takes for a formula, unless the whole cell is a number (OWASP, "CSV Injection").
FORMULA = re.compile(r"[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TABLES = (".csv", ".tsv")
REMEDY = "for a spreadsheet write with --spreadsheet-safe (Python: spreadsheet_safe=True)"
ROWS_AT_ONCE = 10_000


def write_predictions(trainer: Trainer, data: Any, output: str | Path, *, spreadsheet_safe: bool = False) -> int:
    """Write predictions: the row's id, the prediction in words or units, and probabilities.

    What a reader of the file should know is logged as a warning: cells that a spreadsheet would calculate, two columns
    of one name, predictions that are no number.

    Args:
        trainer: An opened or trained model.
        data: A file, a pandas frame, or rows; None for those of the run itself (`data.test`), which it has predicted.
        output: A .csv, .tsv, .jsonl or .parquet file, which is replaced only when all is known; a device or pipe,
            which is written to; or `-` for standard output. The last two get CSV.
        spreadsheet_safe: Put an apostrophe before text that a spreadsheet would calculate, in .csv and .tsv.

    Returns:
        The number of rows.

    Raises:
        BadInput: The rows cannot be read, or the output cannot be written; what was there is as it was.

    Example:
        >>> write_predictions(open_trainer("runs"), "dev.csv", "predictions.csv")
        16
        >>> pd.read_csv("predictions.csv").columns.tolist()
        ['row', 'label', 'probability_0', 'probability_1']
    """
    if not hasattr(trainer, "predict_rows"):
        raise BadInput(
            f"trainer: expected a trained or opened one, got {a_thing(trainer)}; open_trainer(FOLDER) opens it"
        )
    settings = trainer.config.data.settings
    kept, data = (None, data) if data is not None else trainer.predicted_rows()
    source = data.source if isinstance(data, Rows) else data
    place = find_output(output, [source, settings.train, settings.validation, settings.test])
    _check_safe(place, spreadsheet_safe)
    if trainer.codec is None:
        raise BadInput(
            "predictions of a model that was trained on a loader have no names to write: trainer.predict(loader) gives "
            "them as an array"
        )
    rows = read_rows(data, name="predict", config=settings) if kept is None else None
    predictions = trainer.predict_rows(rows)[0] if kept is None else kept
    notes = write_decoded(
        place,
        predictions,
        trainer.codec,
        settings.id,
        spreadsheet_safe=spreadsheet_safe,
        where=None if rows is None else rows.where,
    )
    for note in notes:
        log.warning("%s", note)
    return len(predictions.row_ids)


def write_decoded(
    output: Output | str | Path,
    predictions: Predictions,
    codec: LabelCodec,
    id_name: str | None,
    *,
    spreadsheet_safe: bool = False,
    remedy: str = REMEDY,
    where: Callable[[int], str] | None = None,
) -> list[str]:
    """Write predictions in words or units, each row with its id; `write_predictions` and plugins write the same.

    Args:
        output: A place that `find_output` found; or a file of a run, which is replaced.
        predictions: The predictions.
        codec: Turns them into words.
        id_name: The user's column of row ids; None numbers the rows.
        spreadsheet_safe: Put an apostrophe before text that a spreadsheet would calculate, in .csv and .tsv.
        remedy: What to do about such text, for the sentence about it.
        where: Says where a row stands, by its place; none names the place alone.

    Returns:
        What a reader of the file should know, a sentence each.

    Raises:
        BadInput: It cannot be written; what was there is as it was.

    Example:
        >>> notes = write_decoded("decoded.csv", trainer.result.predictions["validation"], trainer.codec, "id")
        >>> pd.read_csv("decoded.csv").columns.tolist()
        ['id', 'label', 'probability_0', 'probability_1']
    """
    place, number = output if isinstance(output, Output) else find_output(output, of_run=True), len(predictions.row_ids)
    notes = []
    unknown = np.flatnonzero(~np.isfinite(predictions.values.reshape(number, -1)).all(axis=1))
    if len(unknown):
        first = int(unknown[0])
        said = f"row {first}" if where is None else where(first)
        words = f"{len(unknown)} of {number} predictions are no finite number, the first that of {said}"
        notes.append(f"{place.name}: {words}")
    ids = Column(id_name or "row", predictions.row_ids, own=id_name is not None)
    columns = [ids, *codec.decoded_columns(predictions.values, predictions.decided)]
    return [*notes, *write_columns(place, columns, spreadsheet_safe=spreadsheet_safe, remedy=remedy)]


def write_columns(
    output: Output | str | Path, columns: Sequence[Column], *, spreadsheet_safe: bool = False, remedy: str = REMEDY
) -> list[str]:
    """Write columns of results, as the ending of the file says.

    Args:
        output: A place that `find_output` found; or a file of a run, which is replaced.
        columns: Columns of [N] cells, in the order of the file.
        spreadsheet_safe: Put an apostrophe before text that a spreadsheet would calculate, in .csv and .tsv.
        remedy: What to do about such text, for the sentence about it.

    Returns:
        What a reader of the file should know, a sentence each.

    Raises:
        BadInput: It cannot be written; what was there is as it was.

    Example:
        >>> notes = write_columns("ids.csv", [Column("id", [7, 8]), Column("label", ["good", "bad"])])
        >>> Path("ids.csv").read_text().splitlines()
        ['id,label', '7,good', '8,bad']
    """
    place = output if isinstance(output, Output) else find_output(output, of_run=True)
    _check_safe(place, spreadsheet_safe)
    named, notes = distinct(columns)
    table = {name: _plain(place, name, values) for name, values in named.items()}
    if place.suffix in TABLES:
        count, first = _formulas(table)
        if count and spreadsheet_safe:
            table = _escaped(place, table)
        elif count:
            notes.append(
                f"a spreadsheet would calculate {count} cell{'s' if count > 1 else ''} that "
                f"{'begin' if count > 1 else 'begins'} like a formula, the first in {first}; {remedy}"
            )
    write_output(place, _blocks(place, table))
    return [f"{place.name}: {note}" for note in notes]


def _check_safe(place: Output, spreadsheet_safe: bool) -> None:
    if spreadsheet_safe and place.suffix not in TABLES:
        raise BadInput(
            f"{place.name}: expected a file ending in {' or '.join(TABLES)} to be made safe for spreadsheets, got "
            f"{place.suffix}, in which text is text; leave --spreadsheet-safe out"
        )


def _plain(place: Output, name: str, values: Any) -> pd.Series[Any]:
    """Return one column, having refused text that no file can hold."""
    import pandas as pd

    array = np.asarray(values)
    # As objects: what pandas makes of text by itself differs between its versions.
    series = pd.Series(array, dtype=object if array.dtype.kind in "OU" else array.dtype)
    for position, cell in enumerate([name, *(series if series.dtype == object else ())]):
        if not isinstance(cell, str):
            continue
        where = f"{place.name}: column {name!r}" + (f", row {position}" if position else "")
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: expected text, got half a surrogate pair: {cell!a}") from None
        if place.suffix == ".tsv" and re.search(r"[\t\r\n]", cell):
            raise DataError(f"{where}: expected no tab or line break in a .tsv, got {cell!r}; write .csv or .jsonl")
    return series


def _is_formula(cell: Any) -> bool:
    return isinstance(cell, str) and FORMULA.match(cell) is not None and NUMBER.fullmatch(cell) is None


def _formulas(table: Mapping[str, pd.Series[Any]]) -> tuple[int, str]:
    """Return how many cells a spreadsheet would calculate, heads included, and the first of them in words."""
    count, first = 0, ""
    for name, series in table.items():
        cells = [name, *(series if series.dtype == object else ())]
        for position, cell in enumerate(cells):
            if _is_formula(cell):
                count += 1
                first = first or (f"row {position} of column {name!r}: " if position else "a head: ") + shown(cell)
    return count, first


def _escaped(place: Output, table: Mapping[str, pd.Series[Any]]) -> dict[str, pd.Series[Any]]:
    """Put an apostrophe before what a spreadsheet would calculate; what differed must differ still."""
    import pandas as pd

    safe: dict[str, pd.Series[Any]] = {}
    for name, series in table.items():
        head = f"'{name}" if _is_formula(name) else name
        if series.dtype == object:
            cells = [f"'{cell}" if _is_formula(cell) else cell for cell in series]
            if len(set(map(str, cells))) != len(set(map(str, series))):
                raise DataError(
                    f"{place.name}: column {name!r}: two values would be the same with an apostrophe before one; "
                    "leave --spreadsheet-safe out"
                )
            series = pd.Series(cells, dtype=object)
        if head in safe or (head != name and head in table):
            raise DataError(f"{place.name}: two columns would be called {head!r}; leave --spreadsheet-safe out")
        safe[head] = series
    return safe


def _blocks(place: Output, table: Mapping[str, pd.Series[Any]]) -> Iterator[bytes]:
    """Return the content of the file, some rows at a time."""
    import pandas as pd

    frame = pd.DataFrame(dict(table))
    if place.suffix == ".parquet":
        return iter([_parquet(place, frame)])
    if place.suffix in TABLES:
        return _lines(frame, "\t" if place.suffix == ".tsv" else ",")
    return _json_lines(frame)


def _lines(frame: pd.DataFrame, separator: str) -> Iterator[bytes]:
    cells = (cell for name in frame for cell in (name, *(frame[name] if frame[name].dtype == object else ())))
    # A lone carriage return ends a row for most readers, and Python's writer puts no quotes around it.
    quoting: Literal[0, 2] = csv.QUOTE_NONNUMERIC if any("\r" in str(cell) for cell in cells) else csv.QUOTE_MINIMAL
    for start in range(0, len(frame), ROWS_AT_ONCE):
        part = frame.iloc[start : start + ROWS_AT_ONCE]
        text: str = part.to_csv(sep=separator, index=False, header=start == 0, lineterminator="\n", quoting=quoting)
        yield text.encode()


def _json_lines(frame: pd.DataFrame) -> Iterator[bytes]:
    for start in range(0, len(frame), ROWS_AT_ONCE):
        records = frame.iloc[start : start + ROWS_AT_ONCE].to_dict("records")
        yield "".join(
            json.dumps({name: _json(cell) for name, cell in record.items()}, ensure_ascii=False, allow_nan=False) + "\n"
            for record in records
        ).encode()


def _json(cell: Any) -> Any:
    """Return a cell as JSON can say it: a number that is none is null, a date is its text."""
    value = cell.item() if isinstance(cell, np.generic) else cell
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(cell)


def _parquet(place: Output, frame: pd.DataFrame) -> bytes:
    import pyarrow as pa

    content = io.BytesIO()
    try:
        frame.to_parquet(content, index=False)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{place.name}: expected columns of one type each for Parquet, got: {reason}") from None
    return content.getvalue()
