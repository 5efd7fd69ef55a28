"""Rows of a table as text."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import DataError, PluginError, Rows, load_config
from stepbus.text.rows.table import read_rows
from stepbus_plugins.table_data import TableData
from stepbus_plugins.table_data.numbers import plain, quantile_edges, ranks, scale
from stepbus_plugins.table_data.settings import TableDataConfig
from stepbus_plugins.table_data.text import TableText


def rows(name: str = "train", **columns: list[Any]) -> Rows:
    return read_rows(pd.DataFrame(columns), name=name, config=load_config({}).data.settings)


def source(**settings: Any) -> TableText:
    (component,) = TableData.components
    assert (component.kind, component.name) == ("data", "table")
    built: TableText = component.build(TableDataConfig(**settings))
    return built


def told(table: Rows, **settings: Any) -> list[str]:
    made = source(**settings)
    made.fit(table)
    texts, pairs = made.texts(table)
    assert pairs is None
    return texts


PEOPLE: dict[str, list[Any]] = {
    "id": [1, 2, 3],
    "sex": ["male", None, "female"],
    "age": [22.5, np.nan, 71.28333],
    "class": [3, 1, 3],
    "label": [0, 1, 1],
}


def test_all_columns_but_label_id_and_group() -> None:
    texts = told(rows(**PEOPLE), label="label", id="id", numbers="value")
    assert texts == [
        "sex: male; age: 22.5; class: 3",
        "sex: missing; age: missing; class: 1",
        "sex: female; age: 71.28; class: 3",
    ]
    assert told(rows(**PEOPLE), label=["label"], group="sex", id="id", columns=["class"])[0] == "class: 3"


def test_a_format_string_takes_the_columns_it_names() -> None:
    assert told(rows(**PEOPLE), template="a {sex} of {age}, {{{sex}}}", numbers="value", missing="unknown") == [
        "a male of 22.5, {male}",
        "a unknown of unknown, {unknown}",
        "a female of 71.28, {female}",
    ]
    assert told(rows(**{"mean radius": [1, 2]}), template="r {mean radius}") == ["r 1", "r 2"]


def test_numbers_become_words_for_their_rank_among_the_training_rows() -> None:
    train = rows(size=[float(number) + 0.5 for number in range(100)])
    made = source(bins=4)
    made.fit(train)
    other = rows("test", size=[-1000, 30, 50.5, 1e9, np.nan])
    assert made.texts(other)[0] == [
        "size: very low",
        "size: low",
        "size: high",
        "size: very high",
        "size: missing",
    ]
    both = source(bins=4, numbers="both")
    both.fit(train)
    assert both.texts(other)[0][1] == "size: 30 (low)"


def test_codes_and_counts_stay_numbers() -> None:
    texts = told(rows(rooms=list(range(20)) * 2, flag=[True, False] * 20, same=[1.5] * 40))
    assert texts[21] == "rooms: 1; flag: False; same: 1.5"


@pytest.mark.parametrize("bins", range(2, 30))
def test_every_scale_has_different_words_and_mirrors(bins: int) -> None:
    words = scale(bins)
    assert len(words) == len(set(words)) == bins
    if bins <= 11:
        mirror = {"low": "high", "below": "above", "lowest": "highest"}
        mirrored = [" ".join(mirror.get(part, part) for part in word.split()) for word in words[: bins // 2]]
        assert words[::-1][: bins // 2] == mirrored
    else:
        assert words[-1] == f"very high {bins} of {bins}"


@settings(deadline=None, max_examples=50)
@given(
    numbers=st.lists(st.floats(-1e6, 1e6, width=32) | st.just(0.0), min_size=2, max_size=60),
    bins=st.integers(2, 12),
)
def test_a_larger_number_never_has_a_lower_word(numbers: list[float], bins: int) -> None:
    values = np.array(numbers)
    edges = quantile_edges(values, bins)
    if edges is not None:
        order = ranks(np.sort(values), edges)
        assert (np.diff(order) >= 0).all()
        assert 0 <= order.min() <= order.max() < bins


def test_many_equal_numbers_share_the_middle_rank() -> None:
    values = np.array([0.0] * 90 + [0.5 + number for number in range(10)])
    edges = quantile_edges(values, 10)
    assert edges is not None
    assert ranks(np.array([0.0, 9.5]), edges).tolist() == [4, 9]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (22.0, "22"),
        (-3.0, "-3"),
        (8.4583, "8.458"),
        (0.000123456, "0.0001235"),
        (208512.3, "208500"),
        (1e21, "1" + "0" * 21),
    ],
)
def test_numbers_are_written_as_people_do(value: float, text: str) -> None:
    assert plain(value) == text


def test_state_goes_through_json_and_needs_no_training_rows() -> None:
    train = rows(size=[float(number) / 3 for number in range(50)], word=["a"] * 50, label=[0, 1] * 25)
    made = source(label="label")
    made.fit(train)
    fresh = source(label="label")
    fresh.load_state_dict(json.loads(json.dumps(made.state_dict())))
    test = rows("test", word=["b", "c"], size=[1.0, 20.0], more=[1, 2])
    assert fresh.texts(test) == made.texts(test)
    assert fresh.texts(test)[0][0] == "size: lowest; word: b"


@pytest.mark.parametrize(
    ("settings", "columns", "message"),
    [
        ({"columns": ["agee"]}, PEOPLE, r"data.columns: expected a column 'agee' \(did you mean 'age'\?\)"),
        ({"template": "{sexx}"}, PEOPLE, r"data.template: expected a column 'sexx' \(did you mean 'sex'\?\)"),
        ({"template": "{label}", "label": "label"}, PEOPLE, r"data.template: .* no label, got 'label'"),
        ({"columns": ["label"], "label": "label"}, PEOPLE, r"data.columns: .* no label, got 'label'"),
        ({"label": "a"}, {"a": [1, 2]}, "expected columns beside label, weight, id and group, got none"),
        ({}, {"a": [0.5, np.inf]}, r"train frame, row 2: column 'a': expected a finite number, got inf"),
    ],
)
def test_unusable_columns_get_one_sentence(settings: dict[str, Any], columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        source(**settings).fit(rows(**columns))


def test_rows_to_predict_must_have_the_columns_and_kinds_of_training() -> None:
    made = source()
    made.fit(rows(a=[0.5, 1.5], b=["x", "y"]))
    with pytest.raises(DataError, match=r"test frame: data\.columns: expected a column 'b', got a"):
        made.texts(rows("test", a=[1.0]))
    with pytest.raises(DataError, match=r"test frame, row 2: column 'a': expected a number, .* got 'many'"):
        made.texts(rows("test", a=["1", "many"], b=["x", "y"]))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("no column", "expected at least one column in braces, or file.py:function, got 'no column'"),
        ("{a", "expected columns in braces"),
        ("{}", r"got \{\}"),
        ("{a!r}", r"got \{a!r\}"),
        ("{a:.2f}", r"got \{a:.2f\}"),
    ],
)
def test_a_bad_template_is_found_before_any_row_is_read(template: str, message: str) -> None:
    ((name, problem),) = TableDataConfig(template=template).problems()
    assert name == "template"
    import re

    assert re.search(message, problem)


def test_settings_that_go_together() -> None:
    assert TableDataConfig(template="{a} and {b c}").problems() == []
    assert TableDataConfig(template="./mine.py:tell").problems() == []
    assert TableDataConfig(template="{a}", columns=["a"]).problems()[0][0] == "columns"


def csv_rows(folder: Path, content: str, name: str = "train") -> Rows:
    path = folder / f"{name}.csv"
    path.write_text(content)
    return read_rows(path, name=name, config=load_config({}).data.settings)


def test_what_a_column_holds_is_learnt_once_and_other_files_are_read_by_it(tmp_path: Path) -> None:
    train = csv_rows(
        tmp_path, "age,code,version,flag,when\n22,007,3.9,True,2024-01-05\nNA,NA,3.10,,2024-02-01 10:00:00\n"
    )
    made = source(numbers="value")
    made.fit(train)
    assert made.kinds == {"age": "number", "code": "words", "version": "words", "flag": "boolean", "when": "words"}
    assert made.texts(train)[0] == [
        "age: 22; code: 007; version: 3.9; flag: True; when: 2024-01-05",
        "age: missing; code: NA; version: 3.10; flag: missing; when: 2024-02-01 10:00:00",
    ]
    # Alone, each cell would be something else: the kinds are kept with the model.
    fresh = source(numbers="value")
    fresh.load_state_dict(json.loads(json.dumps(made.state_dict())))
    for row, said in {
        "NA,7,3.1,0,2024-01-05T00:00:00": "age: missing; code: 7; version: 3.1; flag: False; when: 2024-01-05",
        "007,1E1,4,true,x": "age: 7; code: 1E1; version: 4; flag: True; when: x",
        " 5 , 5 ,+5,1.0,": "age: 5; code: 5; version: +5; flag: True; when: missing",
        "1e3,12.0,5.,FALSE,": "age: 1000; code: 12.0; version: 5.; flag: False; when: missing",
    }.items():
        assert fresh.texts(csv_rows(tmp_path, f"age,code,version,flag,when\n{row}\n", "test"))[0] == [said]
    for row, message in {
        "many,1,1,True,": r"test.csv:2: column 'age': expected a number, as in the training rows, got 'many'",
        "1_000,1,1,True,": r"test.csv:2: column 'age': expected a number, .* got '1_000'",
        "inf,1,1,True,": r"test.csv:2: column 'age': expected a finite number, got inf",
        "1,1,1,maybe,": r"test.csv:2: column 'flag': expected True or False, as in the training rows, got 'maybe'",
    }.items():
        with pytest.raises(DataError, match=message):
            fresh.texts(csv_rows(tmp_path, f"age,code,version,flag,when\n{row}\n", "test"))


def test_all_rows_of_the_source_say_what_a_column_holds_not_those_of_a_fold() -> None:
    whole = rows(size=["1", "2", "x", "4"])
    made = source()
    made.fit(whole.take([0, 1, 3]))
    assert made.kinds == {"size": "words"}
    assert made.texts(whole)[0] == ["size: 1", "size: 2", "size: x", "size: 4"]


def test_kinds_can_be_set() -> None:
    table = rows(zip=[12345, 1234], size=["1.5", "2.50"])
    assert told(table, kinds={"zip": "words", "size": "number"}, numbers="value") == [
        "zip: 12345; size: 1.5",
        "zip: 1234; size: 2.5",
    ]
    with pytest.raises(DataError, match=r"data.kinds: expected columns that are told, got 'zipp' \(did you mean 'zip'"):
        source(kinds={"zipp": "words"}).fit(table)
    with pytest.raises(DataError, match=r"row 2: column 'a': expected a number, as data\.kinds says of a, got 'x'"):
        source(kinds={"a": "number"}).fit(rows(a=["1", "x"]))


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([*map(str, range(19)), "?"], "column 'a' is read as words, not numbers, because of '?' (train frame, row 20)"),
        (["3.9", "3.10"], "column 'a' is read as words, not numbers: they are written as codes or versions are"),
        (["1,5", "2"], "column 'a' is read as words, not numbers: write decimals with a point"),
    ],
)
def test_what_nearly_is_a_column_of_numbers_is_said_once(
    cells: list[str], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = rows(a=cells)
    with caplog.at_level(logging.WARNING):
        source().fit(table)
        source().fit(table.take([0, 1]))
    assert [record.getMessage() for record in caplog.records] == [f"train frame: {said}"]


def test_a_saved_index_is_no_feature_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = ",size,label\n0,5,a\n1,6,b\n"
    with caplog.at_level(logging.WARNING):
        assert told(csv_rows(tmp_path, content), label="label") == ["size: 5", "size: 6"]
    assert "'Unnamed: 0' has no name in the file, as a saved index of pandas has none, and is no feature" in caplog.text
    assert told(csv_rows(tmp_path, content), columns=["Unnamed: 0"]) == ["Unnamed: 0: 0", "Unnamed: 0: 1"]
    frame = rows(**{"Unnamed: 0": [0, 1], "size": [5, 6]})
    assert told(frame) == ["size: 5", "size: 6"]
    by_index = load_config({"data": {"id": "Unnamed: 0"}}).data.settings
    assert read_rows(tmp_path / "train.csv", name="train", config=by_index).ids.tolist() == ["0", "1"]


def test_lists_are_refused_where_they_are_told_and_nowhere_else() -> None:
    table = rows(a=[1, 2], tags=[["x"], ["y", "z"]])
    with pytest.raises(DataError, match=r"row 1: column 'tags': expected one value, got a list: \['x'\]"):
        source().fit(table)
    assert told(table, columns=["a"]) == ["a: 1", "a: 2"]


def test_what_was_told_is_said_with_the_setting_that_changes_it() -> None:
    made = source(label="label")
    made.fit(rows(a=[1, 2], b=["x", "y"], c=[True, False], label=[0, 1]))
    assert made.describe() == {"columns": "number: a; boolean: c; words: b (data.kinds sets others)"}


def test_a_state_from_before_columns_had_kinds_is_read() -> None:
    made = source(numbers="value")
    made.load_state_dict({"columns": ["a", "b"], "edges": {"a": None}, "function": None})
    assert made.texts(rows("test", a=["NA"], b=["007"]))[0] == ["a: missing; b: 007"]


STATE: dict[str, Any] = {
    "columns": ["a", "b"], "kinds": {"a": "number", "b": "words"}, "edges": {"a": [1.0, 2.0, 2.0]}, "function": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"columns": [1, 2]}, "columns"), ({"columns": []}, "columns"), ({"columns": "ab"}, "columns"),
        ({"columns": ["b"], "kinds": {"b": "words"}, "edges": {}}, "columns"),  # the template names a
        ({"kinds": {}}, "kinds"), ({"kinds": {"a": "number", "b": "text"}}, "kinds"), ({"kinds": []}, "kinds"),
        ({"kinds": {"a": "number", "b": ["words"]}}, "kinds"), ({"edges": {}}, "edges"), ({"edges": None}, "edges"),
        ({"edges": {"a": ["1", "2", "3"]}}, "edges"), ({"edges": {"a": [3, 2, 1]}}, "edges"),
        ({"edges": {"a": [1.0, float("nan"), 3.0]}}, "edges"), ({"edges": {"a": [1.0, 2.0]}}, "edges"),
        ({"edges": {"a": [1.0, 2.0, 10**400]}}, "edges"), ({"edges": {"a": [False, True, True]}}, "edges"),
        ({"edges": {"a": None, "b": None}}, "edges"), ({"function": 3}, "function"),
    ],
)  # fmt: skip
def test_a_state_that_does_not_fit_names_its_key(change: dict[str, Any], key: str) -> None:
    made = source(template="{a} and {b}", bins=4)
    made.load_state_dict(STATE)
    assert made.texts(rows("test", a=[0, 2], b=["x", "y"]))[0] == ["very low and x", "high and y"]
    with pytest.raises(DataError, match=rf"^source\.{key}: expected "):
        made.load_state_dict({**STATE, **change})


def test_a_state_of_other_columns_than_the_settings_is_refused() -> None:
    source(columns=["a", "b"], bins=4).load_state_dict(STATE)
    with pytest.raises(DataError, match=r"^source\.columns: expected those of config\.data\.columns"):
        source(columns=["b", "a"], bins=4).load_state_dict(STATE)


FUNCTIONS = """
def kinds(row):
    return repr(row)

