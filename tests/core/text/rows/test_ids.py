"""Row ids on disk: what goes in comes back, the same kind and equal; what cannot is refused by name."""

from __future__ import annotations

import io
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import DataError, Rows
from stepbus.text.rows import ids as row_ids
from stepbus.text.rows.table import read_rows


def objects(*values: Any) -> row_ids.Ids:
    ids = np.empty(len(values), object)
    ids[:] = values
    return ids


def through_a_file(ids: row_ids.Ids) -> row_ids.Ids:
    kind, array = row_ids.to_array(ids)
    content = io.BytesIO()
    np.savez(content, ids=array)
    content.seek(0)
    with np.load(content, allow_pickle=False) as arrays:
        return row_ids.from_array(kind, arrays["ids"])


KEPT = {
    "positions": np.arange(3),
    "bytes of eight bits": np.array([1, 255], np.uint8),
    "floats": np.array([0.1, -0.0, np.inf]),
    "booleans": np.array([True, False]),
    "nanoseconds": np.array(["2024-02-29T23:59:59.123456789"], "datetime64[ns]"),
    "seconds": np.array(["2024-02-29", "1900-01-01"], "datetime64[s]"),
    "spans": np.array([1, -1], "timedelta64[us]"),
    "fixed words": np.array(["a", "ö"]),
    "words": objects("a", "ö", "", " ", "\0", "a\0", "\ud800", "line\nbreak", "1"),
    "dates": objects(date(2024, 2, 29), date(1, 1, 1)),
    "times of day": objects(time(23, 59, 1), time(1, 2, 3, 4, tzinfo=UTC)),
    "moments": objects(datetime(2024, 2, 29, 1, 2, 3, 4), datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=5)))),
    "a moment of a place": objects(datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin"))),
    "pandas' moments": objects(pd.Timestamp("2024-02-29T00:00:00.123456789"), pd.Timestamp("2024", tz="Asia/Tokyo")),
    "decimals": objects(Decimal("1.10"), Decimal("1.1"), Decimal("1E+3")),
    "large numbers": objects(2**70, -(2**64), 0),
    "a mixture": objects("1", 1, True, 1.5, date(2024, 1, 1), b"\xff"),
    "UUIDs": objects(uuid.UUID(int=7)),
    "none": objects(),
}


@pytest.mark.parametrize("name", KEPT)
def test_ids_come_back_as_they_were(name: str) -> None:
    ids = KEPT[name]
    assert row_ids.first_odd(ids) is None
    again = through_a_file(ids)
    assert again.dtype == ids.dtype
    assert again.shape == ids.shape
    assert again.tolist() == ids.tolist()
    assert [(type(value), str(value)) for value in again] == [(type(value), str(value)) for value in ids]


def test_columns_of_pandas_come_back_as_they_were() -> None:
    moments = pd.Series(pd.to_datetime(["2024-03-31 00:30", "2024-03-31 03:30"]))
    for column in (moments, moments.dt.tz_localize("Europe/Berlin"), pd.Series(["a", "b"]).astype("category")):
        ids = column.to_numpy()
        again = through_a_file(ids)
        assert again.dtype == ids.dtype
        assert pd.DataFrame({"id": again}).to_csv() == pd.DataFrame({"id": ids}).to_csv()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.text(), st.integers(), st.dates(), st.booleans(), st.floats(allow_nan=False))))
def test_any_mixture_comes_back(values: list[Any]) -> None:
    again = through_a_file(objects(*values))
    assert again.tolist() == values
    assert [type(value) for value in again] == [type(value) for value in values]


class Odd(str):
    """Text that is more than text."""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ((1, 2), "(1, 2) of type tuple"),
        (Odd("x"), "'x' of type Odd"),
        (np.int64(3), "np.int64(3) of type int64"),
        (pd.Period("2024-01"), "Period('2024-01', 'M') of type Period"),
        (1j, "1j of type complex"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name_before_any_work(value: Any, words: str) -> None:
    ids = objects("a", value)
    frame = pd.DataFrame({"key": list(ids)})
    rows = Rows(frame, ids, "train.csv", "train", np.array([2, 3]), True)
    with pytest.raises(DataError) as caught:
        row_ids.check(rows, "key")
    expected = "text, a number, a date, a time, bytes or a UUID"
    assert (
        str(caught.value) == f"train.csv:3: column 'key': expected {expected} as id, got {words}; write the ids as text"
    )
    with pytest.raises(DataError, match=r"data\.id: expected text, a number"):
        row_ids.to_array(ids)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "nan of type float"),
        (Decimal("NaN"), r"Decimal\('NaN'\) of type Decimal"),
        (10**5000, "a number of thousands of digits of type int"),
        ("\ud83d\ude00", r"'\\ud83d\\ude00' of type str"),
        (("x" * 500,), r"\('x{95}… of type tuple"),
    ],
    ids=["NaN", "decimal NaN", "endless", "halves", "tuple"],
)
def test_what_would_come_back_otherwise_is_refused_by_its_row_before_any_work(value: Any, words: str) -> None:
    """A file of text makes one character of two halves; NaN is not itself; no text holds endless digits."""
    for others in ((), ("a", 1)):
        ids = objects(*others, value)
        rows = Rows(pd.DataFrame({"key": range(len(ids))}), ids, "x.csv", "train", np.arange(2, len(ids) + 2), True)
        with pytest.raises(
            DataError, match=rf"^x\.csv:{len(ids) + 1}: column 'key': expected .* as id, got {words}; write"
        ):
            row_ids.check(rows, "key")
        with pytest.raises(DataError, match=rf"data\.id: expected .*, got {words}; write the ids as text"):
            row_ids.to_array(ids)


def test_the_hour_that_a_clock_repeats_comes_back() -> None:
    zone = ZoneInfo("Europe/Berlin")
    moments = [datetime(2024, 10, 27, 2, 30, fold=fold, tzinfo=zone) for fold in (0, 1)]
    again = through_a_file(objects(*moments))
    assert [moment.isoformat() for moment in again] == ["2024-10-27T02:30:00+02:00", "2024-10-27T02:30:00+01:00"]
    assert [moment.timestamp() for moment in again] == [moment.timestamp() for moment in moments]


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([2**63, -1, 3], "O"),
        ([2**70, 1, 2**70 + 1], "O"),
        ([np.int64(5), 2**64, 7], "O"),
        ([2**64 - 1, 0, 1], "O"),
        ([-(2**63), np.int8(0), 1], "i"),
    ],
)
def test_whole_numbers_of_any_size_stay_whole(column: list[Any], kind: str) -> None:
    """-1 and 2^63 side by side are floats to NumPy, which cannot tell 2^63 from 2^63 + 1."""
    rows = read_rows({"key": column, "text": ["a"] * 3}, name="train", config=SimpleNamespace(id="key"))  # type: ignore[arg-type]
    assert rows.ids.dtype.kind == kind
    assert [int(value) for value in through_a_file(rows.ids)] == [int(value) for value in column]
    assert {type(value) for value in rows.ids.tolist()} == {int}
