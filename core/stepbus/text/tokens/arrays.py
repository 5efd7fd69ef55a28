"""Tokenized rows as NumPy arrays, end to end."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from stepbus.base import IntArray, LabelArray


@frozen(eq=False)
class Tokens:
    """Tokenized rows, end to end: N rows of T tokens in all.

    Args:
        ids: Token ids, int32 [T].
        offsets: Where each row starts, int64 [N + 1].
        types: Token types, uint8 [T], or None where all are 0.
        labels: int32 [N], float32 [N, K] or float32 [N]; None without labels.
        weights: Weight of each row in loss and metrics, float32 [N].
        row_ids: What names each row in predictions, [N].
        truncated: Rows cut to the longest length.
        pad_id: Id of the padding token.
        cut: Which rows were cut, bool [N]; None where only their number is known.
    """

    ids: IntArray
    offsets: IntArray
    types: IntArray | None = None
    labels: LabelArray | None = None
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = field()
    row_ids: np.ndarray[tuple[int, ...], np.dtype[Any]] = field()
    truncated: int = 0
    pad_id: int = 0
    cut: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None

    @weights.default
    def _all_one(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return np.ones(len(self.offsets) - 1, dtype=np.float32)

    @row_ids.default
    def _positions(self) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
        return np.arange(len(self.offsets) - 1, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def digest(self) -> str:
        """Return a SHA-256 of everything that training sees of these rows: tokens, labels, weights and ids."""
        found = hashlib.sha256("\0".join(map(str, self.row_ids.tolist())).encode())
        for array in (self.ids, self.offsets, self.types, self.labels, self.weights):
            if array is not None:
                found.update(f"{array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()

    @property
    def lengths(self) -> IntArray:
        """Tokens of each row, special ones included, int64 [N]."""
        return np.diff(self.offsets)

    def take(self, indices: Sequence[int] | IntArray) -> Tokens:
        """Return some rows, in the order given.

        Args:
            indices: Row positions, int [M].

        Returns:
            M rows; without `cut`, `truncated` is not known for a part and stays that of the whole.
        """
        rows = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        source = np.repeat(self.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        cut = None if self.cut is None else self.cut[rows]
        return evolve(
            self,
            cut=cut,
            truncated=self.truncated if cut is None else int(cut.sum()),
            ids=self.ids[source],
            offsets=offsets,
            types=None if self.types is None else self.types[source],
            labels=None if self.labels is None else self.labels[rows],
            weights=self.weights[rows],
            row_ids=self.row_ids[rows],
        )
