"""Shapes, orders, collation and the prefetching thread."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus.base.errors import DataError
from stepbus.text.batches.prefetch import BatchIndex, Prefetch, collate, epoch_order, eval_order, plan_shapes
from stepbus.text.batches.shapes import ShapePlan
from stepbus.text.tokens.encode import Tokens

LENGTHS = st.lists(st.integers(1, 130), min_size=1, max_size=300).map(np.array)
ORDER = [[0, 6], [5], [4, 2], [1, 3]]


def many() -> tuple[Tokens, list[BatchIndex]]:
    """Return rows of three tokens, and their batches of two."""
    tokens = some_tokens([3] * 48)
    return tokens, eval_order(plan_shapes(tokens.lengths, batch_size=2, bucket_multiple=8), tokens.lengths)


def some_tokens(lengths: list[int], **more: object) -> Tokens:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Tokens(ids=np.arange(1, offsets[-1] + 1, dtype=np.int32), offsets=offsets, **more)  # type: ignore[arg-type]


def padded(plan: ShapePlan, order: list[BatchIndex]) -> int:
    return sum(index.size * index.length for index in order)


@settings(deadline=None, max_examples=50)
@given(
    lengths=LENGTHS,
    batch_size=st.integers(1, 40),
    tokens_per_batch=st.none() | st.integers(1, 2000),
    multiple=st.sampled_from([1, 4, 8, 32]),
    signatures=st.integers(1, 16),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_once_in_planned_shapes_whatever_the_lengths(
    lengths: np.ndarray, batch_size: int, tokens_per_batch: int | None, multiple: int, signatures: int, seed: int
) -> None:
    plan = plan_shapes(
        lengths,
        batch_size=batch_size,
        tokens_per_batch=tokens_per_batch,
        bucket_multiple=multiple,
        max_signatures=signatures,
    )
    shapes = {(bucket.rows, bucket.length) for bucket in plan.buckets}
    assert plan.signatures <= signatures
    assert all(length % multiple == 0 for _, length in shapes)
    for epoch in range(3):
        for order in (epoch_order(plan, lengths, seed=seed, epoch=epoch), eval_order(plan, lengths)):
            assert len(order) == plan.batches == plan.epoch_batches()
            assert padded(plan, order) == plan.padded_tokens
            assert sorted(np.concatenate([index.rows for index in order])) == list(range(len(lengths)))
            assert {(index.size, index.length) for index in order} <= shapes
            assert all(lengths[index.rows].max() <= index.length for index in order)
            assert sum(len(index.rows) < index.size for index in order) <= 1, "only one batch may be partial"
        dropped = epoch_order(plan, lengths, seed=seed, epoch=epoch, drop_last=True)
        assert len(dropped) == plan.epoch_batches(drop_last=True)
        assert len(dropped) == 1 or all(len(index.rows) == index.size for index in dropped)


def test_order_is_a_function_of_seed_and_epoch() -> None:
    lengths = np.random.default_rng(0).integers(3, 70, 200)
    plan = plan_shapes(lengths, batch_size=8, bucket_multiple=8)

    def rows(seed: int, epoch: int) -> list[list[int]]:
        return [index.rows.tolist() for index in epoch_order(plan, lengths, seed=seed, epoch=epoch)]

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1)
    assert rows(1, 0) != rows(2, 0)


def test_order_does_not_change_between_versions() -> None:
    # A resumed run must see the order that the killed one saw: these numbers are part of the contract.
    lengths = np.array([3, 9, 4, 8, 3, 9, 4])
    plan = plan_shapes(lengths, batch_size=2, bucket_multiple=4)
    order = epoch_order(plan, lengths, seed=42, epoch=1)
    assert [index.rows.tolist() for index in order] == ORDER


def test_shapes_are_chosen_where_they_save_most() -> None:
    lengths = np.array([10] * 64 + [50] * 64 + [100] * 64)
    plan = plan_shapes(lengths, batch_size=32, bucket_multiple=2)
    assert [(bucket.rows, bucket.length, bucket.batches) for bucket in plan.buckets] == [
        (32, 10, 2),
        (32, 50, 2),
        (32, 100, 2),
    ]
    assert plan.waste == 0
    assert plan.longest_only == 192 * 100
    two = plan_shapes(lengths, batch_size=32, bucket_multiple=2, max_signatures=2)
    assert [bucket.length for bucket in two.buckets] == [50, 100]


def test_best_lengths_agree_with_trying_all_of_them() -> None:
    from itertools import combinations

    random = np.random.default_rng(7)
    for _ in range(20):
        lengths = random.integers(1, 13, 40)
        values = np.unique(lengths)
        for count in (1, 2, 3):
            least = min(
                sum(min(top for top in (*tops, values[-1]) if top >= length) for length in lengths)
                for tops in combinations(values[:-1], min(count, len(values)) - 1)
            )
            plan = plan_shapes(lengths, batch_size=1, bucket_multiple=1, max_signatures=count)
            # With one row a batch nothing is carried; the plan may take 1% more for fewer shapes.
            assert least <= plan.padded_tokens <= least * 1.01


def test_a_shape_that_saves_nothing_is_not_taken() -> None:
    lengths = np.array([8] * 1000 + [7])
    assert plan_shapes(lengths, batch_size=1, bucket_multiple=1).signatures == 1


def test_token_budget_gives_short_rows_larger_batches() -> None:
    lengths = np.array([8] * 512 + [64] * 64)
    plan = plan_shapes(lengths, batch_size=4, tokens_per_batch=512, bucket_multiple=8)
    assert [(bucket.rows, bucket.length) for bucket in plan.buckets] == [(64, 8), (8, 64)]


def test_a_small_set_is_not_padded_to_a_full_batch() -> None:
    plan = plan_shapes(np.array([5, 6]), batch_size=32, bucket_multiple=2)
    assert plan.padded_tokens == 12


def test_no_rows_and_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="at least one row"):
        plan_shapes(np.array([], dtype=np.int64), batch_size=2, bucket_multiple=8)
    plan = plan_shapes(np.array([4, 4, 4]), batch_size=2, bucket_multiple=8)
    with pytest.raises(ValueError, match="other lengths"):
        eval_order(plan, np.array([4, 4]))


def test_description_names_shapes_and_waste() -> None:
    plan = plan_shapes(np.array([4] * 4 + [8] * 4), batch_size=4, bucket_multiple=4)
    assert plan.describe() == "2 batches of 2 shapes (rows x tokens: 4 x 4, 4 x 8); 0.0% of the tokens are padding"


def test_collate_places_tokens_masks_labels_and_weights() -> None:
    tokens = some_tokens(
        [2, 3, 1],
        types=np.array([0, 1, 0, 1, 1, 0], dtype=np.uint8),
        labels=np.array([5, 6, 7], dtype=np.int32),
        weights=np.array([1.0, 0.5, 2.0], dtype=np.float32),
        pad_id=9,
    )
    batch = collate(tokens, BatchIndex(np.array([2, 1]), size=3, length=4))
    assert batch.input_ids.tolist() == [[6, 9, 9, 9], [3, 4, 5, 9], [9, 9, 9, 9]]
    # A padding row attends to one padding token, so that nothing is divided by zero.
    assert batch.attention_mask.tolist() == [[1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch.token_type_ids is not None
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert batch.labels is not None
    assert batch.labels.tolist() == [7, 6, 0]
    assert batch.weights.tolist() == [2.0, 0.5, 0.0]
    assert batch.rows.tolist() == [2, 1, -1]
    assert (batch.sequences, batch.tokens) == (2, 4)
    assert (batch.input_ids.dtype, batch.attention_mask.dtype, batch.token_type_ids.dtype) == (
        np.int32,
        np.float32,
        np.int32,
    )


def test_collate_without_types_and_labels_and_with_several_labels() -> None:
    index = BatchIndex(np.array([0]), size=2, length=2)
    batch = collate(some_tokens([2, 1]), index)
    assert batch.token_type_ids is None
    assert batch.labels is None
    batch = collate(some_tokens([2, 1], labels=np.array([[1, 0], [0, 1]], dtype=np.float32)), index)
    assert batch.labels is not None
    assert batch.labels.tolist() == [[1, 0], [0, 0]]


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize("start", [0, 2, 5])
def test_prefetch_gives_the_batches_in_order_from_a_position(size: int, start: int) -> None:
    tokens = some_tokens([3] * 10)
    order = eval_order(plan_shapes(tokens.lengths, batch_size=2, bucket_multiple=8), tokens.lengths)
    with Prefetch(tokens, order, start=start, size=size) as batches:
        seen = [batch.rows.tolist() for batch in batches]
    assert seen == [index.rows.tolist() for index in order[start:]]


def test_prefetch_runs_ahead_by_its_size_only() -> None:
    tokens = some_tokens([3] * 40)
    order = eval_order(plan_shapes(tokens.lengths, batch_size=1, bucket_multiple=8), tokens.lengths)
    with Prefetch(tokens, order, size=3) as batches:
        deadline = time.monotonic() + 5
        while batches._ready.qsize() < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.02)
        assert batches._ready.qsize() == 3
        assert next(iter(batches)).rows.tolist() == order[0].rows.tolist()


def test_prefetch_carries_an_exception_over_after_the_batches_before_it() -> None:
    tokens = some_tokens([3] * 4)
    good = BatchIndex(np.array([0, 1]), size=2, length=4)
    bad = BatchIndex(np.array([99]), size=2, length=4)
    seen = []
    with Prefetch(tokens, [good, bad, good]) as batches, pytest.raises(IndexError, match="99"):
        for batch in batches:
            seen.append(batch.sequences)
    assert seen == [2]


def test_prefetch_ends_its_thread_when_left_early() -> None:
    tokens = some_tokens([3] * 40)
    order = eval_order(plan_shapes(tokens.lengths, batch_size=1, bucket_multiple=8), tokens.lengths)
    before = threading.active_count()
    for _ in range(20):
        with Prefetch(tokens, order, size=2) as batches:
            next(iter(batches))
    assert threading.active_count() == before
    assert list(batches) == []


@pytest.mark.parametrize("workers", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_the_batches_are_the_same_whoever_collates_them(workers: int, size: int) -> None:
    tokens, order = many()
    with Prefetch(tokens, order, start=2, size=size, workers=workers) as batches:
        found = [batch.rows.tolist() for batch in batches]
    assert found == [collate(tokens, index).rows.tolist() for index in order[2:]]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("stepbus-prefetch")] == []


@pytest.mark.parametrize("workers", [2, 4])
def test_as_many_threads_as_workers_collate_at_once(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits until all are there: fewer threads would never get on, and the barrier would break."""
    barrier, names, real = threading.Barrier(workers), set[str](), collate

    def together(*given: Any) -> Any:
        barrier.wait(timeout=60)
        names.add(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr("stepbus.text.batches.prefetch.collate", together)
    tokens, order = many()
    order = order[: workers * (len(order) // workers)]
    with Prefetch(tokens, order, size=1, workers=workers) as batches:
        assert len(list(batches)) == len(order)
    assert len(names) == workers


def test_no_worker_means_the_callers_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, real = set[str](), collate

    def noting(*given: Any) -> Any:
        seen.add(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr("stepbus.text.batches.prefetch.collate", noting)
    tokens, order = many()
    with Prefetch(tokens, order, workers=0) as batches:
        assert len(list(batches)) == len(order)
    assert seen == {threading.current_thread().name}


def test_an_error_of_a_pool_comes_at_its_batch_and_ends_the_threads() -> None:
    tokens, order = many()
    bad = BatchIndex(np.array([10**6]), 4, order[0].length)
    taken = []
    with Prefetch(tokens, [*order[:3], bad, *order], workers=3) as batches, pytest.raises(IndexError):
        for batch in batches:
            taken.append(batch.rows.tolist())
    assert taken == [collate(tokens, index).rows.tolist() for index in order[:3]]
    assert [thread for thread in threading.enumerate() if thread.name.startswith("stepbus-prefetch")] == []


def test_a_pool_that_is_left_early_is_closed() -> None:
    tokens, order = many()
    with Prefetch(tokens, order, workers=3) as batches:
        next(iter(batches))
    assert list(batches) == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith("stepbus-prefetch")] == []
