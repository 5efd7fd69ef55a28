"""Muon: momentum, orthogonalised by a Newton-Schulz iteration.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon/ and https://github.com/KellerJordan/Muon. The iteration runs in float32
here, not in bfloat16.
"""

from __future__ import annotations

import mlx.core as mx

from stepbus import Optimizer, hoist
from stepbus_plugins.optimizers.adam import AdamW
from stepbus_plugins.optimizers.settings import MuonConfig

State = dict[str, mx.array]

# A quintic whose slope at 0 is steep: singular values end between about 0.7 and 1.2, which does for a step.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(Optimizer):
    """Orthogonalised momentum for the hidden weight matrices, AdamW for every other parameter.

    Args:
        settings: The section `optimizer`.
    """

    def __init__(self, settings: MuonConfig) -> None:
        self.settings = settings
        self.others = AdamW(
            settings.beta1, settings.beta2, settings.epsilon, settings.adamw_learning_rate / settings.learning_rate
        )

    def for_parameter(self, name: str, parameter: mx.array) -> Optimizer:
        """Return this for a hidden matrix, and AdamW for embeddings, the head, and everything that is no matrix."""
        hidden = parameter.ndim == 2 and not any(word in name for word in self.settings.adamw_names)
        return self if hidden else self.others

    def init(self, parameter: mx.array) -> State:
        """Return the running mean of the gradient, zero."""
        return {"m": mx.zeros_like(parameter)}

    def scalars(self, learning_rate: mx.array, weight_decay: float, step: mx.array) -> State:
        """Return the rate, and what decay keeps of a parameter."""
        return {"learning_rate": learning_rate, "kept": 1 - learning_rate * weight_decay}

    def update(self, parameter: mx.array, gradient: mx.array, state: State, scalars: State) -> tuple[mx.array, State]:
        """Return the matrix and the running mean after one update."""
        momentum = self.settings.momentum
        m = momentum * state["m"] + (1 - momentum) * gradient
        ahead = (1 - momentum) * gradient + momentum * m if self.settings.nesterov else m
        rows, columns = parameter.shape
        rate = scalars["learning_rate"] * max(1.0, rows / columns) ** 0.5
        change = orthogonalise(ahead, self.settings.newton_schulz_steps)
        return parameter * scalars["kept"] - rate * change, {"m": m}


def orthogonalise(matrix: mx.array, steps: int) -> mx.array:
    """Return roughly U·Vᵀ of a matrix U·S·Vᵀ: all singular values near 1.

    Args:
        matrix: [M, N].
        steps: Iterations.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x * hoist(1 / (mx.sqrt((x * x).sum(axis=0).sum()) + 1e-7))
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.T if tall else x
