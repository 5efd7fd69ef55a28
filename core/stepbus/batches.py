"""Which rows make which batch, in few shapes: a plan of lengths, an order that is a function of (seed, epoch), collation.

A compiled step is traced once per shape, so rows are padded to one of a few lengths. NumPy only: a thread runs this.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType

import numpy as np
from attrs import frozen

from stepbus.errors import DataError
from stepbus.tokens import IntArray, LabelArray, Tokens

# A further shape must save this share of the padded tokens to be worth its trace.
WORTH_A_SHAPE = 0.01


@frozen
class Bucket:
    """One shape of batches.

    Args:
        length: Tokens that its rows are padded to.
        rows: Rows in each of its batches.
        batches: Its batches in an epoch.
    """

    length: int
    rows: int
    batches: int


@frozen
class ShapePlan:
    """The shapes of an epoch, from the shortest to the longest.

    Args:
        buckets: The shapes.
        tokens: Real tokens of an epoch.
        sequences: Real rows of an epoch.
        longest_only: Padded tokens if every row were padded to the longest.
    """

    buckets: tuple[Bucket, ...]
    tokens: int
    sequences: int
    longest_only: int

    @property
    def signatures(self) -> int:
        """Different batch shapes: how often a compiled step is traced."""
        return sum(bucket.batches > 0 for bucket in self.buckets)

    @property
    def batches(self) -> int:
        """Batches of an epoch, the last and partial one included."""
        return sum(bucket.batches for bucket in self.buckets)

    @property
    def padded_tokens(self) -> int:
        """Tokens computed in an epoch, padding included."""
        return sum(bucket.length * bucket.rows * bucket.batches for bucket in self.buckets)

    @property
    def waste(self) -> float:
        """Share of the computed tokens that is padding, from 0 to 1."""
        return 1.0 - self.tokens / self.padded_tokens

    def describe(self) -> str:
        """Return the plan as one sentence."""
        shapes = ", ".join(f"{bucket.rows} x {bucket.length}" for bucket in self.buckets if bucket.batches)
        return (
            f"{self.batches} batches of {self.signatures} shapes (rows x tokens: {shapes}); "
            f"{self.waste:.1%} of the tokens are padding"
        )


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


def plan_shapes(
    lengths: IntArray,
    *,
    batch_size: int,
    tokens_per_batch: int | None = None,
    bucket_multiple: int = 8,
    max_signatures: int = 16,
) -> ShapePlan:
    """Choose the fewest lengths that keep padding within 1% of the least there is.

    For each number of lengths the best ones are found exactly (dynamic programme over the histogram of lengths), then
    the epoch is counted as `epoch_order` will deal it, partial batches included.

    Args:
        lengths: Tokens of each row, int [N].
        batch_size: Rows in a batch.
        tokens_per_batch: Padded tokens in a batch, in place of `batch_size`: shorter rows then come in larger batches.
        bucket_multiple: Every length is a multiple of this (8 suits CPU and Metal, 128 CUDA's fused attention).
        max_signatures: Most shapes there may be.

    Returns:
        The plan; the same for every order of the rows.

    Raises:
        DataError: There are no rows.
    """
    if len(lengths) == 0:
        raise DataError("expected at least one row to make batches of, got none")
    needed = -(-np.asarray(lengths, dtype=np.int64) // bucket_multiple)
    tops, counts = np.unique(needed, return_counts=True)
    # A batch is never larger than the set: a handful of rows is not padded to a full batch.
    plans = []
    for tops_chosen in _best_lengths(tops, counts, max_signatures):
        shapes = []
        for top in tops_chosen:
            length = int(top) * bucket_multiple
            rows = max(1, tokens_per_batch // length) if tokens_per_batch else batch_size
            shapes.append((length, min(rows, len(lengths))))
        plans.append(_count(np.asarray(lengths), shapes, bucket_multiple))
    least = min(plan.padded_tokens for plan in plans)
    return next(plan for plan in plans if plan.padded_tokens <= least * (1 + WORTH_A_SHAPE))


def _best_lengths(tops: IntArray, counts: IntArray, most: int) -> Iterator[list[int]]:
    """Yield, for 1, 2, … lengths, those that waste least when each row goes to the next length up."""
    number = len(tops)
    below = np.concatenate([[0], np.cumsum(counts)])
    # cost[j]: padded tokens of the rows up to length j; cut[k][j]: where the bucket below ends.
    cost = below[1:] * tops
    cuts = [np.zeros(number, dtype=np.int64)]
    for used in range(1, min(most, number) + 1):
        chosen, end = [], number - 1
        for cut in reversed(cuts):
            chosen.append(int(tops[end]))
            end = int(cut[end]) - 1
        yield chosen[::-1]
        if used == min(most, number):
            return
        # Put one more length below each end: the rows of `start … end` go to the length at `end`.
        candidates = np.full((number, number), np.iinfo(np.int64).max)
        for end in range(used, number):
            starts = np.arange(used, end + 1)
            candidates[end, starts] = cost[starts - 1] + (below[end + 1] - below[starts]) * tops[end]
        cuts.append(candidates.argmin(axis=1))
        cost = candidates.min(axis=1)


def _count(lengths: IntArray, shapes: Sequence[tuple[int, int]], multiple: int) -> ShapePlan:
    """Count an epoch's batches; the numbers depend on the lengths alone, not on the order of the rows."""
    homes = np.bincount(np.searchsorted([length for length, _ in shapes], lengths), minlength=len(shapes))
    buckets, carried = [], 0
    for position, (length, rows) in enumerate(shapes):
        available = int(homes[position]) + carried
        last = position == len(shapes) - 1
        batches = -(-available // rows) if last else available // rows
        carried = available - batches * rows
        buckets.append(Bucket(length, rows, batches))
    longest = -(-int(lengths.max()) // multiple) * multiple
    return ShapePlan(tuple(buckets), int(lengths.sum()), len(lengths), longest * len(lengths))


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
    """Iterate over collated batches while one background thread makes the next ones.

    Collation takes microseconds, so one thread is enough. Leaving a `with` block ends the thread.

    Args:
        tokens: The rows.
        order: The batches, in order.
        start: How many of them to skip: the position to resume from.
        size: Batches made ahead, at least 1; 0 collates in the caller's thread.
    """

    def __init__(self, tokens: Tokens, order: Sequence[BatchIndex], *, start: int = 0, size: int = 4) -> None:
        self._tokens = tokens
        self._order = order[start:]
        self._size = size
        self._ready: deque[Batch | _Raised | None] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        if size > 0:
            self._thread = threading.Thread(target=self._work, name="stepbus-prefetch", daemon=True)
            self._thread.start()

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        if self._thread is None:
            for index in self._order:
                yield collate(self._tokens, index)
            return
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._closed)
                item = self._ready.popleft() if self._ready else None
                self._changed.notify_all()
            if isinstance(item, _Raised):
                self.close()
                raise item.error
            if item is None:
                self.close()
                return
            yield item

    def _work(self) -> None:
        try:
            for index in self._order:
                if not self._put(collate(self._tokens, index)):
                    return
            self._put(None)
        except BaseException as error:
            self._put(_Raised(error))

    def _put(self, item: Batch | _Raised | None) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: len(self._ready) < self._size or self._closed)
            if not self._closed:
                self._ready.append(item)
                self._changed.notify_all()
            return not self._closed

    def close(self) -> None:
        """End the thread; batches not yet taken are dropped."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def __enter__(self) -> Prefetch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
