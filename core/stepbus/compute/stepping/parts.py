"""The functions that a step is made of, and the named numbers that they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import field, frozen

from stepbus.base.guards import Maker
from stepbus.compute.stepping.naming import Givers

Arrays = dict[str, mx.array]
LossFunction = Callable[[Any, Arrays], tuple[mx.array, Mapping[str, mx.array]]]

# Named numbers of a loss that are added up over a window: the room for them is fixed before their names are known.
MOST_NAMED = 16


class Gradient:
    """The engine's own value_and_grad, which wrappers are put around before a step exists to take it.

    Args:
        givers: Who gives which named number.
    """

    def __init__(self, givers: Givers | None = None) -> None:
        self.function: Callable[..., Any] | None = None
        self.givers = givers or Givers()

    def __call__(self, parameters: Arrays, batch: Arrays) -> tuple[mx.array, mx.array, Arrays, Arrays]:
        """Return total, weight, scalars and gradients of a batch at these parameters."""
        assert self.function is not None  # the step that takes it is made before it is called
        total, weight, named, gradients = self.function(parameters, batch)
        return total, weight, self.givers.hand_out(named), gradients


@frozen(eq=False)
class StepParts:
    """What plugins make of a step, for one phase.

    Args:
        transforms: Functions over gradients, in order; see the hook `transform_gradients`.
        loss: The loss with all wrappers; None takes that of the model.
        gradient: The engine's own value_and_grad.
        wrapped: The same with all wrappers; None where nothing is put around it.
        own: A whole step of a plugin's; see the hook `training_step`.
        given: All functions of plugins among these, with whom each comes from.
        givers: Who gave each named number of the loss, known once it was traced.
    """

    transforms: Sequence[Callable[[Any], Any]] = ()
    loss: LossFunction | None = None
    gradient: Gradient | None = None
    wrapped: Callable[..., Any] | None = None
    own: Callable[..., Any] | None = None
    given: Sequence[tuple[Maker, Callable[..., Any]]] = ()
    givers: dict[str, Maker] = field(factory=dict)


def summed(named: Mapping[str, mx.array], weights: mx.array) -> Arrays:
    """Return named numbers of a batch as sums by weight.

    Args:
        named: Name -> the mean of the batch, 0-d, or one number for each row, [B].
        weights: The weights of the rows, [B].
    """
    return {
        name: (value.astype(mx.float32) * weights).sum() if value.ndim else value.astype(mx.float32) * weights.sum()
        for name, value in named.items()
    }


def packed(named: Arrays) -> mx.array:
    """Return named sums as one vector with room for those of any loss, [MOST_NAMED]."""
    values = list(named.values())
    return mx.stack([*values, *[mx.array(0.0)] * (MOST_NAMED - len(values))])
