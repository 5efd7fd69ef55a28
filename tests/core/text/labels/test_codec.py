"""Labels as arrays, and back as words."""

from __future__ import annotations

import datetime
import json
import logging
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stepbus.base.errors import DataError
from stepbus.config.sections import DataSettings, Task
from stepbus.text.labels.codec import LabelCodec
from stepbus.text.rows.table import Rows, read_rows


def rows(values: list[Any] | None = None, **columns: list[Any]) -> Rows:
    frame = pd.DataFrame(columns if values is None else {"label": values})
    return read_rows(frame, name="train", config=DataSettings())


def fitted(values: list[Any], task: Task | None = None, target: str = "none") -> LabelCodec:
    codec = LabelCodec("label", task, target)
    codec.fit(rows(values))
    return codec


@pytest.mark.parametrize(
    ("values", "task", "names"),
    [
        (["pos", "neg", "pos"], "binary", ["neg", "pos"]),
        (["b", "a", "c"], "multiclass", ["a", "b", "c"]),
        ([0, 1, 1], "binary", ["0", "1"]),
        ([10, 9, 2], "multiclass", ["2", "9", "10"]),
        ([1.0, 2.0, 3.0], "multiclass", ["1", "2", "3"]),
        (["1.0", "0"], "binary", ["0", "1"]),
        ([True, False], "binary", ["False", "True"]),
        (list(range(20)), "multiclass", [str(number) for number in range(20)]),
        (list(range(21)), "regression", ["label"]),
        ([0.5, 1.0, 2.0], "regression", ["label"]),
        (["0.5", "x"], "binary", ["0.5", "x"]),
        # Codes are words, as they are written.
        (["007", "012"], "binary", ["007", "012"]),
        (["007", "7"], "binary", ["007", "7"]),
        (["3.9", "3.10"], "binary", ["3.10", "3.9"]),
        (["3.10", "3.11", "3.12"], "multiclass", ["3.10", "3.11", "3.12"]),
        (["1E1", "1e1"], "binary", ["1E1", "1e1"]),
        (["1e5", "2e5"], "binary", ["1e5", "2e5"]),
        (["+5", "-5"], "binary", ["+5", "-5"]),
        (["1_000", "2_000"], "binary", ["1_000", "2_000"]),
        (["٣", "٤"], "binary", ["٣", "٤"]),
        (["0x10", "0x11"], "binary", ["0x10", "0x11"]),
        (["NaN", "word"], "binary", ["NaN", "word"]),
        (["NA", "007"], "binary", ["007", "NA"]),
        (["NA", "x"], "binary", ["NA", "x"]),
        ([f"{number:05d}" for number in range(30)], "multiclass", [f"{number:05d}" for number in range(30)]),
        ([str(10**15 + number) for number in range(30)], "multiclass", [str(10**15 + number) for number in range(30)]),
        (["12.50", "3.10", "12.50"], "binary", ["12.50", "3.10"]),
        (["pos", "pos "], "binary", ["pos", "pos "]),
        # Numbers have one spelling for each value.
        ([" 5 ", "5", "6"], "binary", ["5", "6"]),
        (["5.", "6.00"], "binary", ["5", "6"]),
        (["-0", "2"], "binary", ["0", "2"]),
        (["-1", "1", "10", "9"], "multiclass", ["-1", "1", "9", "10"]),
        ([99999999999999999999, 5], "binary", ["5", "99999999999999999999"]),
        # Yes and no have one meaning, and the spelling of the source where it has one.
        (["true", "false"], "binary", ["false", "true"]),
        (["TRUE", "False"], "binary", ["False", "TRUE"]),
        (["True", "true", "FALSE"], "binary", ["False", "True"]),
        (["True", "1", "0"], "binary", ["False", "True"]),
        (["1.0", "1", "0"], "binary", ["0", "1"]),
        ([True, 0, "no"], "multiclass", ["0", "True", "no"]),
        # Quantities.
        ([".5", "5.", "1"], "regression", ["label"]),
        (["1e-05", "0.5"], "regression", ["label"]),
        ([f"{number}.{number:02d}" for number in range(30)], "regression", ["label"]),
        ([Decimal("0.25"), Decimal("1.5")], "regression", ["label"]),
        # Points of time.
        ([datetime.date(2024, 1, 5), datetime.datetime(2024, 1, 6)], "binary", ["2024-01-05", "2024-01-06"]),
        (["2024-01-05T00:00:00", "2024-01-06 00:00:00"], "binary", ["2024-01-05", "2024-01-06"]),
    ],
)
def test_task_is_told_by_the_labels(values: list[Any], task: str, names: list[str]) -> None:
    codec = fitted(values)
    assert (codec.task, codec.names) == (task, names)
    assert codec.outputs == (1 if task == "regression" else len(names))


