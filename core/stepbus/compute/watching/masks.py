"""Which weights hold minus infinity on purpose: those that held it when their fit began, or when they were loaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from stepbus.compute.checks import sums_are_finite

_ATTRIBUTE = "_stepbus_masks"


def note_masks(model: Any) -> None:
    """Note which weights of a model are minus infinity: what training makes of others later is no mask.

    Args:
        model: The model, whose weights come from elsewhere; what is no module has none to look at.
    """
    if not isinstance(model, nn.Module):
        return
    flat: Any = tree_flatten(model.parameters())
    masks: dict[str, mx.array | None] = dict.fromkeys(name for name, _ in flat)
    numbers = [(name, array) for name, array in flat if mx.issubdtype(array.dtype, mx.floating)]
    if not sums_are_finite([array for _, array in numbers]):
        found = [(name, mx.isneginf(array)) for name, array in numbers]
        masks |= {name: flags for name, flags in found if flags.any().item()}
    object.__setattr__(model, _ATTRIBUTE, masks)  # no part of the parameter tree


def may_hold_masks(model: Any, names: Iterable[str]) -> bool:
    """Return whether minus infinity may be meant in one of the weights; also where nobody knows.

    Args:
        model: The model.
        names: The weights.
    """
    masks: dict[str, mx.array | None] = getattr(model, _ATTRIBUTE, {})
    return any(name not in masks or masks[name] is not None for name in names)


def is_mask(model: Any, name: str, array: mx.array) -> bool:
    """Return whether all of a weight that is minus infinity was so at the start; also where nobody knows.

    Args:
        model: The model.
        name: The weight, or what an average is of.
        array: It as it stands.
    """
    masks: dict[str, mx.array | None] = getattr(model, _ATTRIBUTE, {})
    if name not in masks:  # it came later, as where a wrapped module is taken apart at the end
        return True
    mask = masks[name]
    return mask is not None and mask.shape == array.shape and not (mx.isneginf(array) & ~mask).any().item()
