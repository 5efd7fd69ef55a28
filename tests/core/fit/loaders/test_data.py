"""The batches of a loader as the data of a fit: windows, counts, digests, and what a resume reads again."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest

from stepbus import CheckpointError, DataError, load_config
from stepbus.device import backend as backend
from stepbus.fit.loaders.data import LoaderData
from stepbus.fit.loaders.sets import Reader
from stepbus.fit.loaders.sources import Loader


def batch(number: float, rows: int = 2, **more: Any) -> dict[str, Any]:
    return {"x": np.full((rows, 1), number), "labels": np.arange(rows) % 2, **more}


FIVE = [batch(number) for number in range(5)]


def data(source: Any = FIVE, validation: Any = None, task: str | None = None, **training: Any) -> LoaderData:
    sets = {"train": Loader(source, "train")}
    if validation is not None:
        sets["validation"] = Loader(validation, "validation")
    return LoaderData(load_config({"training": training}), sets, task)


def numbers(windows: Any) -> list[list[float]]:
    return [[float(each.arrays["x"][0, 0]) for each in window] for window in windows]


def read(given: LoaderData, epoch: int, start: int = 0, most: int | None = None) -> list[list[float]]:
    with given.windows(epoch, start) as windows:
        return numbers(islice(windows, most))


def again(given: LoaderData, saved: LoaderData) -> LoaderData:
    given.resume(json.loads(json.dumps(saved.progress())))
    return given


class Shuffled:
    """Its order depends on how often it was read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[Any]:
        order = np.random.default_rng([self.read, 7]).permutation(5)
        self.read += 1
        return (FIVE[place] for place in order)


class Told(Shuffled):
    """Its order depends on the epoch."""

    def set_epoch(self, epoch: int) -> None:
        self.read = epoch


def test_batches_are_taken_in_windows_and_the_last_one_may_be_smaller() -> None:
    assert read(data(), 0) == [[0], [1], [2], [3], [4]]
    assert read(data(gradient_accumulation_steps=2), 0) == [[0, 1], [2, 3], [4]]


def test_updates_are_counted() -> None:
    assert data(num_epochs=3).count_steps() == (5, 15)
    assert data(num_epochs=3, gradient_accumulation_steps=2).count_steps() == (3, 9)
    assert data(num_epochs=3, max_steps=4).count_steps() == (5, 4)
    assert data(Shuffled(), max_steps=4).count_steps() == (0, 4)
    with pytest.raises(DataError, match=r"^training\.max_steps: expected how many updates .* got none$"):
        data(Shuffled()).count_steps()


def test_a_list_is_looked_at_and_counted_before_any_training() -> None:
    found = data(FIVE, [batch(1, rows=3)])
    assert found.rows == {"train": 10, "validation": 3}
    assert found.digests().keys() == {"train", "validation"}
    assert found.digests()["train"] != data(FIVE[:4]).digests()["train"]
    assert found.digests()["train"] == data(tuple(FIVE)).digests()["train"]
    with pytest.raises(DataError, match=r"^train: epoch 1, batch 6: expected the targets"):
        data([*FIVE, {"x": [1]}])
    assert data(Shuffled(), max_steps=1).rows == {}


def test_an_epoch_without_a_batch_is_named() -> None:
    given = data(lambda epoch: FIVE if epoch == 0 else [], max_steps=9)
    assert len(read(given, 0)) == 5
    with pytest.raises(DataError, match=r"^train: epoch 2: expected at least one batch, got none$"):
        read(given, 1)
    once = data(iter(FIVE), max_steps=9)
    assert len(read(once, 0)) == 5
    with pytest.raises(DataError, match=r"^train: epoch 2: .*; an iterator gives its batches once, so hand"):
        read(once, 1)


def test_a_wrong_batch_names_epoch_and_batch() -> None:
    given = data(lambda epoch: [batch(0), (1, 2)] if epoch else FIVE, max_steps=9)
    read(given, 0)
    with pytest.raises(DataError, match=r"^train: epoch 2, batch 2: expected a dictionary of arrays, got a tuple"):
        read(given, 1)


