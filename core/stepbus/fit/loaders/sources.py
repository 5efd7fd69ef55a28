"""What is an iterable of batches and what is rows, and how such an iterable is read: once an epoch, in its order."""

from __future__ import annotations

import inspect
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from numbers import Number
from typing import Any

import numpy as np

from stepbus.base import DataError
from stepbus.fit.loaders.shared import check_free
from stepbus.text.rows import Rows, a_thing

WANTED = "an iterable of batches: a list of dictionaries of arrays, a function that yields them, an object to iterate"


def is_loader(source: Any) -> bool:
    """Say whether something gives batches; anything else is rows, or names some, or is refused as rows are.

    A list is one of batches where its first element is a dictionary that holds arrays and no text, or lists of numbers
    and nothing else. Tuples and bare arrays in a list count too, so that what is wrong with such a batch can be said.

    Args:
        source: What somebody handed over.
    """
    if source is None or isinstance(source, _NO_LOADERS) or hasattr(source, "dtype"):
        return False
    if isinstance(source, list | tuple):
        return len(source) > 0 and _is_batch(source[0])
    if type(source).__module__.partition(".")[0] in ("pandas", "pyarrow", "polars"):
        return False
    if any(callable(getattr(source, method, None)) for method in ("to_pandas", "to_arrow")):
        return False
    return callable(source) or hasattr(source, "__iter__") or hasattr(source, "__getitem__")


_NO_LOADERS = (
    *(str, bytes, bytearray, os.PathLike, io.IOBase, Number, np.generic, np.ndarray),
    *(Mapping, set, frozenset, type, Rows),
)


def _is_batch(first: Any) -> bool:
    if isinstance(first, Mapping):
        values = list(first.values())
        if any(isinstance(value, str) for value in values):
            return False
        return any(map(_is_array, values)) or (bool(values) and all(map(_is_list_of_numbers, values)))
    if isinstance(first, tuple | list):
        return any(map(_is_array, first))
    return _is_array(first)


def _is_array(value: Any) -> bool:
    return hasattr(value, "dtype") and len(getattr(value, "shape", ())) > 0


def _is_list_of_numbers(value: Any) -> bool:
    while isinstance(value, list | tuple) and value:
        value = value[0]
        if isinstance(value, Number | np.generic):
            return True
    return False


class Loader:
    """An iterable of batches by the name of its set; it takes the place of rows in a fit.

    Args:
        source: The iterable.
        name: What it is for: train, validation.

    Raises:
        DataError: It is a function of more than the epoch.
    """

    def __init__(self, source: Any, name: str) -> None:
        self.source, self.name = source, name
        iterable = hasattr(source, "__iter__") or hasattr(source, "__getitem__")
        self._called = callable(source) and not iterable
        self._by_epoch = self._epoch_argument() if self._called else ""

    def __getattr__(self, name: str) -> Any:
        # Whoever deals rows out (folds, splits) gets a sentence in place of an AttributeError.
        # By `pieces` core asks whether rows can be told by where they stand, and here none can.
        if not name.startswith("_") and name != "pieces" and (name in dir(Rows) or name in _FIELDS_OF_ROWS):
            raise DataError(
                f"{self.name}: expected rows, which can be dealt out into folds and counted, got a loader of batches; "
                "hand over rows, or switch off the plugin that needs them"
            )
        raise AttributeError(name)

    @property
    def is_list(self) -> bool:
        """Whether all batches are there, and always the same."""
        return isinstance(self.source, list | tuple)

    @property
    def reads_once(self) -> bool:
        """Whether it is an iterator, which gives its batches once."""
        return isinstance(self.source, Iterator) and not self.knows_epochs

    @property
    def knows_epochs(self) -> bool:
        """Whether the batches of an epoch can be had without those before: they are a list, or it takes the epoch."""
        return self.is_list or bool(self._by_epoch) or callable(getattr(self.source, "set_epoch", None))

    def count(self) -> int | None:
        """Return the batches of an epoch, or None where it does not say."""
        try:
            return len(self.source)
        except (TypeError, NotImplementedError, AttributeError):
            return None

    def begin(self, epoch: int) -> Iterator[Any]:
        """Return an iterator over the batches of an epoch.

        Args:
            epoch: The epoch, from 0.

        Raises:
            DataError: There is nothing to iterate over, or a training reads it and would be moved.
        """
        source = self.source
        if self._called:
            source = source(**{self._by_epoch: epoch}) if self._by_epoch else source()
            if not isinstance(source, Iterable):
                raise DataError(
                    f"{self.name}: expected a function that yields batches or returns an iterable of them, got one "
                    f"that returns {a_thing(source)}"
                )
            return iter(source)
        if callable(set_epoch := getattr(source, "set_epoch", None)):
            check_free(source, self.name)
            set_epoch(epoch)
        if hasattr(source, "__iter__") or self.count() is None:
            return iter(source)
        return (source[place] for place in range(len(source)))

    def _epoch_argument(self) -> str:
        """Return the parameter of a function that takes the epoch, or ""."""
        try:
            found = inspect.signature(self.source).parameters.values()
        except (TypeError, ValueError):
            return ""
        kinds = inspect.Parameter
        needed = [
            each
            for each in found
            if each.default is kinds.empty and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
        ]
        named = [each.name for each in found if each.name == "epoch" and each.kind != kinds.POSITIONAL_ONLY]
        if [each.name for each in needed] in ([], named):
            return named[0] if named else ""
        if len(needed) == 1 and needed[0].kind != kinds.POSITIONAL_ONLY:
            return needed[0].name
        raise DataError(
            f"{self.name}: expected a function of nothing, or of the epoch, got one of "
            f"{', '.join(each.name for each in needed)}; wrap it: lambda epoch: …"
        )


_FIELDS_OF_ROWS = frozenset({"frame", "ids", "numbers", "whole", "index", "in_lines"})