def test_one_spelling_for_one_label() -> None:
    codec = fitted(["1", "0"])
    for values in ([1, 0], [1.0, 0.0], ["1.0", "0"], [" 1", "0 "]):
        assert codec.encode(rows(values)).tolist() == [1, 0]
    assert codec.encode(rows([1])).dtype == np.int32
    for values in ([True, False], ["true", "False"], ["TRUE", "0.0"], pd.array([True, False], dtype="boolean")):
        assert codec.encode(rows(values)).tolist() == [1, 0]
    versions = fitted(["3.9", "3.10", "3.1"])
    assert versions.encode(rows(["3.10", "3.1", "3.9"])).tolist() == [1, 0, 2]
    codes = fitted(["007", "7", "x"])
    assert codes.encode(rows(["7", "007"])).tolist() == [1, 0]
    with pytest.raises(DataError, match="got '07'"):
        codes.encode(rows(["07"]))


def test_a_label_means_the_same_whatever_stands_beside_it() -> None:
    codec = fitted(["3", "007", "x"])
    for values in (["3"], ["3", "x"], ["007", "3"]):
        assert codec.encode(rows(values))[values.index("3")] == codec.names.index("3")
    whole = rows(["7", "12.0", "x"])
    part = LabelCodec("label")
    part.fit(whole.take([0, 1]))
    assert part.names == ["12.0", "7"], "all rows of the source say what labels are"
    table = rows([*range(25), *range(25)])
    for chosen in (range(50), range(5), [0, 1]):
        codec = LabelCodec("label")
        codec.fit(table.take(list(chosen)))
        assert codec.task == "regression"


