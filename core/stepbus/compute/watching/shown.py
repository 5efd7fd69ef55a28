"""What a step shows to who looks at it, where anybody does."""

from __future__ import annotations

from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base.guards import Maker
from stepbus.compute.checks import before_and_after
from stepbus.compute.watching.watch import watching

Arrays = dict[str, mx.array]


def saw_changed(maker: Maker, gradients: Any) -> None:
    """Let what looks at a step see gradients as a plugin changed them."""
    if (watch := watching()) is not None:
        watch.saw_tree("changed_gradient", gradients, by=maker.said)


def saw_update(model: Any) -> None:
    """Let what looks at a step see the parameters after it."""
    if (watch := watching()) is not None:
        watch.saw_tree("update", model.trainable_parameters())


def saw_new(name: str, before: mx.array, new: mx.array, state: Arrays, after: Arrays, finite: mx.array) -> None:
    """Let what looks at a step see what an optimizer gives, where its gradients are finite.

    Args:
        name: The parameter.
        before: Its value before the update.
        new: The new one.
        state: Its state before the update.
        after: The new one.
        finite: Whether the gradients are finite, 0-d.
    """
    if (watch := watching()) is None or not finite.item():
        return
    for word, old, array in before_and_after(before, new, state, after):
        watch.saw_new(name, mx.where(mx.isfinite(old), array, 0), word)
