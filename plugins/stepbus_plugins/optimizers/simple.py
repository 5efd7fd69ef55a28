"""SGD with momentum, and Lion.

Sources: Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013, in the form
that PyTorch and MLX use; Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv 2302.06675.
"""

from __future__ import annotations

import mlx.core as mx

from stepbus import Optimizer
from stepbus_plugins.optimizers.settings import LionConfig, SGDConfig

State = dict[str, mx.array]


class SGD(Optimizer):
    """Gradient descent; the velocity is momentum · velocity + gradient, and the gradient includes an L2 penalty.

    Args:
        settings: The section `optimizer`.
    """

    skips = True

    def __init__(self, settings: SGDConfig) -> None:
        self.settings = settings

    def init(self, parameter: mx.array) -> State:
        """Return the velocity, zero, or nothing without momentum."""
        return {"velocity": mx.zeros_like(parameter)} if self.settings.momentum else {}

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return the parameter and the velocity after one update."""
        momentum, finite = self.settings.momentum, scalars["finite"]
        gradient = gradient + scalars["weight_decay"] * parameter
        if not momentum:
            return mx.where(finite, parameter - scalars["learning_rate"] * gradient, parameter), {}
        velocity = mx.where(finite, momentum * state["velocity"] + gradient, state["velocity"])
        change = gradient + momentum * velocity if self.settings.nesterov else velocity
        return mx.where(finite, parameter - scalars["learning_rate"] * change, parameter), {"velocity": velocity}


class Lion(Optimizer):
    """The sign of an interpolated momentum, with decoupled weight decay.

    Args:
        settings: The section `optimizer`.
    """

    skips = True

    def __init__(self, settings: LionConfig) -> None:
        self.settings = settings

    def init(self, parameter: mx.array) -> State:
        """Return the running mean, zero."""
        return {"m": mx.zeros_like(parameter)}

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> State:
        """Return the rate, and what decay keeps of a parameter."""
        return {"learning_rate": learning_rate, "kept": 1 - learning_rate * weight_decay}

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return the parameter and the running mean after one update."""
        beta1, beta2 = self.settings.beta1, self.settings.beta2
        direction = mx.sign(beta1 * state["m"] + (1 - beta1) * gradient)
        m = mx.where(scalars["finite"], beta2 * state["m"] + (1 - beta2) * gradient, state["m"])
        new = parameter * scalars["kept"] - scalars["learning_rate"] * direction
        return mx.where(scalars["finite"], new, parameter), {"m": m}
