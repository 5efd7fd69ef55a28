"""A batch as somebody hands it over, checked and made into arrays; what is wrong with one names epoch and batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from attrs import frozen

from stepbus.base import DataError, IntArray
from stepbus.text.rows import LARGEST, SMALLEST, a_thing

Array = np.ndarray[Any, Any]
# Kinds of numbers that MLX has: booleans, integers, floats, complex ones.
NUMBERS = "biufc"


@frozen(eq=False)
class LoaderBatch:
    """A checked batch of B rows.

    Args:
        arrays: Name -> array [B, …], labels (where they are wanted) and weights among them.
        rows: Place of each row in its set, int [B].
        ids: What names each row, [B]; None where nobody named them.
        sequences: B.
        tokens: What an attention mask holds, else B.
        weighted: Whether the batch came with weights.
    """

    arrays: Mapping[str, Any]
    rows: IntArray
    ids: Array | None
    sequences: int
    tokens: int
    weighted: bool

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What decides whether a step has to be traced anew."""
        return tuple((name, tuple(array.shape), str(array.dtype)) for name, array in sorted(self.arrays.items()))

    def add_to(self, digest: Any) -> None:
        """Add names, shapes and content to a digest of `hashlib`."""
        for name, array in sorted(self.arrays.items()):
            content = as_numpy(array)
            digest.update(repr((name, str(array.dtype), content.shape)).encode())
            digest.update(np.ascontiguousarray(content).data.cast("B") if content.size else b"")


def digest_of(batches: Iterable[LoaderBatch]) -> tuple[str, int]:
    """Return a digest of all batches, and their rows.

    Args:
        batches: Checked batches.
    """
    digest, rows = hashlib.blake2b(digest_size=16), 0
    for batch in batches:
        batch.add_to(digest)
        rows += batch.sequences
    return digest.hexdigest(), rows


def as_numpy(array: Any) -> Array:
    """Return an array on the host, bit by bit; bfloat16, which NumPy lacks, as whole numbers."""
    if isinstance(array, mx.array) and array.dtype == mx.bfloat16:
        array = array.view(mx.uint16)
    return np.array(array)


def as_values(array: Any) -> Array:
    """Return an array on the host, to compute with."""
    if isinstance(array, mx.array) and array.dtype == mx.bfloat16:
        array = array.astype(mx.float32)
    return np.array(array)


def checked(given: Any, where: str, begin: int, *, labelled: bool) -> LoaderBatch:
    """Return a batch with its rows counted and weighed.

    Args:
        given: What the loader gave.
        where: The set, the epoch and the batch, for messages.
        begin: Rows of the set before it.
        labelled: Whether labels are wanted; without, they are left out.

    Raises:
        DataError: It cannot be used.
    """
    if not isinstance(given, Mapping):
        hint = '; write {"x": …, "labels": …}' if isinstance(given, list | tuple) or hasattr(given, "dtype") else ""
        raise DataError(f"{where}: expected a dictionary of arrays, got {a_thing(given)}{hint}")
    arrays: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(name, str):
            raise DataError(f"{where}: expected names of arrays as keys, got {name!r}")
        if value is not None:
            arrays[name] = _array(value, f"{where}: {name}", words=name == "ids")
    if labelled and "labels" not in arrays:
        raise DataError(
            f"{where}: expected the targets under the name labels, got {', '.join(arrays) or 'an empty dictionary'}"
        )
    if not labelled:
        arrays.pop("labels", None)
    rows = _rows(arrays, where)
    ids = arrays.pop("ids") if "ids" in arrays and arrays["ids"].ndim == 1 else None
    weighted = "weights" in arrays
    arrays["weights"] = _weights(arrays["weights"], rows, where) if weighted else np.ones(rows, np.float32)
    mask = arrays.get("attention_mask")
    tokens = rows if mask is None else int(as_values(mask).sum())
    return LoaderBatch(arrays, np.arange(begin, begin + rows), _named(ids, where), rows, tokens, weighted)


def check_labels(labels: Array, task: str | None, where: str) -> Array:
    """Return labels as metrics of a task want them; without a task they are as they are.

    Args:
        labels: [B, …]; of classes that exclude each other also soft ones, the probability of each, float [B, K].
        task: What they are, or None.
        where: What they belong to, for messages.

    Raises:
        DataError: They are something else.
    """
    if task is None:
        return labels
    if task != "multilabel" and labels.shape[1:] == (1,):
        labels = labels.reshape(-1)
    wanted = 2 if task == "multilabel" else 1
    because, kind = f"for data.task is {task}", labels.dtype.kind
    if task in ("binary", "multiclass") and kind == "f" and labels.ndim == 2:
        return _likely(labels, task, f"{where}: labels: expected")
    if labels.ndim != wanted:
        shape = "[B, K]" if wanted == 2 else "[B]"
        raise DataError(f"{where}: labels: expected {shape}, {because}, got {list(labels.shape)}")
    if task in ("binary", "multiclass") and not (kind in "biu" and (labels >= 0).all()):
        got = "numbers below 0" if kind in "biu" else f"{labels.dtype} values"
        raise DataError(f"{where}: labels: expected class numbers from 0, {because}, got {got}")
    if task == "binary" and (labels > 1).any():
        raise DataError(f"{where}: labels: expected 0 or 1, {because}, got {labels.max()}")
    if task == "multilabel":
        if not ((labels >= 0) & (labels <= 1)).all():
            wrong = labels[~((labels >= 0) & (labels <= 1))][0]
            raise DataError(f"{where}: labels: expected 0, 1 or a probability between, {because}, got {wrong:g}")
        return np.asarray(labels >= 0.5, dtype=labels.dtype)
    if task == "regression" and not (finite := np.isfinite(labels)).all():
        row = int(np.flatnonzero(~finite)[0])
        raise DataError(
            f"{where}: labels: row {row + 1}: expected a finite number as regression target, got {labels[row]:g}; "
            "leave the row out"
        )
    return labels


