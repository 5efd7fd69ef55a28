"""One spelling for a cell whatever it came from, and what the cells of a column are."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus.text.rows.cells import NotOneValue, as_number, kind_of, odd_ones, one_time, spelling, spellings

CET = datetime.timezone(datetime.timedelta(hours=1))


@pytest.mark.parametrize(
    ("value", "spelt"),
    [
        # gaps
        (None, None),
        (float("nan"), None),
        (np.float32("nan"), None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.datetime64("NaT"), None),
        (np.timedelta64("NaT"), None),
        (Decimal("NaN"), None),
        ("", None),
        (" \t\n", None),
        # text, as it is written
        ("NA", "NA"),
        ("007", "007"),
        (" 5 ", " 5 "),
        ("+5", "+5"),
        ("1E1", "1E1"),
        ("3.10", "3.10"),
        ("12.0", "12.0"),
        ("١٢", "١٢"),
        (np.str_("word"), "word"),
        # booleans
        (True, "True"),
        (np.bool_(False), "False"),
        # numbers
        (12, "12"),
        (np.int8(-3), "-3"),
        (99999999999999999999, "99999999999999999999"),
        (12.0, "12"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (np.float64(0.1), "0.1"),
        (np.float32(0.1), "0.1"),
        (np.float16(0.1), "0.1"),
        (np.float32(3), "3"),
        (1e-05, "1e-05"),
        (1e14, "100000000000000"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (float("inf"), "inf"),
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1000"),
        # points of time
        (datetime.date(2024, 1, 5), "2024-01-05"),
        (datetime.datetime(2024, 1, 5), "2024-01-05"),
        (datetime.datetime(2024, 1, 5, 10, 30), "2024-01-05 10:30:00"),
        (pd.Timestamp("2024-01-05 10:30:00.5"), "2024-01-05 10:30:00.500000"),
        (np.datetime64("2024-01-05"), "2024-01-05"),
        (datetime.datetime(2024, 1, 5, tzinfo=CET), "2024-01-05 00:00:00+01:00"),
        (pd.Timestamp("2024-01-05 10:30", tz="Europe/Berlin"), "2024-01-05 10:30:00+01:00"),
        (datetime.timedelta(hours=5), "0 days 05:00:00"),
        (datetime.time(10, 30), "10:30:00"),
        (datetime.datetime(1, 1, 1), "0001-01-01"),
        (np.datetime64("30000-01-01"), "30000-01-01"),
        (datetime.timedelta.max, "999999999 days, 23:59:59.999999"),
        # anything else that is one value
        (pd.Period("2024-01"), "2024-01"),
        (pd.Interval(0, 10), "(0, 10]"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Path("a/b"), "a/b"),
    ],
)
def test_a_value_has_one_spelling(value: Any, spelt: str | None) -> None:
    assert spelling(value) == spelt
    series = pd.Series([value, None], dtype=object)
    assert spellings(series) == [spelt, None]


@pytest.mark.parametrize(
    "value", [["a"], ("a",), {"a": 1}, {"a"}, frozenset(), np.array([1]), b"a", bytearray(b"a"), object(), range(3)]
)
def test_what_is_no_single_value_is_refused(value: Any) -> None:
    with pytest.raises(NotOneValue) as caught:
        spellings(pd.Series(["x", value], dtype=object))
    assert caught.value.index == 1
    assert caught.value.value is value


@pytest.mark.parametrize(
    ("values", "dtype", "spelt"),
    [
        ([1, None, 3], "Int64", ["1", None, "3"]),
        ([9007199254740993, None], "Int64", ["9007199254740993", None]),
        ([1.0, None, 2.5], "float64", ["1", None, "2.5"]),
        ([0.1, 2.0], "float32", ["0.1", "2"]),
        ([True, None], "boolean", ["True", None]),
        ([True, False], "bool", ["True", "False"]),
        (["a", None], "category", ["a", None]),
        ([3, 1, 3], "category", ["3", "1", "3"]),
        (["a", "007"], "string", ["a", "007"]),
        ([1, None], "int64[pyarrow]", ["1", None]),
        (["2024-01-05", None], "datetime64[s]", ["2024-01-05", None]),
    ],
)
def test_columns_of_every_type_of_pandas(values: list[Any], dtype: str, spelt: list[str | None]) -> None:
    assert spellings(pd.Series(values, dtype=dtype)) == spelt


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", None], "number"),
        (["-0", "5.", ".5", "1e-05", "1.5E10", "2e+3"], "number"),
        ([" 5 ", "6"], "number"),
        (["inf", "1"], "number"),
        (["NA", "5", "null", "NaN", "<NA>"], "number"),
        (["12.50", "3.10", "7"], "number"),
        (["12.0", "7.25"], "number"),
        (["0", "1"], "number"),
        (["123456789012345"], "number"),
        (["True", "False", None], "boolean"),
        (["true", "FALSE"], "boolean"),
        (["007", "12"], "words"),
        (["+5", "5"], "words"),
        (["1_000"], "words"),
        (["1,5"], "words"),
        (["0x10"], "words"),
        (["١٢"], "words"),
        (["1E1"], "words"),
        (["1e5", "2"], "words"),
        (["3.9", "3.10"], "words"),
        (["1234567890123456"], "words"),
        (["1234567890123456.0", "0.5"], "number"),
        (["True", "1"], "words"),
        (["NA", None], "words"),
        ([None], "words"),
        (["5", "x"], "words"),
        (["--5"], "words"),
        (["2024-01-05"], "words"),
        (["infinite"], "words"),
    ],
)
def test_the_kind_of_a_column(cells: list[str | None], kind: str) -> None:
    assert kind_of(cells) == kind
    assert kind_of(reversed(cells)) == kind


@pytest.mark.parametrize(
    ("cell", "number"),
    [("007", 7), ("+5", 5), (" 5 ", 5), ("1e5", 1e5), ("NA", np.nan), (None, np.nan), ("inf", np.inf), ("-0", 0)],
)
def test_where_numbers_are_known_more_spellings_are_numbers(cell: str | None, number: float) -> None:
    np.testing.assert_equal(as_number(cell), number)


@pytest.mark.parametrize("cell", ["1_000", "١٢", "0x10", "1,5", "many", "True", "1 000"])
def test_and_others_are_none(cell: str) -> None:
    assert as_number(cell) is None


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("2024-01-05T00:00:00", "2024-01-05"),
        ("2024-01-05 00:00:00.000000", "2024-01-05"),
        ("2024-01-05T10:30", "2024-01-05 10:30:00"),
        ("2024-01-05T10:30:00Z", "2024-01-05 10:30:00+00:00"),
        ("2024-01-05 10:30:00+0100", "2024-01-05 10:30:00+01:00"),
        ("2024-01-05 00:00:00+00:00", "2024-01-05 00:00:00+00:00"),
        ("2024-13-05 00:00:00", "2024-13-05 00:00:00"),
        ("2024-01-05", "2024-01-05"),
        ("at 2024-01-05 00:00:00", "at 2024-01-05 00:00:00"),
        ("5/1/2024 00:00:00", "5/1/2024 00:00:00"),
    ],
)
def test_time_stamps_have_one_spelling(text: str, one: str) -> None:
    assert one_time(text) == one


def test_a_few_odd_cells_among_numbers_are_found_and_many_are_not() -> None:
    assert odd_ones(["1"] * 19 + ["?"]) == [19]
    assert odd_ones(["1", "NA", None] * 9 + ["?"]) == [27]
    assert odd_ones(["1", "?"]) == []
    assert odd_ones(["NA"] * 19 + ["Shed"]) == [], "gaps are no numbers"
    assert odd_ones(["1"] * 20) == []
