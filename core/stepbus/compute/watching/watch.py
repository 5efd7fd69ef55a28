"""What looks at the arrays of a step while it is computed uncompiled: values are known there, and nothing is traced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from attrs import define, evolve
from mlx.utils import tree_flatten

from stepbus.base import ModelError
from stepbus.compute.checks import kind_of
from stepbus.compute.models import depths_of, layers_of
from stepbus.compute.watching.findings import Finding, Kind, NotFinite
from stepbus.compute.watching.masks import is_mask
from stepbus.compute.watching.modules import calls_seen
from stepbus.compute.watching.words import amount, place

# Where minus infinity alone is no fault yet: masks hold it.
_MAY_MASK = ("batch", "weight", "input", "activation", "update", "average")
# Of these only where it was there before any training.
_OF_WEIGHTS = ("weight", "update", "average")
# What is given so is no fault where it is mended: labels that are missing, a layer that fills gaps.
_MAY_MEND = ("batch", "input")
_now: list[Watch] = []


def watching() -> Watch | None:
    """Return what looks at the step that is computed now; None where a step is compiled."""
    return _now[-1] if _now else None


@define(eq=False)
class Whole:
    """What is known of an array that is computed in parts of the batch's rows.

    Args:
        place: The how-manieth array of the computation it is.
        length: Its rows so far.
        nan: How many of its numbers are NaN.
        infinite: How many are infinite.
        size: How many it has.
        rows: Which rows of the batch are not finite in it.
        array: Number format and shape.
    """

    place: int
    length: int = 0
    nan: int = 0
    infinite: int = 0
    size: int = 0
    rows: tuple[int, ...] = ()
    array: str = ""

    def add(self, part: mx.array, counts: tuple[int, int, int] | None, rows: tuple[int, ...]) -> None:
        """Add the next part, with how many of its numbers are not finite, and in which rows of the batch."""
        nan, above, below = counts or (0, 0, 0)
        self.nan, self.infinite, self.size = self.nan + nan, self.infinite + above + below, self.size + part.size
        self.length, self.rows = self.length + part.shape[0], (*self.rows, *rows)
        self.array = kind_of(part).partition(" ")[0] + f" {[self.length, *part.shape[1:]]}"


def _whole(finding: Finding, whole: Whole | None) -> Finding:
    """Return what was found in a part as what is known of the whole."""
    if whole is None:
        return finding
    return evolve(finding, nan=whole.nan, infinite=whole.infinite, size=whole.size, rows=whole.rows, array=whole.array)


class Watch:
    """Looks at the arrays of one update.

    Args:
        model: The model.
        stops: Whether the first array that is not finite ends the computation.
        scaled: Whether a gradient may overflow, because the loss is scaled: nothing is said of it.

    Attributes:
        losses: Batch of the window -> its rows whose loss is not finite.
    """

    def __init__(self, model: nn.Module, *, stops: bool, scaled: bool = False) -> None:
        self.model, self.stops, self.scaled = model, stops, scaled
        self.losses: dict[int, tuple[int, ...]] = {}
        # Each with the whole array of which it may be a part.
        self._first: tuple[Finding, Whole | None] | None = None
        self._suspect: tuple[Finding, Whole | None] | None = None
        self._given_so: tuple[Finding, Whole | None] | None = None
        self._before: tuple[tuple[Finding, Whole | None] | None, ...] = (None, None)  # the latter two before the first
        self._depths: dict[str, int] | None = None
        self._batch, self._rows, self._call = -1, 0, 0
        self._seen: dict[str, int] = {}  # of a batch whose rows are computed in parts: module -> the rows so far
        self._wholes: dict[tuple[str, ...], Whole] = {}  # likewise, what was looked at: kind, module and place

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at what is computed meanwhile."""
        with calls_seen(self.model, self._given, self._answered):
            _now.append(self)
            try:
                yield
            finally:
                _now.pop()

    @property
    def first(self) -> Finding | None:
        """The first array that is not finite, or None."""
        if self._first is None:
            return None
        finding, (given, suspect) = _whole(*self._first), self._before
        if given is not None:
            return evolve(_whole(*given), later=f"{place(finding)} has {amount(finding)}")
        if suspect is None:
            return finding
        before = _whole(*suspect)
        return evolve(finding, earlier=f"{place(before)} has {amount(before)}", suspect=before.kind)

    @property
    def found(self) -> Finding | None:
        """The first array that is not finite; where none has to be, the first that may be meant so."""
        rest = self._given_so or self._suspect
        return self.first or (None if rest is None else _whole(*rest))

    # -- what is told -------------------------------------------------------------------------------------------------

    def begins(self, batch: Mapping[str, mx.array]) -> None:
        """Look at the next batch of the window, and at the weights that it is computed with."""
        self._batch, self._call, self._rows = self._batch + 1, 0, len(batch["weights"])
        self._given_so = None
        self._wholes = {}
        for name, array in batch.items():
            self._look("batch", name, array)
        if self._batch == 0:
            self.saw_tree("weight", self.model.parameters())

    def computes(self) -> None:
        """Begin with a computation of the batch, of which there may be several."""
        self._call += 1
        self._seen.clear()
        self._wholes = {}

    def saw_losses(self, losses: mx.array, by: str = "", *, whole: bool = False) -> None:
        """Look at row losses [B]; `whole` says that they are those of the batch, as nobody changes them any more."""
        if whole and (flags := _rows_of(losses, self._rows)):
            self.losses[self._batch] = tuple(sorted({*self.losses.get(self._batch, ()), *flags}))
        self._look("loss", "", losses, by=by)

    def saw_tree(self, kind: Kind, tree: Any, by: str = "") -> None:
        """Look at a tree of weights or of gradients."""
        if self.scaled and kind in ("gradient", "changed_gradient"):
            return
        flat: Any = tree_flatten(tree)
        for name, array in flat:
            self._look(kind, name, array, by=by)

    def saw_new(self, name: str, array: mx.array, state: str = "") -> None:
        """Look at what an optimizer gives for a parameter: the new value, or an array of its state by that name."""
        self._look("state" if state else "update", name, array, by=state)

    def _given(self, path: str, module: nn.Module, arguments: Any, named: Any) -> None:
        for index, array in enumerate(_arrays([list(arguments), named])):
            self._look("input", path, array, module=module, index=index)

    def _answered(self, path: str, module: nn.Module, answer: Any) -> None:
        rows = 0
        for index, array in enumerate(_arrays(answer)):
            self._look("activation", path, array, module=module, index=index)
            rows = max(rows, array.shape[0] if array.ndim else 0)
        self._seen[path] = self._seen.get(path, 0) + rows

    # -- what is looked at --------------------------------------------------------------------------------------------

    def _look(
        self, kind: Kind, name: str, array: mx.array, *, by: str = "", module: nn.Module | None = None, index: int = 0
    ) -> None:
        counts, whole = _counts(array), self._whole_of(kind, name, array, index)
        if whole is not None:
            whole.add(array, counts, self._rows_in(kind, name, array) if counts else ())
        if counts is None or (self._first is not None and not self.stops and not self._is_before_first(whole)):
            return
        nan, above, below = counts
        finding = Finding(
            kind,
            name,
            kind_of(array),
            nan,
            above + below,
            array.size,
            module="" if module is None else type(module).__name__,
            layer="" if kind in ("batch", "loss") else self._layer_of(name),
            rows=self._rows_in(kind, name, array),
            batch=max(self._batch, 0),
            call=max(self._call, 1),
            by=by,
        )
        known = kind not in _OF_WEIGHTS or is_mask(self.model, name, array)
        if not (nan or above) and kind in _MAY_MASK and known:
            self._suspect = self._suspect or (finding, whole)
            return
        if kind in _MAY_MEND:
            self._given_so = self._given_so or (finding, whole)
            return
        if self._first is None:
            self._before = self._given_so, self._suspect
        self._first = finding, whole
        if self.stops:
            assert self.first is not None  # which was put there just now
            raise NotFinite(self.first)

    def _whole_of(self, kind: Kind, name: str, array: mx.array, index: int) -> Whole | None:
        """Return the whole array that one is a part of, where the rows of the batch are computed in parts."""
        if kind not in ("input", "activation") or array.ndim == 0 or array.shape[0] >= self._rows:
            return None
        key = (kind, name, str(index), str(array.shape[1:]), str(array.dtype))
        whole = self._wholes.setdefault(key, Whole(len(self._wholes)))
        return whole if whole.length + array.shape[0] <= self._rows else None

    def _is_before_first(self, whole: Whole | None) -> bool:
        """Return whether an array of a later part of the rows comes before the first one, which is of an earlier."""
        now = None if self._first is None else self._first[1]
        return whole is not None and now in self._wholes.values() and now is not None and whole.place < now.place

    def _rows_in(self, kind: Kind, name: str, array: mx.array) -> tuple[int, ...]:
        """Return the rows of the batch that are not finite in an array; none where its first axis is another."""
        if kind not in ("batch", "input", "activation", "loss") or array.ndim == 0:
            return ()
        # A model may compute the rows in parts, one after the other, as the CPU's streams share them.
        begin, rows = self._seen.get(name, 0) if kind in ("input", "activation") else 0, array.shape[0]
        if begin + rows > self._rows or (kind in ("batch", "loss") and rows != self._rows):
            return ()
        return tuple(begin + row for row in _rows_of(array, rows))

    def _layer_of(self, name: str) -> str:
        """Return which layer a parameter or a module belongs to, in words; "" where nobody can tell."""
        if self._depths is None:
            try:
                self._depths = depths_of(self.model)
            except ModelError:
                self._depths = {}
        depths = {depth for path, depth in self._depths.items() if path == name or path.startswith(f"{name}.")}
        if len(depths) != 1:
            return ""
        (depth,), layers = depths, len(layers_of(self.model))
        if depth == 0:
            return "embeddings"
        return f"layer {depth} of {layers}" if depth <= layers else "above the layers"


