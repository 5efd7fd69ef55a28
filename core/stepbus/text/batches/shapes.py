"""The few shapes that batches come in: a compiled step is traced once per shape, and padding is time lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen

from stepbus.base import DataError, IntArray, counted

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

    def epoch_batches(self, *, drop_last: bool = False) -> int:
        """Batches that `epoch_order` deals: all, or those that are full (all the same where none is)."""
        room = sum(bucket.rows * bucket.batches for bucket in self.buckets)
        return self.batches - 1 if drop_last and room > self.sequences and self.batches > 1 else self.batches

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
            f"{counted(self.batches, 'batch', 'batches')} of {counted(self.signatures, 'shape')} "
            f"(rows x tokens: {shapes}); "
            f"{self.waste:.1%} of the tokens are padding"
        )


def plan_shapes(
    lengths: IntArray,
    *,
    batch_size: int,
    bucket_multiple: int,
    tokens_per_batch: int | None = None,
    max_signatures: int = 16,
    longest: int | None = None,
) -> ShapePlan:
    """Choose the fewest lengths that keep padding within 1% of the least there is.

    For each number of lengths the best ones are found exactly (dynamic programme over the histogram of lengths), then
    the epoch is counted as `epoch_order` will deal it, partial batches included.

    Args:
        lengths: Tokens of each row, int [N].
        batch_size: Rows in a batch.
        bucket_multiple: Every length is a multiple of this, up to `longest`; see `device.length_multiple`.
        tokens_per_batch: Padded tokens in a batch, in place of `batch_size`: shorter rows then come in larger batches.
        max_signatures: Most shapes there may be.
        longest: Most tokens that a row may be padded to: a model's positions. Rows are not longer.

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
            length = length if longest is None else min(length, longest)
            rows = max(1, tokens_per_batch // length) if tokens_per_batch else batch_size
            shapes.append((length, min(rows, len(lengths))))
        plans.append(_count(np.asarray(lengths), shapes))
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


def _count(lengths: IntArray, shapes: Sequence[tuple[int, int]]) -> ShapePlan:
    """Count an epoch's batches; the numbers depend on the lengths alone, not on the order of the rows."""
    homes = np.bincount(np.searchsorted([length for length, _ in shapes], lengths), minlength=len(shapes))
    buckets, carried = [], 0
    for position, (length, rows) in enumerate(shapes):
        available = int(homes[position]) + carried
        last = position == len(shapes) - 1
        batches = -(-available // rows) if last else available // rows
        carried = available - batches * rows
        buckets.append(Bucket(length, rows, batches))
    return ShapePlan(tuple(buckets), int(lengths.sum()), len(lengths), shapes[-1][0] * len(lengths))