def one(row):
    return f"{row['sex'] or 'somebody'} in class {row['class']}"

def two(row):
    return str(row["sex"]), str(row["class"])

def wrong(row):
    return 3 if row["class"] == 1 else "x"

def broken(row):
    return row["absent"]
"""


def test_a_function_of_ones_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTIONS)
    assert told(rows(**PEOPLE), template=f"{file}:one", label="label")[:2] == ["male in class 3", "somebody in class 1"]
    made = source(template=f"{file}:two")
    made.fit(rows(**PEOPLE))
    assert made.texts(rows(**PEOPLE)) == (["male", "None", "female"], ["3", "1", "3"])
    # The same values, with the same types, whatever the rows came from.
    for table in (
        rows(a=[12.0, np.nan, 0.5], b=[True, None, False], c=["007", None, "x"]),
        csv_rows(tmp_path, "a,b,c\n12,True,007\nNA,,\n.5,False,x\n"),
    ):
        assert told(table, template=f"{file}:kinds") == [
            "{'a': 12, 'b': True, 'c': '007'}",
            "{'a': None, 'b': None, 'c': None}",
            "{'a': 0.5, 'b': False, 'c': 'x'}",
        ]
    with pytest.raises(DataError, match=r"row 2: data.template: .*mine.py:wrong to return a text .* got 3"):
        told(rows(**PEOPLE), template=f"{file}:wrong")
    with pytest.raises(DataError, match=r"row 1: data.template: .*mine.py:broken raised KeyError: 'absent'"):
        told(rows(**PEOPLE), template=f"{file}:broken")
    with pytest.raises(DataError, match=r"written in Python, got .* which names nothing"):
        source(template=f"{file}:non")
    with pytest.raises(PluginError, match="there is no file"):
        source(template=f"{tmp_path}/nothing.py:one")
    state = made.state_dict()
    with caplog.at_level(logging.WARNING):
        made.load_state_dict(state)
        assert not caplog.records
        made.load_state_dict({**state, "function": "another"})
        assert "has changed since the model was trained" in caplog.text


@pytest.mark.parametrize("template", ["os:system", "builtins:exec", "sys:exit", "builtins:dict", "os:nothing"])
def test_a_template_is_looked_at_before_it_is_called(template: str) -> None:
    with pytest.raises(DataError, match="expected a function of one row, written in Python"):
        TableText(TableDataConfig(template=template))