@pytest.mark.parametrize("value", [["a", "b"], ("a",), {"a": 1}, {"a"}, np.array([1, 2]), b"a", object()])
def test_labels_are_single_values(value: Any) -> None:
    with pytest.raises(DataError, match=r"row 2: column 'label': expected one value, got (an? )?\w+.*label: \[a, b\]$"):
        fitted(["x", value])
    with pytest.raises(DataError, match=r"row 1: column 'b': expected one value"):
        LabelCodec(["a", "b"]).fit(rows(a=[1], b=[value]))


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["café", "cafe\u0301"], r"'cafe\u0301' and 'caf\xe9'"),
        (["pos", "pos\u200b"], r"'pos' and 'pos\u200b'"),
        (["pos", "pos "], r"'pos' and 'pos '"),
        (["a b", "a\u00a0b"], r"'a b' and 'a\xa0b'"),
        (["Pos", "pos"], r"'Pos' and 'pos'"),
        (["\ufeffpos", "pos"], r"'pos' and '\ufeffpos'"),
        (["\uff30os", "Pos"], r"'Pos' and '\uff30os'"),
        (["007", "7"], r"'007' and '7'"),
        (["-007", "-7"], r"'-007' and '-7'"),
        (["-00", "0"], r"'-00' and '0'"),
    ],
)
def test_classes_that_look_alike_are_said_so_that_one_sees_it(
    values: list[str], shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        codec = fitted([*values, "other"])
    assert f"column 'label': classes that look alike are learnt as different ones: {shown}; give" in caplog.text
    assert len(codec.names) == 3
    with pytest.raises(DataError, match=r"looks like it and is another: .* is not "):
        fitted([values[0], "other"]).encode(rows([values[1]]))


@pytest.mark.parametrize("values", [[-1, 1], ["-1", "0", "1"], ["-1", "+1"], ["-007", "7"]])
def test_a_number_and_its_negative_do_not_look_alike(values: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(fitted(values).names) == len(values)
    assert "look alike" not in caplog.text


def test_other_marks_are_other_classes_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fitted(["cafe", "café", "कि", "का", "3.9", "3.10", "a-b", "ab"])
    assert not caplog.records


def test_rows_that_are_a_class_of_their_own_and_printed_lists_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fitted([f"name {number}" for number in range(12)] + ["name 1"])
    assert "column 'label': 13 rows have 12 different classes, such as 'name 0'; is it the column" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        fitted(["['joy', 'fear']", "['joy']"])
    assert (
        "is learnt as one class; for several labels a row write a 0/1 column for each, and label: [a, b]" in caplog.text
    )
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        fitted([*map(str, range(30)), "?"])
    assert "labels are read as words, not numbers, because of '?' (train frame, row 31)" in caplog.text


@pytest.mark.parametrize("value", ["+5", "007", " 5 ", "5e0", "5."])
def test_a_regression_that_was_said_takes_every_spelling_of_a_number(value: str) -> None:
    codec = fitted(["1", value], "regression")
    assert codec.targets_in_units(rows([value])).tolist() == [7 if value == "007" else 5]


@pytest.mark.parametrize("value", ["1_000", "٣", "0x10", "1,5", True, "NA"])
def test_and_nothing_else(value: Any) -> None:
    with pytest.raises(DataError, match=r"row 2: .*expected a finite number as regression target, got '"):
        fitted(["1", value], "regression")


def test_words_come_back_with_probabilities() -> None:
    codec = fitted(["no", "yes"])
    table = codec.decode(np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert {name: column.tolist() for name, column in table.items()} == {
        "label": ["no", "yes"],
        "probability_no": [0.9, 0.2],
        "probability_yes": [0.1, 0.8],
    }
    numbers = fitted([7, 3]).decode(np.array([[0.9, 0.1]]))["label"]
    assert numbers.tolist() == [3]
    assert numbers.dtype.kind == "i"


def test_several_columns_are_multilabel() -> None:
    codec = LabelCodec(["joy", "fear"])
    table = rows(joy=[1, 0, True], fear=["1.0", "0", "true"])
    codec.fit(table)
    assert (codec.task, codec.outputs, codec.names) == ("multilabel", 2, ["joy", "fear"])
    assert codec.encode(table).tolist() == [[1, 1], [0, 0], [1, 1]]
    assert codec.encode(table).dtype == np.float32
    decoded = codec.decode(np.array([[0.5, 0.49]]))
    assert {name: column.tolist() for name, column in decoded.items()} == {
        "joy": [1],
        "fear": [0],
        "probability_joy": [0.5],
        "probability_fear": [0.49],
    }
    with pytest.raises(DataError, match=r"row 2: column 'fear': expected 0 or 1, as in every label column, got '2'"):
        codec.encode(rows(joy=[1, 0], fear=[0, 2]))


@pytest.mark.parametrize("target", ["none", "log1p"])
def test_regression_is_standardised_and_comes_back_in_its_own_units(target: str) -> None:
    values = [0.0, 1.5, 10.0, 100.0]
    codec = fitted(values, "regression", target)
    encoded = codec.encode(rows(values))
    assert encoded.dtype == np.float32
    np.testing.assert_allclose([encoded.mean(), encoded.std()], [0, 1], atol=1e-6)
    np.testing.assert_allclose(codec.to_units(encoded[:, None]), values, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(codec.decode(codec.to_units(encoded[:, None]))["label"], values, rtol=1e-5, atol=1e-5)
    assert codec.targets_in_units(rows(values)).tolist() == values
    # Training rows set the units; other rows do not.
    np.testing.assert_allclose(codec.to_units(codec.encode(rows([7.0, 8.0]))), [7, 8], rtol=1e-5)


def test_classes_keep_their_predictions_and_targets() -> None:
    codec = fitted(["a", "b"])
    chances = np.array([[0.25, 0.75]])
    assert codec.to_units(chances) is chances
    assert codec.targets_in_units(rows(["b", "a"])).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "task", "target", "message"),
    [
        (["a", None], None, "none", "row 2: column 'label': expected a label, got an empty field"),
        ([1.0, np.nan, np.nan], None, "none", r"row 2: .*got an empty field \(2 rows have none\)"),
        (["0", "1", "NA"], None, "none", "row 3: column 'label': expected a label, got 'NA' among numbers"),
        (["1.5", "nan", "2.5"], None, "none", "row 2: column 'label': expected a label, got 'nan' among numbers"),
        (["True", "null", "False"], "binary", "none", "row 2: column 'label': expected a label, got 'null' among"),
        (["a", " "], None, "none", "row 2: column 'label': expected a label, got an empty field"),
        (["1", "3,5"], "regression", "none", "row 2: .*regression target, got '3,5'; write numbers without commas"),
        (["1", "x"], "regression", "none", "row 2: .*expected a finite number as regression target, got 'x'"),
        ([1.0, np.inf], "regression", "none", "row 2: .*expected a finite number as regression target, got 'inf'"),
        ([1.5, -1.0], "regression", "log1p", "row 2: .*above -1 for data.target: log1p, got -1"),
        ([2.5, 2.5], "regression", "none", "expected targets that differ, got one value"),
        (["a", "a"], None, "none", "expected two different labels for binary, got 1: a"),
        (["a", "b", "c"], "binary", "none", "expected two different labels for binary, got 3: a, b, c"),
        (["a", "b"], "multiclass", "log1p", "expected none for multiclass, got 'log1p'"),
    ],
)
def test_unusable_labels_get_one_sentence(values: list[Any], task: Task | None, target: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fitted(values, task, target)


def test_a_label_that_training_has_not_seen_names_row_and_known_labels() -> None:
    with pytest.raises(
        DataError,
        match=r"row 2: column 'label': expected a label that training has seen \(negative, positive\), "
        r"got 'postive' \(did you mean 'positive'\?\)",
    ):
        fitted(["negative", "positive"]).encode(rows(["negative", "postive"]))


def test_columns_that_are_not_there_or_too_many() -> None:
    with pytest.raises(DataError, match=r"data.label: expected a column 'lable' \(did you mean 'label'\?\), got label"):
        LabelCodec("lable").fit(rows(["a", "b"]))
    with pytest.raises(DataError, match="expected the column to predict, got none"):
        LabelCodec(None).fit(rows(["a", "b"]))
    with pytest.raises(DataError, match="expected one column for regression, got 2"):
        LabelCodec(["x", "y"], "regression").fit(rows(x=[1, 2], y=[1, 2]))


@pytest.mark.parametrize("values", [["no", "yes"], [0.5, 1.5, 2.5], [3, 1, 2]])
def test_state_goes_through_json(values: list[Any]) -> None:
    codec = fitted(values)
    fresh = LabelCodec(None)
    fresh.load_state_dict(json.loads(json.dumps(codec.state_dict())))
    assert fresh.state_dict() == codec.state_dict()
    assert (fresh.outputs, fresh.columns) == (codec.outputs, ("label",))
    np.testing.assert_array_equal(fresh.encode(rows(values)), codec.encode(rows(values)))


def test_strata_are_classes_combinations_or_tenths() -> None:
    codec = fitted([3, 1, 2])
    assert codec.strata(rows([2, 2, 3]), 2).tolist() == [1, 1, 2]
    many = list(range(30)) * 3
    assert fitted(many, "multiclass").strata(rows(many), 5).tolist() == many, "the task that was said, not tenths"
    flags = LabelCodec(["a", "b"])
    table = rows(a=[0, 0, 1, 1, 0], b=[1, 1, 1, 0, 1])
    flags.fit(table)
    assert flags.strata(table, 2).tolist() == [0, 0, -1, -1, 0], "rare combinations are one class"
    assert flags.strata(table, 3).tolist() == [0, 0, 0, 0, 0], "too few even together"
    targets = np.random.default_rng(0).permutation(200).astype(float).tolist()
    assert np.bincount(fitted(targets, "regression").strata(rows(targets), 5)).tolist() == [20] * 10
    assert np.bincount(fitted([0.0, 1.0], "regression").strata(rows([1.0] * 12), 5)).min() >= 5


def test_a_state_from_before_labels_had_a_kind_is_read() -> None:
    old = {name: value for name, value in fitted(["1.0", "0"]).state_dict().items() if name != "kind"}
    codec = LabelCodec(None)
    codec.load_state_dict(old)
    assert codec.encode(rows(["1.0", "0"])).tolist() == codec.encode(rows([1, 0])).tolist() == [1, 0]
