"""Columns of results: each under a name of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepbus.text.labels.codec import LabelCodec
from stepbus.text.labels.columns import Column, distinct


def codec(columns: str | list[str], names: list[str], task: str) -> LabelCodec:
    made = LabelCodec(columns)
    made.load_state_dict(
        {"columns": made.columns, "task": task, "target": "none", "names": names, "mean": 5.0, "sd": 2.0}
    )
    return made


def test_the_users_names_stay_wherever_they_stand() -> None:
    table, said = distinct([Column("row", [0]), Column("row", ["a"], own=True), Column("row_2", [1], own=True)])
    assert table == {"row_3": [0], "row": ["a"], "row_2": [1]}
    assert list(table) == ["row_3", "row", "row_2"]
    assert said == ["two columns would be called 'row': column 1 is 'row_3' instead"]
    assert distinct([Column("id", [1], own=True), Column("id", [2], own=True)])[0] == {"id": [1], "id_2": [2]}
    assert distinct([Column("a", [1]), Column("b", [2])]) == ({"a": [1], "b": [2]}, [])


@given(st.lists(st.tuples(st.sampled_from(["a", "a_2", "a_3", "b"]), st.booleans()), max_size=12))
def test_no_column_is_ever_lost(wanted: list[tuple[str, bool]]) -> None:
    columns = [Column(name, [number], own) for number, (name, own) in enumerate(wanted)]
    table, said = distinct(columns)
    assert list(table.values()) == [[number] for number in range(len(wanted))]
    assert len(said) == sum(name != column.name for name, column in zip(table, columns, strict=True))
    for name in {column.name for column in columns if column.own}:
        assert table[name] == next(column.values for column in columns if column.own and column.name == name)


def test_decoding_two_columns_of_one_name_keeps_both() -> None:
    decoded = codec(["a", "probability_a"], ["a", "probability_a"], "multilabel").decode(np.array([[0.9, 0.2]]))
    assert {name: column.tolist() for name, column in decoded.items()} == {
        "a": [1],
        "probability_a": [0],
        "probability_a_2": [0.9],
        "probability_probability_a": [0.2],
    }
    decoded = codec("probability_x", ["x", "y"], "binary").decode(np.array([[0.75, 0.25]]))
    assert {name: column.tolist() for name, column in decoded.items()} == {
        "probability_x": ["x"],
        "probability_x_2": [0.75],
        "probability_y": [0.25],
    }


def test_decoding_a_regression_only_names_its_values() -> None:
    values = np.array([150_000.0, -3.5])
    assert codec("price", ["price"], "regression").decode(values)["price"] is values


@pytest.mark.parametrize(
    ("task", "names", "shape"), [("regression", ["y"], (3, 1)), ("multiclass", ["a", "b", "c"], (3, 2))]
)
def test_what_is_no_prediction_is_refused(task: str, names: list[str], shape: tuple[int, ...]) -> None:
    """A model's standardised outputs [N, 1] must not pass for values in the target's unit."""
    with pytest.raises(ValueError, match="got an array of shape"):
        codec("y", names, task).decode(np.zeros(shape))


def test_where_a_probability_is_no_number_no_class_is_named() -> None:
    chances = np.array([[0.1, 0.9], [np.nan, np.nan]])
    assert codec("y", ["a", "b"], "binary").decode(chances)["y"].tolist() == ["b", None]
    assert codec("y", ["0", "1"], "binary").decode(chances)["y"].tolist() == [1, None]
    assert codec(["a", "b"], ["a", "b"], "multilabel").decode(chances)["b"].tolist() == [1, None]
