"""Adafactor with the learning rate of the schedule (no relative step).

Source: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018 (arXiv
1804.04235), algorithms 4 and 5.
"""

from __future__ import annotations

import mlx.core as mx

from stepbus import Optimizer, hoist
from stepbus_plugins.optimizers.settings import AdafactorConfig

State = dict[str, mx.array]

LEAST_SCALE = 1e-3  # of a parameter, by which the rate is multiplied


class Adafactor(Optimizer):
    """A second moment of row and column means, an update clipped by its root mean square, decoupled weight decay.

    Args:
        settings: The section `optimizer`.
    """

    def __init__(self, settings: AdafactorConfig) -> None:
        self.settings = settings

    def init(self, parameter: mx.array) -> State:
        """Return the second moment: a row and a column of means for a matrix, a whole array for a vector."""
        shape = parameter.shape
        if parameter.ndim >= 2:
            state = {"row": mx.zeros(shape[:-1]), "column": mx.zeros(shape[:-2] + shape[-1:])}
        else:
            state = {"v": mx.zeros_like(parameter)}
        return state | ({"m": mx.zeros_like(parameter)} if self.settings.beta1 else {})

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> State:
        """Return the rate, the weight decay, and the second moment's decay, which goes to 1."""
        decay = {"weight_decay": mx.array(weight_decay)}
        return {"learning_rate": learning_rate, "beta2": 1 - step ** (-self.settings.decay_rate)} | decay

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return the parameter and its moments after one update."""
        settings, rate, beta2 = self.settings, scalars["learning_rate"], scalars["beta2"]
        new: State = {}
        if settings.scale_parameter:
            least = LEAST_SCALE if settings.epsilon_scale is None else settings.epsilon_scale
            rate = hoist(rate * mx.maximum(_root_mean_square(parameter), least))
        square = gradient * gradient + settings.epsilon
        if parameter.ndim >= 2:
            row = beta2 * state["row"] + (1 - beta2) * square.mean(axis=-1)
            column = beta2 * state["column"] + (1 - beta2) * square.mean(axis=-2)
            new |= {"row": row, "column": column}
            rows = mx.rsqrt(row / row.mean(axis=-1, keepdims=True))
            change = gradient * rows[..., :, None] * mx.rsqrt(column)[..., None, :]
        else:
            new["v"] = beta2 * state["v"] + (1 - beta2) * square
            change = gradient * mx.rsqrt(new["v"])
        change = change * hoist(rate / mx.maximum(_root_mean_square(change) / settings.clip_threshold, 1.0))
        if settings.beta1:
            change = new["m"] = settings.beta1 * state["m"] + (1 - settings.beta1) * change
        return parameter * hoist(1 - rate * scalars["weight_decay"]) - change, new


def _root_mean_square(array: mx.array) -> mx.array:
    # One axis at a time: a float32 sum over millions of numbers at once loses the third digit.
    square = array * array
    return mx.sqrt((square.mean(axis=0) if array.ndim > 1 else square).mean())
