"""A weight file's tensors, found by the names that a model uses today, and what a load says afterwards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from attrs import frozen

from stepbus.base import ModelError


@frozen
class LoadReport:
    """What a load found besides the tensors that simply fitted.

    Args:
        unexpected: Names in the file that the model has no place for, as the file spells them.
        initialised: Head and pooling tensors that keep their new, seeded values.
        reasons: For each of `initialised`, why: "missing", or the shape that was found.
        notes: What else there is to say, a sentence each.
    """

    unexpected: tuple[str, ...] = ()
    initialised: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the report as lines for a log, none when everything fitted."""
        lines = []
        if self.initialised:
            new = ", ".join(f"{name} ({why})" for name, why in zip(self.initialised, self.reasons, strict=True))
            lines.append(f"newly initialised: {new}")
        if self.unexpected:
            lines.append(f"in the file but not used: {', '.join(self.unexpected)}")
        return [*lines, *self.notes]


def check_finite(name: str, array: mx.array, source: str) -> None:
    """Refuse a tensor of a file with numbers that no model can be trained from.

    Args:
        name: Its name in the file.
        array: The tensor.
        source: The file.

    Raises:
        ModelError: It holds NaN or infinity; minus infinity may be meant, as in a mask.
    """
    if mx.isfinite(array).all().item():
        return
    nan, infinite = (int(np.array(flags.sum())) for flags in (mx.isnan(array), mx.isposinf(array)))
    if nan or infinite:
        parts = " and ".join(f"{number} {word}" for number, word in ((nan, "NaN"), (infinite, "infinite")) if number)
        raise ModelError(
            f"{source}: tensor {name!r}: expected finite numbers, got {parts} of {array.size:,}; the file is damaged, "
            "or its training had diverged: take other weights"
        )


def match_names(
    tensors: Mapping[str, mx.array],
    known: Collection[str],
    prefix: str,
    source: str,
    present_name: Callable[[str], str | None] = str,
) -> tuple[dict[str, tuple[str, mx.array]], list[str]]:
    """Return a file's tensors by the model's names, each with the file's spelling, and the names of the others.

    Args:
        tensors: Those of the file.
        known: The names that the model uses.
        prefix: What stands before the encoder's names in a file that holds a whole model.
        source: The file, for messages.
        present_name: The name that a tensor of an older file has today, or None for what is no parameter.

    Raises:
        ModelError: Two names of the file mean the same tensor.
    """
    prefixed = any(name.startswith(prefix) for name in tensors)
    found: dict[str, tuple[str, mx.array]] = {}
    unexpected = []
    for spelt, array in tensors.items():
        name = present_name(spelt)
        if name is None:
            continue
        if name not in known and not prefixed:
            name = prefix + name
        if name in found:
            raise ModelError(f"{source}: {found[name][0]!r} and {spelt!r} are the same tensor; keep one")
        if name in known:
            found[name] = (spelt, array)
        else:
            unexpected.append(spelt)
    return found, unexpected