def test_what_a_loader_raises_is_said_with_its_place() -> None:
    def breaks() -> Iterator[Any]:
        yield batch(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        read(data(breaks, max_steps=3), 0)
    assert caught.value.__notes__ == ["train: epoch 1, batch 2: raised by the loader"]


def test_an_iteration_that_is_left_is_closed() -> None:
    closed: list[int] = []

    def generator() -> Iterator[Any]:
        try:
            yield from FIVE
        finally:
            closed.append(1)

    assert read(data(generator, max_steps=3), 0, most=2) == [[0], [1]]
    assert closed == [1]


def test_many_shapes_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        data([batch(0, rows=rows) for rows in range(1, 17)])
        assert caplog.messages == []
        read(data([batch(0, rows=rows) for rows in range(1, 21)]), 0)
    (said,) = caplog.messages
    assert said.startswith("train: more than 16 shapes of batches so far")


def test_a_length_that_is_not_kept_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class Lies(Shuffled):
        def __len__(self) -> int:
            return 7

    given = data(Lies())
    for epoch in range(2):
        read(given, epoch)
    (said,) = caplog.messages
    assert said.startswith("train: epoch 1 had 5 batches, and len() of the loader says 7")


@pytest.mark.parametrize("make", [lambda: FIVE, lambda: lambda: iter(FIVE), Shuffled, Told])
@pytest.mark.parametrize("size", [1, 2])
def test_a_resume_goes_on_with_the_same_batches_at_every_window(make: Any, size: int) -> None:
    """Whatever the loop took ahead: a window or two beyond the one that was done."""
    settings = {"gradient_accumulation_steps": size, "max_steps": 99}
    whole = data(make(), **settings)
    epochs = [read(whole, epoch) for epoch in range(3)]
    for epoch in range(3):
        for start in range(len(epochs[0])):
            for ahead in (0, 1, 2):
                first = data(make(), **settings)
                for before in range(epoch):
                    read(first, before)
                read(first, epoch, most=start + ahead if start else 0)
                resumed = again(data(make(), **settings), first)
                assert read(resumed, epoch, start) == epochs[epoch][start:]
                assert read(resumed, epoch + 1) == read(again(data(make(), **settings), resumed), epoch + 1)
                assert resumed.trail.epochs[: epoch + 1] == whole.trail.epochs[: epoch + 1]


def test_a_resume_at_an_epochs_begin_sees_other_batches_of_the_one_before() -> None:
    for make in (Told, Shuffled, lambda: lambda: iter(FIVE)):
        first = data(make(), max_steps=99)
        read(first, 0)
        other = data(lambda: iter([*FIVE[:3], batch(9), FIVE[4]]), max_steps=99)
        with pytest.raises(CheckpointError, match=r"^train: epoch 1, batch \d.*: expected the batches that the run"):
            read(again(other, first), 1)


def test_an_order_that_the_epoch_does_not_decide_is_found_out() -> None:
    """A shuffled loader that is not told the epoch, resumed in a process that has read it before."""
    source = Shuffled()
    first = data(source, max_steps=99)
    read(first, 0)
    read(first, 1, most=2)
    with pytest.raises(CheckpointError, match=r"^train: epoch 1: .* has to make it from the epoch"):
        read(again(data(source, max_steps=99), first), 1, 2)


def test_an_iterator_is_refused_at_a_resume() -> None:
    with pytest.raises(CheckpointError, match=r"^train: expected a loader that can be read again .* got an iterator"):
        again(data(iter(FIVE), max_steps=9), data())


def test_a_resume_skips_epochs_where_the_loader_knows_them() -> None:
    asked: list[int] = []
    first = data(lambda epoch: FIVE, max_steps=99)
    for epoch in range(4):
        read(first, epoch)
    read(first, 4, most=3)
    read(again(data(lambda epoch: asked.append(epoch) or FIVE, max_steps=99), first), 4, 2)
    assert asked == [4]


def test_the_same_loader_twice_is_said() -> None:
    assert data(FIVE, FIVE).notes == [
        "validation: it is the loader of the training batches: its scores say nothing of new rows"
    ]
    assert data(FIVE, list(FIVE)).notes == []


# Sets ----------------------------------------------------------------------------------------------------------------


def whole(given: Any) -> list[Any]:
    """Return all batches of a set."""
    with given.batches() as batches:
        return list(batches)


def test_a_set_knows_its_rows_once_they_were_read() -> None:
    given = data(FIVE, [batch(0, weights=[1, 2]), batch(1, rows=3)]).sets["validation"]
    with given.batches() as batches:
        assert [each.rows.tolist() for each in batches] == [[0, 1], [2, 3, 4]]
    assert (given.row_ids.tolist(), given.weight) == ([0, 1, 2, 3, 4], 6.0)
    assert given.targets is not None
    assert given.targets.tolist() == [0, 1, 0, 1, 0]


def test_rows_may_have_names() -> None:
    named = data(FIVE, lambda: [batch(0, ids=["a", "b"]), batch(1, ids=["c", "d"])]).sets["validation"]
    with named.batches() as batches:
        list(batches)
    assert named.row_ids.tolist() == ["a", "b", "c", "d"]
    mixed = data(FIVE, [batch(0, ids=["a", "b"]), batch(1)]).sets["validation"]
    with pytest.raises(DataError, match=r"^validation: expected ids in every batch or in none, got 1 of 2"):
        whole(mixed)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([batch(0, weights=[0, 0])], "validation: expected weights with a sum above 0"),
        (
            [{"x": [0], "labels": [[1, 2]]}, {"x": [0], "labels": [[1]]}],
            r"validation: labels: .* got \[2\] and \[1\]; pad",
        ),
    ],
)
def test_a_set_that_cannot_be_scored_is_said(batches: Any, said: str) -> None:
    given = data(FIVE, batches).sets["validation"]
    with pytest.raises(DataError, match=said):
        whole(given)


def test_values_of_a_regression_are_one_a_row() -> None:
    given = data(FIVE, FIVE, task="regression").sets["validation"]
    assert given.to_units(np.array([[1.0], [2.0]])).tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match=r"^validation: expected one output a row, .* got \[2\]"):
        given.to_units(np.zeros((3, 2)))
    assert data(FIVE, FIVE).sets["validation"].to_units(np.zeros((3, 2))).shape == (3, 2)


def test_a_further_loader_is_read_with_labels_or_without() -> None:
    given = data()
    labelled, bare = (given.other(lambda: iter(FIVE), "evaluate", labelled=each) for each in (True, False))
    for each in (labelled, bare):
        with each.batches() as batches:
            assert len(list(batches)) == 5
    assert labelled.targets is not None
    assert bare.targets is None
    with pytest.raises(DataError, match=r"^predict: batch 1: expected arrays"):
        whole(given.other([{"x": [0], "y": [1, 2]}], "predict", labelled=False))


def test_labels_are_held_against_the_task_batch_by_batch() -> None:
    reader = Reader(Loader([batch(0), {"x": [0.0], "labels": [0.5]}], "train"), "multiclass", labelled=True)
    with pytest.raises(DataError, match=r"^train: epoch 1, batch 2: labels: expected class numbers from 0"):
        list(reader.epoch(0))