def _counts(array: mx.array) -> tuple[int, int, int] | None:
    """Return how many numbers are NaN, infinite and minus infinite; None where all are finite, or none is known."""
    if not mx.issubdtype(array.dtype, mx.floating):
        return None
    try:
        if mx.isfinite(array).all().item():
            return None
        nan, above, below = (
            int(np.array(flags.sum())) for flags in (mx.isnan(array), mx.isposinf(array), mx.isneginf(array))
        )
    except (RuntimeError, ValueError):  # inside of a function that the model itself compiles
        return None
    return nan, above, below


def _rows_of(array: mx.array, rows: int) -> tuple[int, ...]:
    """Return the rows of an array [B, …] with a number that is not finite; none where its first axis is another."""
    if array.ndim == 0 or array.shape[0] != rows:
        return ()
    try:
        bad = ~mx.isfinite(array).reshape(rows, -1).all(axis=1)
        flags: Any = bad.tolist()
    except (RuntimeError, ValueError):
        return ()
    return tuple(place for place, flag in enumerate(flags) if flag)


def _arrays(value: Any) -> Iterator[mx.array]:
    """Yield the arrays in lists, tuples and dictionaries."""
    if isinstance(value, mx.array):
        yield value
    elif isinstance(value, dict | list | tuple) and not isinstance(value, nn.Module):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _arrays(each)
