"""Which rows make which batch, in an order that is a function of (seed, epoch), and their arrays.

NumPy only: a thread runs this.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np
from attrs import frozen

from stepbus.base import IntArray, LabelArray
from stepbus.text.batches.shapes import Bucket as Bucket
from stepbus.text.batches.shapes import ShapePlan as ShapePlan
from stepbus.text.batches.shapes import plan_shapes as plan_shapes
from stepbus.text.tokens import Tokens


@frozen(eq=False)
class BatchIndex:
    """The rows of one batch and the shape they are put in.

    Args:
        rows: Indices into the tokens, int64 [at most size].
        size: Rows of the batch, padding rows included.
        length: Tokens of each row, padding included.
    """

    rows: IntArray
    size: int
    length: int


@frozen(eq=False)
class Batch:
    """One batch as NumPy arrays, B rows of L tokens.

    A padding row attends to a single padding token, so that no mean or softmax is over nothing, and weighs 0.

    Args:
        input_ids: int32 [B, L].
        attention_mask: float32 [B, L], 1 for a token and 0 for padding.
        token_type_ids: int32 [B, L], or None where the whole set has none but 0.
        labels: int32 [B], float32 [B, K], float32 [B], or None without labels; 0 in padding rows.
        weights: float32 [B], 0 in padding rows.
        rows: Index of each row in the tokens, int64 [B]; -1 in padding rows.
        sequences: Real rows.
        tokens: Real tokens.
    """

    input_ids: IntArray
    attention_mask: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    token_type_ids: IntArray | None
    labels: LabelArray | None
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    rows: IntArray
    sequences: int
    tokens: int

    @property
    def arrays(self) -> dict[str, Any]:
        """Name -> array as the model takes it; None where there is none."""
        return {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
            "labels": self.labels,
            "weights": self.weights,
        }


def epoch_order(
    plan: ShapePlan, lengths: IntArray, *, seed: int, epoch: int, drop_last: bool = False
) -> list[BatchIndex]:
    """Deal the rows of one epoch into batches: a pure function of its arguments.

    Rows are shuffled within their bucket; those that do not fill a batch go up to the next longer one, so that the
    epoch has one partial batch at most. Then the batches are shuffled. Every epoch has the same number of batches.

    Args:
        plan: The shapes, made from the same lengths.
        lengths: Tokens of each row, int [N].
        seed: Seed of the fit, at least 0.
        epoch: Epoch, from 0.
        drop_last: Leave the partial batch out.

    Returns:
        The batches; every row is in exactly one, except those left out.
    """
    random = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    batches = _deal(plan, lengths, random)
    if drop_last:
        full = [batch for batch in batches if len(batch.rows) == batch.size]
        batches = full or batches
    return [batches[position] for position in random.permutation(len(batches))]


def eval_order(plan: ShapePlan, lengths: IntArray) -> list[BatchIndex]:
    """Deal rows into batches from the shortest to the longest, without chance.

    Args:
        plan: The shapes, made from the same lengths with the evaluation's batch size.
        lengths: Tokens of each row, int [N].

    Returns:
        The batches; every row is in exactly one.
    """
    return _deal(plan, lengths, None)


def _deal(plan: ShapePlan, lengths: IntArray, random: np.random.Generator | None) -> list[BatchIndex]:
    homes = np.searchsorted([bucket.length for bucket in plan.buckets], lengths)
    batches: list[BatchIndex] = []
    carried = np.empty(0, dtype=np.int64)
    for position, bucket in enumerate(plan.buckets):
        own = np.flatnonzero(homes == position)
        own = own[np.argsort(lengths[own], kind="stable")] if random is None else random.permutation(own)
        # Rows from below come first, so that nobody is carried further than it must be.
        rows = np.concatenate([carried, own])
        used = min(bucket.batches * bucket.rows, len(rows))
        carried = rows[used:]
        for start in range(0, used, bucket.rows):
            batches.append(BatchIndex(rows[start : min(start + bucket.rows, used)], bucket.rows, bucket.length))
    if len(carried) or len(homes) != plan.sequences:
        raise ValueError("the plan was made from other lengths than these")
    return batches


def collate(tokens: Tokens, index: BatchIndex) -> Batch:
    """Put the rows of one batch into arrays of its planned shape.

    Args:
        tokens: The rows.
        index: Which rows, and the shape.

    Returns:
        The batch.
    """
    rows, size, length = index.rows, index.size, index.length
    real = len(rows)
    starts = tokens.offsets[rows]
    lengths = tokens.offsets[rows + 1] - starts
    columns = np.arange(length)
    filled = np.zeros((size, length), dtype=bool)
    filled[:real] = columns < lengths[:, None]
    source = (starts[:, None] + columns)[filled[:real]]

    input_ids = np.full((size, length), tokens.pad_id, dtype=np.int32)
    input_ids[filled] = tokens.ids[source]
    token_type_ids = None
    if tokens.types is not None:
        token_type_ids = np.zeros((size, length), dtype=np.int32)
        token_type_ids[filled] = tokens.types[source]
    attention_mask = filled.astype(np.float32)
    attention_mask[real:, 0] = 1.0

    labels = None
    if tokens.labels is not None:
        labels = np.zeros((size, *tokens.labels.shape[1:]), dtype=tokens.labels.dtype)
        labels[:real] = tokens.labels[rows]
    weights = np.zeros(size, dtype=np.float32)
    weights[:real] = tokens.weights[rows]
    positions = np.full(size, -1, dtype=np.int64)
    positions[:real] = rows
    return Batch(input_ids, attention_mask, token_type_ids, labels, weights, positions, real, int(lengths.sum()))


@frozen
class _Raised:
    error: BaseException


class Prefetch:
    """Iterate over collated batches, in order, while background threads make the next ones.

    Collation takes microseconds, so one thread is mostly enough, and has a way of its own that costs less than a
    pool. Leaving a `with` block ends the threads.

    Args:
        tokens: The rows.
        order: The batches, in order.
        start: How many of them to skip: the position to resume from.
        size: Batches made ahead, at least 1 and never fewer than threads; 0 collates in the caller's thread.
        workers: Threads that make them; 0 collates in the caller's thread.
    """

    def __init__(
        self, tokens: Tokens, order: Sequence[BatchIndex], *, start: int = 0, size: int = 4, workers: int = 1
    ) -> None:
        self._tokens = tokens
        self._order = order[start:]
        self._ahead, self._workers = max(size, workers), workers if size else 0
        self._pool: ThreadPoolExecutor | None = None
        # Two queues in C cost the step loop a fraction of what a condition in Python does.
        self._ready: SimpleQueue[Batch | _Raised | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._closed = False
        self._thread: threading.Thread | None = None
        if self._workers > 1:
            self._pool = ThreadPoolExecutor(self._workers, "stepbus-prefetch")
        elif self._workers:
            for _ in range(size):
                self._room.put(None)
            self._thread = threading.Thread(target=self._work, name="stepbus-prefetch", daemon=True)
            self._thread.start()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        if self._pool is not None:
            yield from self._pooled(self._pool)
            return
        if self._thread is None:
            for index in self._order:
                yield collate(self._tokens, index)
            return
        while not self._closed:
            item = self._ready.get()
            self._room.put(None)
            if isinstance(item, Batch):
                yield item
                continue
            self.close()
            if item is not None:
                raise item.error

    def _pooled(self, pool: ThreadPoolExecutor) -> Iterator[Batch]:
        """Hand batches out in their order, whichever thread is done first; the first error in that order is raised."""
        left, waiting = iter(self._order), deque[Future[Batch]]()
        try:
            for index in islice(left, 0 if self._closed else self._ahead):
                waiting.append(pool.submit(collate, self._tokens, index))
            while waiting and not self._closed:
                batch = waiting.popleft().result()
                for index in islice(left, 1):
                    waiting.append(pool.submit(collate, self._tokens, index))
                yield batch
        finally:
            self.close()

    def _work(self) -> None:
        try:
            for index in self._order:
                self._room.get()
                if self._closed:
                    return
                self._ready.put(collate(self._tokens, index))
            self._ready.put(None)
        except BaseException as error:
            self._ready.put(_Raised(error))

    def close(self) -> None:
        """End the threads; batches not yet taken are dropped."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._room.put(None)  # wakes a thread that waits for room
        if self._thread is not None:
            self._thread.join()
        self._ready = SimpleQueue()

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def accumulated(batches: Iterable[Batch], size: int) -> Iterator[list[Batch]]:
    """Give the batches whose gradients make one update together; the last window of an epoch may be smaller.

    Args:
        batches: The batches of an epoch.
        size: Batches in a window.
    """
    window: list[Batch] = []
    for batch in batches:
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window
