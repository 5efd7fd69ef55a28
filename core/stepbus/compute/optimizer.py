"""How one parameter is updated: the contract of optimizers, pure functions of one parameter's arrays.

`ParameterUpdater` (updater.py), which plugins know as `trainer.optimizer`, calls them inside the compiled step.
"""

from __future__ import annotations

from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from mlx.utils import tree_flatten

from stepbus.compute.checks import GROUP_SETTINGS as GROUP_SETTINGS
from stepbus.kernel import protocols

State = dict[str, mx.array]
Scalars = dict[str, mx.array]


class Optimizer:
    """How one parameter is updated; subclasses hold settings, and no arrays.

    An update whose gradient is not finite is skipped, and so is one that makes other numbers of finite ones: parameter
    and state keep their values. The engine sees to that with passes of its own over each array. A class that writes
    `skips = True` beside its `update` does so itself in there, by `mx.where` of `scalars["finite"]`, which `mx.compile`
    fuses with the rest, and promises finite numbers of finite ones.

    Example:
        >>> class Signs(Optimizer):
        ...     def init(self, parameter):
        ...         return {}
        ...     def update(self, parameter, gradient, state, scalars):
        ...         return parameter - scalars["learning_rate"] * mx.sign(gradient), state
        >>> updated, _ = Signs().update(mx.array([1.0, 2.0]), mx.array([-3.0, 0.2]), {}, {"learning_rate": 0.5})
        >>> updated
        array([1.5, 1.5], dtype=float32)
    """

    skips = False

    def keeps_itself(self) -> bool:
        """Return whether `update` keeps all values where an update is skipped; the class that has it says so."""
        writer = next(cls for cls in type(self).__mro__ if "update" in vars(cls))
        return bool(vars(writer).get("skips", False))  # no subclass with an update of its own inherits the promise

    @classmethod
    def adopt(cls, part: Any) -> Optimizer | None:
        """Return a stranger's object as an optimizer; None where it has not what one needs, as MLX's own have not."""
        fits = (
            isinstance(part, protocols.Optimizer) and not isinstance(part, type) and not hasattr(part, "apply_single")
        )
        return _Adopted(part) if fits else None

    def for_parameter(self, name: str, parameter: mx.array) -> Optimizer:
        """Return the optimizer of one parameter: this one, unless a rule by name or shape picks another."""
        return self

    def init(self, parameter: mx.array) -> State:
        """Return the state of a parameter before its first update; float32 arrays by name, or none.

        Args:
            parameter: The parameter, in float32.
        """
        raise NotImplementedError(f"{type(self).__name__} has no init(parameter); write it")

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> Scalars:
        """Return the 0-d numbers that `update` needs, each computed once for all parameters of one group.

        Args:
            learning_rate: The rate in use, 0-d float32.
            weight_decay: A constant of the group.
            step: The number of this update from 1, 0-d float32.
        """
        return {"learning_rate": learning_rate, "weight_decay": mx.array(weight_decay), "step": step}

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: Scalars) -> tuple[mx.array, State]:
        """Return a parameter after one update, and its new state; a pure function, traced by `mx.compile`.

        Args:
            parameter: The parameter, in float32.
            gradient: Its gradient, in float32.
            state: What `init` or the update before returned.
            scalars: What `scalars` returned.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update(parameter, gradient, state, scalars); write it")

    def weights(self, parameter: mx.array, state: State) -> mx.array:
        """Return what is evaluated and exported in place of a parameter: the parameter, unless an optimizer averages.

        One that does says `{"averages": True}` in the metadata of its Component.

        Args:
            parameter: The parameter, in float32.
            state: Its state.
        """
        return parameter


class _Adopted(Optimizer):
    """An object with `init` and `update`, and perhaps more of what an optimizer has.

    Args:
        part: The object.
    """

    def __init__(self, part: Any) -> None:
        self.part = part

    def init(self, parameter: mx.array) -> State:
        return self.part.init(parameter)  # type: ignore[no-any-return]

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> Scalars:
        own = getattr(self.part, "scalars", super().scalars)
        return own(learning_rate, weight_decay, step)

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: Scalars) -> tuple[mx.array, State]:
        return self.part.update(parameter, gradient, state, scalars)  # type: ignore[no-any-return]


class _AdoptedAverage(_Adopted):
    """One with `weights` too."""

    def weights(self, parameter: mx.array, state: State) -> mx.array:
        return self.part.weights(parameter, state)  # type: ignore[no-any-return]


def hoist(scalar: mx.array) -> mx.array:
    """Return a 0-d array unchanged, but computed once in a compiled function and not again for each element.

    `mx.compile` fuses what leads to a scalar into every kernel that uses it: a bias correction inside AdamW's kernel
    made an update ten times slower. A copy is no elementwise operation, so fusion ends there.

    Example:
        >>> hoist(mx.array(0.5))
        array(0.5, dtype=float32)
    """
    return mx.contiguous(scalar)


def no_decay_names(parameters: Any) -> list[str]:
    """Return the names of biases, norms and other vectors, which weight decay leaves alone.

    Args:
        parameters: A tree of arrays.

    Example:
        >>> no_decay_names({"dense": {"weight": mx.ones((2, 2)), "bias": mx.ones(2)}, "norm": {"weight": mx.ones(2)}})
        ['dense.bias', 'norm.weight']
    """
    return [
        name
        for name, array in _flat(parameters).items()
        if array.ndim < 2 or name.rpartition(".")[2].endswith("bias") or "norm" in name.lower()
    ]


def _flat(tree: Any) -> dict[str, mx.array]:
    named: Any = tree_flatten(tree)
    return dict(named)
