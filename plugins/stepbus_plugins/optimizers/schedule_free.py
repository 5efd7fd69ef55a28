"""Schedule-Free AdamW.

Source: Defazio et al., "The Road Less Scheduled", NeurIPS 2024 (arXiv 2405.15682); compared with its authors' code,
`schedulefree` 1.4.
"""

from __future__ import annotations

import mlx.core as mx

from stepbus import Optimizer, hoist
from stepbus_plugins.optimizers.adam import correction
from stepbus_plugins.optimizers.settings import ScheduleFreeConfig

State = dict[str, mx.array]


class ScheduleFree(Optimizer):
    """AdamW whose steps go to z, whose gradients are taken at y between z and their mean x, and whose weights are x.

    The parameters of the model are y; x follows from y and z. Each step weighs in x by the square of the largest rate
    so far, so that those of a warm-up count little.

    Args:
        settings: The section `optimizer`.
    """

    skips = True

    def __init__(self, settings: ScheduleFreeConfig) -> None:
        self.settings = settings

    def init(self, parameter: mx.array) -> State:
        """Return z, where the parameter is; the second moment, zero; and by what the mean was weighed so far."""
        nothing = mx.zeros(())
        return {"z": parameter, "v": mx.zeros_like(parameter), "weight": nothing, "largest_rate": nothing}

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> State:
        """Return rate and weight decay, and what corrects the root of the second moment."""
        return {
            "learning_rate": learning_rate,
            "weight_decay": mx.array(weight_decay),
            "corrected": mx.rsqrt(correction(self.settings.beta2, step)),
        }

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return y after one update, and its new state."""
        beta1, beta2, rate = self.settings.beta1, self.settings.beta2, scalars["learning_rate"]
        finite, z = scalars["finite"], state["z"]
        largest = mx.maximum(state["largest_rate"], rate)
        weight = state["weight"] + largest * largest
        share = hoist(mx.where(weight > 0, largest * largest / mx.maximum(weight, 1e-38), 0.0))
        v = mx.where(finite, beta2 * state["v"] + (1 - beta2) * (gradient * gradient), state["v"])
        change = gradient / (mx.sqrt(v) * scalars["corrected"] + self.settings.epsilon)
        change = change + scalars["weight_decay"] * parameter
        # y by way of the new z, and not of the change itself: so one kernel passes over all arrays, in place of three.
        new_z = mx.where(finite, z - rate * change, z)
        y = parameter + share * (z - parameter) - hoist(1 - beta1 * (1 - share)) * (z - new_z)
        new = {
            "z": new_z,
            "v": v,
            "weight": mx.where(finite, weight, state["weight"]),
            "largest_rate": mx.where(finite, largest, state["largest_rate"]),
        }
        return mx.where(finite, y, parameter), new

    def weights(self, parameter: mx.array, state: State) -> mx.array:
        """Return x, which y = (1 - beta1) z + beta1 x gives."""
        return parameter + (1 - 1 / self.settings.beta1) * (state["z"] - parameter)
