"""The batches of a loader, read and checked one by one, and the sets of them that are scored or predicted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import numpy as np

from stepbus.base import DataError
from stepbus.fit import joined
from stepbus.fit.loaders.batches import LoaderBatch, as_values, check_labels, checked
from stepbus.fit.loaders.sources import Loader

Array = np.ndarray[Any, Any]
Check: TypeAlias = Callable[[LoaderBatch, str], None]

log = logging.getLogger(__name__)

# More shapes than a shape plan of rows ever has.
MOST_SHAPES = 16


class Reader:
    """Reads the batches of a loader, checks each, and counts their shapes.

    Args:
        loader: The loader.
        task: What the labels are, or None.
        labelled: Whether labels are wanted.
        check: What else is to be checked of a batch, given where it stands; None checks nothing.
    """

    def __init__(self, loader: Loader, task: str | None = None, *, labelled: bool, check: Check | None = None) -> None:
        self.loader, self.task, self.labelled, self.check = loader, task, labelled, check
        self.weighted = False  # whether a batch came with weights
        self._shapes: set[Any] = set()

    def epoch(self, epoch: int, *, numbered: bool = True) -> Generator[LoaderBatch]:
        """Give the batches of an epoch, at least one.

        Args:
            epoch: The epoch, from 0.
            numbered: Whether messages name it.

        Raises:
            DataError: There is no batch, or one cannot be used.
        """
        name, rows, place = self.loader.name, 0, 0
        within = f"{name}: epoch {epoch + 1}" if numbered else name
        sep = ", " if numbered else ": "
        source = self.loader.begin(epoch)
        try:
            while True:
                try:
                    given = next(source)
                except StopIteration:
                    break
                except Exception as error:
                    error.add_note(f"{within}{sep}batch {place + 1}: raised by the loader")
                    raise
                place += 1
                where = f"{within}{sep}batch {place}"
                batch = checked(given, where, rows, labelled=self.labelled)
                if self.labelled and self.task is not None:
                    check_labels(as_values(batch.arrays["labels"]), self.task, where)
                if self.check is not None:
                    self.check(batch, where)
                self._count_shapes(batch)
                self.weighted = self.weighted or batch.weighted
                rows += batch.sequences
                yield batch
        finally:
            if callable(close := getattr(source, "close", None)):
                with suppress(ValueError):  # a generator that is running
                    close()
        if place == 0:
            raise DataError(f"{within}: expected at least one batch, got none{self._why_none(epoch)}")

    def _why_none(self, epoch: int) -> str:
        if epoch and not self.loader.knows_epochs:
            return "; an iterator gives its batches once, so hand over a function that returns a new one each time"
        return ""

    def _count_shapes(self, batch: LoaderBatch) -> None:
        if len(self._shapes) > MOST_SHAPES:
            return  # it was said
        self._shapes.add(batch.shapes)
        if len(self._shapes) > MOST_SHAPES:
            log.warning(
                "%s: more than %d shapes of batches so far, and steps are compiled anew for each; "
                "make batches of few shapes: pad rows to a few lengths, fill or leave out the last batch",
                self.loader.name,
                MOST_SHAPES,
            )


class LoaderSet:
    """A set of batches that is scored or predicted; what they hold is known once they were read.

    Args:
        reader: Reads them.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader, self.task = reader, reader.task
        self.row_ids: Array = np.arange(0)
        self.targets: Array | None = None
        self.weights: Array | None = None
        self.weight = 0.0

    @contextmanager
    def batches(self) -> Iterator[Iterator[LoaderBatch]]:
        """Give every row once, in the order of the loader."""
        reading = self._read()
        try:
            yield reading
        finally:
            reading.close()

    def _read(self) -> Generator[LoaderBatch]:
        ids: list[Array | None] = []
        labels: list[Array] = []
        weights: list[Array] = []
        rows, weighted = 0, False
        for batch in self.reader.epoch(0, numbered=False):
            ids.append(batch.ids)
            weights.append(batch.arrays["weights"])
            rows, weighted = rows + batch.sequences, weighted or batch.weighted
            if self.reader.labelled:
                labels.append(check_labels(as_values(batch.arrays["labels"]), self.task, self.reader.loader.name))
            yield batch
        name = self.reader.loader.name
        named = [each for each in ids if each is not None]
        if named and len(named) < len(ids):
            raise DataError(f"{name}: expected ids in every batch or in none, got {len(named)} of {len(ids)} with them")
        self.row_ids = np.concatenate(named) if named else np.arange(rows)
        counts = np.concatenate(weights, dtype=np.float64)
        weight = float(counts.sum())
        if self.reader.labelled:
            if weight == 0:
                raise DataError(f"{name}: expected weights with a sum above 0, got 0 in all batches")
            self.targets = joined(labels, f"{name}: labels")
        self.weight, self.weights = weight, counts if weighted else None

    def to_units(self, values: Array) -> Array:
        """Return what the model says: values [N] of a regression with one output, else as it is.

        Raises:
            DataError: A regression has several.
        """
        if self.task != "regression":
            return values
        if values.shape[1:] != (1,):
            raise DataError(
                f"{self.reader.loader.name}: expected one output a row, for data.task is regression, got "
                f"{list(values.shape[1:])}; leave data.task out for several"
            )
        return values.reshape(-1)
