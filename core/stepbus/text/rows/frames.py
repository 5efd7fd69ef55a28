"""What Python hands over as rows, as a data frame: frames, lists of dictionaries, dictionaries of columns, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import DataError

if TYPE_CHECKING:
    import pandas as pd

WANTED = "a file, a frame, a list of dictionaries, a dictionary of columns, or a table with to_pandas"


def as_frame(source: Any, name: str) -> pd.DataFrame:
    """Return what was handed over as a frame.

    Args:
        source: A pandas frame, a list of dictionaries (one a row), a dictionary of columns, an Arrow table, or anything
            with `to_arrow` or `to_pandas` (a polars frame, a Hugging Face dataset).
        name: What it stands for in messages.

    Raises:
        DataError: It is none of these.
    """
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source
    if isinstance(source, pd.Series | pd.Index | np.ndarray) and source.ndim == 1:
        rows = source.tolist()
        if not rows or _other_than_texts(rows) is not None:
            return _list(rows, name)
    if isinstance(source, pd.Series):
        column = "" if source.name is None else repr(source.name)
        raise DataError(
            f"{name}: expected rows with named columns, got a single column{' ' * bool(column)}{column} (a Series); "
            f"hand over the frame, or frame[[{column or repr('text')}]]"
        )
    if isinstance(source, Mapping):
        return _columns(source, name)
    if isinstance(source, list | tuple):
        return _list(source, name)
    if type(source).__module__.partition(".")[0] == "pyarrow" and hasattr(source, "column_names"):
        return _arrow(source)
    for method in ("to_arrow", "to_pandas"):
        if callable(getattr(source, method, None)):
            found = getattr(source, method)()
            if found is not source:
                return as_frame(found, name)
    if isinstance(source, np.ndarray):
        raise DataError(
            f"{name}: expected rows with named columns, got an array of shape {source.shape}; "
            "hand over pandas.DataFrame(array, columns=[…])"
        )
    raise DataError(f"{name}: expected {WANTED}, got {_shown(source)}")


def as_texts(source: Any) -> list[str | None] | None:
    """Return bare texts (a list, tuple, Series, Index or array of one axis) as a list, None for a gap among them.

    Args:
        source: What was handed over; of anything else None is returned.
    """
    plain = isinstance(source, list | tuple)
    if not plain and (
        getattr(source, "ndim", None) != 1 or not hasattr(source, "tolist") or isinstance(source, Mapping)
    ):
        return None
    rows = list(source) if plain else source.tolist()
    if not all(isinstance(row, str) or _is_gap(row) for row in rows) or all(map(_is_gap, rows)):
        return None
    return [str(row) if isinstance(row, str) else None for row in rows]


def _is_gap(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _other_than_texts(rows: Sequence[Any]) -> int | None:
    """Return the place of the first thing among texts that is none; None where there is none, or no text."""
    if not any(isinstance(row, str) for row in rows) or any(isinstance(row, Mapping) for row in rows):
        return None
    return next((index for index, row in enumerate(rows) if not (isinstance(row, str) or _is_gap(row))), None)


def _arrow(table: Any) -> pd.DataFrame:
    """Return an Arrow table as a frame whose whole numbers stay whole beside gaps."""
    import pandas as pd
    import pyarrow as pa

    whole = {getattr(pa, kind.lower())(): getattr(pd, f"{kind}Dtype")() for kind in _WHOLE}
    frame: pd.DataFrame = table.to_pandas(types_mapper={**whole, pa.bool_(): pd.BooleanDtype()}.get)
    return frame


_WHOLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")


def _columns(source: Mapping[Any, Any], name: str) -> pd.DataFrame:
    import pandas as pd

    for column, values in source.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__") or isinstance(values, Mapping):
            raise DataError(
                f"{name}: expected a list of values in column {column!r}, got {_shown(values)}; "
                "a single row is a list of one dictionary: [{…}]"
            )
        if getattr(values, "ndim", 1) != 1:
            raise DataError(f"{name}: expected one value a row in column {column!r}, got {values.ndim} axes")
    lengths = {str(column): len(values) for column, values in source.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{column!r} {length}" for column, length in list(lengths.items())[:5])
        raise DataError(f"{name}: expected columns of one length, got {said}")
    return pd.DataFrame({column: plain_column(values) for column, values in source.items()})


def _list(source: list[Any] | tuple[Any, ...], name: str) -> pd.DataFrame:
    import pandas as pd

    if (place := _other_than_texts(source)) is not None:
        raise DataError(f"{name}, row {place + 1}: expected a text like the other rows, got {_shown(source[place])}")
    wrong = [index for index, row in enumerate(source) if not isinstance(row, Mapping)]
    if wrong:
        row = source[wrong[0]]
        hint = 'write [{"text": …}, …], with the column that data.text names' if isinstance(row, str) else WANTED
        raise DataError(
            f"{name}, row {wrong[0] + 1}: expected a dictionary of columns, got {_shown(row)}; "
            f"{hint if isinstance(row, str) else f'expected {hint}'}"
        )
    names = list(dict.fromkeys(column for row in source for column in row))
    return pd.DataFrame({column: plain_column([row.get(column) for row in source]) for column in names})


def plain_column(values: Any) -> Any:
    """Return values as they are: in a list, whole numbers beside gaps would become floats."""
    import pandas as pd

    if hasattr(values, "dtype"):
        return values
    column = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):  # a slice would take lists of one length for a second axis
        column[index] = value
    return pd.Series(column, dtype=object)


def _shown(value: Any) -> str:
    return f"the {type(value).__name__} {value!r}" if isinstance(value, bool | int | float) else a_thing(value)


def a_thing(value: Any) -> str:
    """Return a value's type with its article: "a list"."""
    kind = type(value).__name__
    if kind == "bytes":
        return kind
    return f"{'an' if kind[0] in 'aeiou' or kind == 'ndarray' else 'a'} {kind}"


def checked_frame(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a frame with names as text and rows counted from 0.

    Raises:
        DataError: Two columns have one name, names have several parts, or there are no rows or columns.
    """
    if frame.columns.nlevels > 1:
        first = frame.columns[0]
        raise DataError(
            f"{source}: expected one name a column, got names of {frame.columns.nlevels} parts such as {first!r}; "
            'join them: frame.columns = ["_".join(map(str, name)) for name in frame.columns]'
        )
    # The name that pandas gives to a column of a file that has none.
    names = [str(name) or f"Unnamed: {position}" for position, name in enumerate(frame.columns)]
    no_duplicates(source, names)
    if len(frame) == 0:
        raise DataError(f"{source}: expected at least one row, got none")
    if not names:
        raise DataError(f"{source}: expected columns with names, got {len(frame)} rows without any")
    frame = frame.reset_index(drop=True)
    return frame.set_axis(names, axis="columns")


def no_duplicates(source: str, names: list[str]) -> None:
    """Refuse columns that share a name.

    Raises:
        DataError: Two do.
    """
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        if name in seen:
            raise DataError(
                f"{source}: expected each column's name once, got {name!r} as column {seen[name]} and column {position}"
            )
        seen[name] = position
