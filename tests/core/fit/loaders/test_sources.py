"""What is an iterable of batches and what is rows; how such an iterable is read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stepbus import DataError
from stepbus.device import backend as backend
from stepbus.fit.loaders.sources import Loader, is_loader

# After the fast BLAS.
import mlx.core as mx  # isort: skip

ONE = {"x": np.zeros((2, 3)), "labels": np.zeros(2)}


class Batches:
    """Iterates, and is told the epoch."""

    def __init__(self) -> None:
        self.epochs: list[int] = []

    def __iter__(self) -> Iterator[Any]:
        return iter([ONE])

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


class Sequence:
    """Has places and a length, and never raises IndexError."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> Any:
        return {**ONE, "place": place}


def generator() -> Iterator[Any]:
    yield ONE


class Table:
    """What polars and Hugging Face datasets have in common."""

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame({"x": [1]})

    def __iter__(self) -> Iterator[Any]:
        return iter([ONE])


@pytest.mark.parametrize(
    "source",
    [
        [ONE],
        (ONE,),
        [{"x": mx.zeros((2, 3)), "labels": [0, 1]}],
        [{"x": [[0.5], [1.5]], "labels": [0, 1]}],
        [{"x": np.zeros((2, 3)), "labels": 1}],  # wrong, and the sentence about batches says how
        [(np.zeros((2, 3)), np.zeros(2))],
        [np.zeros((2, 3))],
        generator,
        generator(),
        lambda epoch: [ONE],
        Batches(),
        Sequence(),
        iter([ONE]),
    ],
)
def test_batches(source: Any) -> None:
    assert is_loader(source)


@pytest.mark.parametrize(
    "source",
    [
        None,
        "train.csv",
        Path("train.csv"),
        0.1,
        np.float32(0.1),
        pd.DataFrame({"x": [1]}),
        pd.Series([1]),
        pa.table({"x": [1]}),
        Table(),
        {"x": [1, 2], "labels": [0, 1]},
        {"x": np.zeros((2, 3)), "labels": np.zeros(2)},
        [{"text": "good", "label": 1}],
        [{"x": 1.5, "label": np.int64(1)}],
        [{"text": "good", "embedding": np.zeros(3), "label": 1}],
        [{"tags": ["a", "b"], "label": 1}],
        [{"words": ["a", "b"]}],
        [],
        ["good"],
        [[1, 2], [3, 4]],
        np.zeros((2, 3)),
        mx.zeros((2, 3)),
        io.StringIO("text,label\n"),
        {1, 2},
        b"text",
        Batches,
    ],
)
def test_rows_and_what_is_neither(source: Any) -> None:
    assert not is_loader(source)


def test_a_list_is_always_the_same() -> None:
    loader = Loader([ONE, ONE], "train")
    assert (loader.is_list, loader.reads_once, loader.knows_epochs, loader.count()) == (True, False, True, 2)
    assert list(loader.begin(3)) == [ONE, ONE]


def test_an_iterator_is_read_once() -> None:
    loader = Loader(iter([ONE]), "train")
    assert (loader.reads_once, loader.knows_epochs, loader.count()) == (True, False, None)
    assert (list(loader.begin(0)), list(loader.begin(1))) == ([ONE], [])


def test_a_function_may_take_the_epoch() -> None:
    asked: list[Any] = []
    positional = Loader(lambda number: asked.append(number) or [ONE], "train")
    by_name = Loader(lambda shuffle=True, *, epoch=None: asked.append((shuffle, epoch)) or [ONE], "train")
    without = Loader(lambda shuffle=True: asked.append(shuffle) or [ONE], "train")
    assert [each.knows_epochs for each in (positional, by_name, without)] == [True, True, False]
    for each in (positional, by_name, without):
        assert list(each.begin(4)) == [ONE]
    assert asked == [4, (True, 4), True]
    assert [list(Loader(generator, "train").begin(epoch)) for epoch in (0, 1)] == [[ONE], [ONE]]


def test_a_function_of_more_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"^train: expected a function of nothing, or of the epoch, got one of a, b; wrap"
    ):
        Loader(lambda a, b: [ONE], "train")
    with pytest.raises(DataError, match="one that returns a NoneType"):
        Loader(lambda: None, "train").begin(0)


def test_set_epoch_is_called_before_each() -> None:
    source = Batches()
    loader = Loader(source, "train")
    assert (loader.knows_epochs, loader.count()) == (True, None)
    for epoch in (0, 2):
        assert list(loader.begin(epoch)) == [ONE]
    assert source.epochs == [0, 2]


def test_places_are_read_up_to_the_length() -> None:
    assert [batch["place"] for batch in Loader(Sequence(), "train").begin(0)] == [0, 1]


def test_a_length_that_is_not_known_is_none() -> None:
    def unknown() -> int:
        raise TypeError("an iterable dataset has no len()")

    class Unknown(Batches):
        def __len__(self) -> int:
            return unknown()

    assert Loader(Unknown(), "train").count() is None


def test_whoever_wants_rows_of_it_gets_a_sentence() -> None:
    loader = Loader([ONE], "train")
    for name in ("take", "ids", "frame", "column"):
        with pytest.raises(DataError, match=r"^train: expected rows, .* got a loader of batches"):
            getattr(loader, name)
    assert not hasattr(loader, "something_else")
    assert SimpleNamespace(loader=loader).loader is loader
