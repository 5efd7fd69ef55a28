"""Loaders that are told the epoch: one that a training reads is told nothing by anybody else meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepbus.base import DataError

# What a training reads now, in this process; a hook may evaluate with another trainer.
_read: list[Any] = []
# How deep a wrapper's own attributes are looked at: a loader, its sampler, the data under that.
_DEPTH = 3


@contextmanager
def reading(source: Any) -> Iterator[None]:
    """Note that a training reads a source.

    Args:
        source: The loader as it was given.
    """
    _read.append(source)
    try:
        yield
    finally:
        place = next(place for place, each in enumerate(_read) if each is source)
        del _read[place]


def check_free(source: Any, name: str) -> None:
    """Refuse to tell a source the epoch that a training reads.

    Args:
        source: The loader.
        name: What it is for.

    Raises:
        DataError: It is being read.
    """
    for each in list(_read):
        check_apart(each, source, name)


def check_apart(train: Any, other: Any, name: str) -> None:
    """Refuse a further loader whose set_epoch would move the training.

    Args:
        train: The training loader.
        other: The further one.
        name: What it is for.

    Raises:
        DataError: They are one object, or have one that is told the epoch.
    """
    if not _is_told(other):
        return
    shared = [each for each in _told(train) if any(each is one for one in _told(other))]
    if not shared:
        return
    got = "the training loader" if train is other else f"one that shares its {type(shared[0]).__name__}"
    raise DataError(
        f"{name}: expected a loader of its own, because set_epoch would move the training, which reads it too, "
        f"got {got}; hand over a second object, or a function of the epoch"
    )


def _is_told(source: Any) -> bool:
    return callable(getattr(source, "set_epoch", None))


def _told(source: Any) -> list[Any]:
    """Return the objects that are told the epoch: a loader, and what it holds in attributes of its own."""
    found, level = list[Any](), [source]
    for _ in range(_DEPTH):
        found += [each for each in level if _is_told(each) and not any(each is one for one in found)]
        level = [held for each in level for held in getattr(each, "__dict__", {}).values()]
    return found
