"""Averages of the weights, which plugins and optimizers offer to evaluate and export in place of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import frozen

from stepbus.base import counted, did_you_mean, show_python
from stepbus.base.guards import Maker
from stepbus.compute import Optimizer
from stepbus.compute.checks import handed_out, kind_of, shown
from stepbus.compute.stepping.following import Follower, Followers

Arrays = dict[str, mx.array]


@frozen(eq=False)
class Averages:
    """Who averages the weights of a fit, and what comes of it.

    Args:
        maker: How messages name the optimizer.
        optimizers: Parameter -> how it is updated.
        followers: What follows the weights.
        states: Parameter -> the optimizer's state of it.
    """

    maker: Maker
    optimizers: Mapping[str, Optimizer]
    followers: Followers
    states: Mapping[str, Arrays]

    @property
    def plugins(self) -> list[Follower]:
        """The plugins that offer averages, in call order."""
        return [each for each in self.followers.given if each.weights is not None]

    @property
    def optimizer(self) -> Maker | None:
        """The optimizer, where it offers averages itself."""
        return self.maker if any(map(_averages, self.optimizers.values())) else None

    def of(self, parameters: Arrays) -> Arrays:
        """Return what counts in place of parameters, by name and in their number formats; computed.

        Args:
            parameters: What is trained in any phase, by name.

        Raises:
            PluginFailure: Somebody raised, or gave something else.
        """
        found: Arrays = {}
        for each in self.plugins:
            assert each.weights is not None  # which makes it one of them
            with each.maker.calling("its weights of parameters and arrays"):
                given = each.weights(handed_out(parameters), self.followers.copied(each))
            own = _checked(each.maker, parameters, given)
            if missing := [name for name in parameters if name not in own]:
                expected = f"weights: expected each of {counted(len(parameters), 'parameter')} that is trained"
                mend = "give parameters[name] for what is not averaged"
                raise each.maker.fault(f"{expected}, got none of {missing[0]!r}; {mend}")
            found |= own
        for name, optimizer in self.optimizers.items():
            if _averages(optimizer):
                with self.maker.calling("weights"):
                    average = optimizer.weights(parameters[name].astype(mx.float32), handed_out(self.states[name]))
                found |= _checked(self.maker, parameters, {name: average})
        mx.eval(found)
        return found

    def begin(self, parameters: Arrays) -> None:
        """Let optimizers that average begin anew from other weights; what plugins average is begun by the hook.

        Args:
            parameters: What is trained in any phase, by name.
        """
        for name, optimizer in self.optimizers.items():
            if _averages(optimizer):
                with self.maker.calling("init"):
                    self.states[name].update(optimizer.init(parameters[name].astype(mx.float32)))


def _averages(optimizer: Optimizer) -> bool:
    return type(optimizer).weights is not Optimizer.weights


def _checked(maker: Maker, parameters: Arrays, given: Any) -> Arrays:
    """Return averages in the number formats of the parameters.

    Raises:
        PluginFailure: They are no arrays like these.
    """
    expected = "weights: expected {name: array} of parameters"
    if not isinstance(given, Mapping):
        raise maker.fault(f"{expected}, got {shown(given) if isinstance(given, mx.array) else show_python(given)}")
    found: Arrays = {}
    for name, array in given.items():
        if name not in parameters:
            near = did_you_mean(name, list(parameters)) if isinstance(name, str) else ""
            raise maker.fault(f"{expected}, got {name!r}, which is none that is trained{near}")
        own = parameters[name]
        if not isinstance(array, mx.array) or array.shape != own.shape or not mx.issubdtype(array.dtype, mx.floating):
            got = kind_of(array) if isinstance(array, mx.array) else show_python(array)
            raise maker.fault(f"{expected}, {name!r} as {kind_of(own)}, got {got}")
        found[name] = array.astype(own.dtype)
    return found
