"""Adam and AdamW.

Sources: Kingma and Ba, "Adam", ICLR 2015 (arXiv 1412.6980); Loshchilov and Hutter, "Decoupled Weight Decay
Regularization", ICLR 2019 (arXiv 1711.05101).
"""

from __future__ import annotations

import math

import mlx.core as mx

from stepbus import Optimizer
from stepbus_plugins.optimizers.settings import AdamConfig, AdamWConfig

State = dict[str, mx.array]


class AdamW(Optimizer):
    """Adam with bias correction and decoupled weight decay.

    Args:
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the corrected second moment.
        rate_scale: The rate in use is multiplied by this.
    """

    skips = True

    def __init__(self, beta1: float, beta2: float, epsilon: float, rate_scale: float = 1.0) -> None:
        self.beta1, self.beta2, self.epsilon, self.rate_scale = beta1, beta2, epsilon, rate_scale

    @classmethod
    def from_settings(cls, settings: AdamWConfig | AdamConfig) -> AdamW:
        """Return the optimizer that the section `optimizer` describes."""
        return cls(settings.beta1, settings.beta2, settings.epsilon)

    def init(self, parameter: mx.array) -> State:
        """Return both moments, zero."""
        return {"m": mx.zeros_like(parameter), "v": mx.zeros_like(parameter)}

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> State:
        """Return what decay keeps of a parameter, and the corrections folded into a scale and an epsilon.

        rate · (m / c1) / (sqrt(v / c2) + eps) = (rate · sqrt(c2) / c1) · m / (sqrt(v) + eps · sqrt(c2)), so that the
        compiled step passes over each parameter once.
        """
        rate = learning_rate * self.rate_scale
        root = mx.sqrt(correction(self.beta2, step))
        return {
            "kept": 1 - rate * weight_decay,
            "scale": rate * root / correction(self.beta1, step),
            "epsilon": self.epsilon * root,
        }

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return the parameter and both moments after one update."""
        finite = scalars["finite"]
        m = mx.where(finite, self.beta1 * state["m"] + (1 - self.beta1) * gradient, state["m"])
        v = mx.where(finite, self.beta2 * state["v"] + (1 - self.beta2) * (gradient * gradient), state["v"])
        change = scalars["scale"] * m / (mx.sqrt(v) + scalars["epsilon"])
        return mx.where(finite, parameter * scalars["kept"] - change, parameter), {"m": m, "v": v}


class Adam(AdamW):
    """Adam with bias correction, whose weight decay is an L2 penalty: it goes through the moments, as in PyTorch."""

    skips = True

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> State:
        """Return those of AdamW without decay, and the penalty."""
        return super().scalars(learning_rate, 0.0, step) | {"penalty": mx.array(weight_decay)}

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return the parameter and both moments after one update."""
        return super().update(parameter, gradient + scalars["penalty"] * parameter, state, scalars)


def correction(beta: float, step: mx.array) -> mx.array:
    """Return 1 - beta^step; expm1 keeps the digits that float32 loses where beta^step is near 1."""
    return -mx.expm1(step * math.log(beta)) if beta > 0 else mx.ones_like(step)