def _likely(soft: Array, task: str, expected: str) -> Array:
    """Return the most probable class of each row of soft labels, int32 [B]."""
    if task == "binary" and soft.shape[1] != 2:
        raise DataError(f"{expected} the probabilities of two classes, [B, 2], got {list(soft.shape)}")
    sums = soft.astype(np.float64).sum(axis=1)
    wrong = (soft < 0).any(axis=1) | ~(np.abs(sums - 1) <= 1e-5)
    if wrong.any():
        said = ", ".join(f"{value:g}" for value in soft[wrong][0][:5])
        raise DataError(f"{expected} class numbers [B], or probabilities of each class that sum to 1, got {said}")
    return np.asarray(soft.argmax(axis=1), dtype=np.int32)


def _array(value: Any, place: str, *, words: bool) -> Any:
    """Return a value as an array of MLX or NumPy of its own, in numbers of at most single precision."""
    if isinstance(value, mx.array):
        found: Any = _copied(value)
    else:
        try:
            # Batches are read ahead, and a loader may fill the same memory for each: what was given is copied now.
            found = np.asarray(value) if isinstance(value, list | tuple) else np.asarray(value).copy()
        except (ValueError, TypeError, RuntimeError) as error:
            reason = str(error).partition(".")[0]
            raise DataError(f"{place}: expected an array, got {a_thing(value)} that makes none ({reason})") from None
        if found.dtype.kind == "f" and found.dtype.itemsize > 4:
            found = _single(found, place)
        if words and found.dtype.kind in "USO":
            found = found.astype(object) if found.dtype.kind == "S" else found
        elif found.dtype.kind not in NUMBERS:
            raise DataError(
                f"{place}: expected numbers, got {'text' if found.dtype.kind in 'US' else f'{found.dtype} values'}; "
                "leave it out of the batch, or turn it into numbers"
            )
    if found.ndim == 0:
        raise DataError(f"{place}: expected an array with one entry for each row, got a single value; write [value]")
    return found


def _single(given: Array, place: str) -> Array:
    """Return numbers in single precision, once each is known to have a place in it."""
    with np.errstate(over="ignore"):
        found = given.astype(np.float32)
    lost = np.isinf(found) & np.isfinite(given)
    if lost.any():
        at = np.argwhere(lost)[0]
        row = f"row {at[0] + 1}: " if len(at) else ""
        raise DataError(
            f"{place}: {row}expected numbers of at most {np.finfo(np.float32).max:.2g}, which single precision holds, "
            f"got {given[tuple(at)]:g}; scale them"
        )
    return found


def _copied(array: mx.array) -> mx.array:
    """Return an array of MLX in memory of its own, by way of the host: NumPy may look at the memory of the other."""
    if array.dtype == mx.bfloat16:
        return mx.array(as_numpy(array)).view(mx.bfloat16)
    return mx.array(np.array(array))


def _rows(arrays: Mapping[str, Any], where: str) -> int:
    lengths = {name: int(array.shape[0]) for name, array in arrays.items()}
    if not set(lengths) - {"weights", "ids"}:
        raise DataError(f"{where}: expected arrays that a model computes with, got {', '.join(lengths) or 'none'}")
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{where}: expected arrays with as many rows each, got {said}")
    rows = next(iter(lengths.values()))
    if rows == 0:
        raise DataError(f"{where}: expected at least one row, got none; leave empty batches out")
    return rows


def _weights(given: Any, rows: int, where: str) -> Array:
    values = as_values(given)
    if values.shape != (rows,) or values.dtype.kind not in "biuf":
        raise DataError(f"{where}: weights: expected a number for each of {rows} rows, got the shape {values.shape}")
    values = values.astype(np.float32)
    if not (np.isfinite(values).all() and (values >= 0).all()):
        wrong = values[~(np.isfinite(values) & (values >= 0))][0]
        raise DataError(f"{where}: weights: expected finite numbers of at least 0, got {wrong:g}")
    if (odd := (values > 0) & ((values < SMALLEST) | (values > LARGEST))).any():
        raise DataError(
            f"{where}: weights: expected 0 or numbers from {SMALLEST:g} to {LARGEST:g}, got {values[odd][0]:g}; "
            "their scale makes no difference"
        )
    return values


def _named(ids: Any, where: str) -> Array | None:
    if ids is None:
        return None
    found = as_numpy(ids)
    if found.dtype.kind == "O" and not all(isinstance(each, str | int) for each in found):
        raise DataError(f"{where}: ids: expected text or whole numbers, got {a_thing(found[0])}")
    return found
