"""The steps of a fit: launched without waiting, one packed vector home for each update."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from attrs import frozen
from mlx.utils import tree_map

from stepbus.compute import Arrays, Forward
from stepbus.compute.stepping.parts import MOST_NAMED, StepParts
from stepbus.compute.stepping.traced import Traced
from stepbus.compute.stepping.updater import ParameterUpdater
from stepbus.kernel import Batch, StepResult


@frozen
class Ticket:
    """An update on its way home.

    Args:
        packed: Whether it was done, the loss scale where there is one, loss sum, weight, then the named numbers of the
            loss as sums by weight and those of the update; float32.
        learning_rate: The rate it uses.
        sequences: Real rows.
        tokens: Real tokens.
    """

    packed: mx.array
    learning_rate: float
    sequences: int
    tokens: int


def mix(*parts: int) -> int:
    """Return a seed that is a function of its parts alone, the same on every machine."""
    text = ",".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def to_device(batch: Batch) -> Arrays:
    """Return a collated batch as the arrays that the model takes."""
    return {name: mx.array(values) for name, values in batch.arrays.items() if values is not None}


class CompiledSteps:
    """The steps of one fit.

    Args:
        model: The model, weights in place.
        updater: The optimizer, state in place.
        parts: What plugins make of the step.
        rate: Called with the number of an update from 0; the learning rate that it uses.
        seed: Where the dropout of each step starts.
        precision: The number format of the computation; every weight, trained or frozen, keeps its own.
        forward: What the model makes of a batch.
        traced: What was compiled over the same model and optimizer for a fit before; None compiles anew.
    """

    def __init__(
        self,
        model: Any,
        updater: ParameterUpdater,
        parts: StepParts,
        rate: Callable[[int], float],
        seed: int,
        precision: str = "float32",
        forward: Forward | None = None,
        traced: Traced | None = None,
    ) -> None:
        self.model, self.updater, self.rate, self.seed = model, updater, rate, seed
        self.traced = traced or Traced(model, updater, parts, precision, forward)
        self._traces_before = self.traced.traces
        self._home = time.perf_counter()

    @property
    def traces(self) -> int:
        """How often a function was traced for this fit; shapes that a fit before it has seen are not traced again."""
        return self.traced.traces - self._traces_before

    def launch(self, window: Sequence[Batch], number: int) -> Ticket:
        """Start one update; the host does not wait for it.

        Args:
            window: The batches whose gradients make the update: one, or several to accumulate.
            number: The number of the update, from 1.
        """
        rate = self.rate(number - 1)
        self.updater.set_learning_rate(rate)
        if len(window) == 1:
            mx.random.seed(mix(self.seed, number))
            packed = self.traced.call(self.traced.train, to_device(window[0]))
        else:
            sums: Any = {
                "gradients": tree_map(mx.zeros_like, self.model.trainable_parameters()),
                "total": mx.zeros(()),
                "weight": mx.zeros(()),
                "named": mx.zeros((MOST_NAMED,)),
            }
            for micro, each in enumerate(window):
                mx.random.seed(mix(self.seed, number, micro))
                sums = self.traced.call(self.traced.micro, to_device(each), sums)
                mx.async_eval(sums)  # else the graph of the whole window is held at once
            packed = self.traced.call(self.traced.apply, {}, sums)
        mx.async_eval(packed, self.model.state, self.updater.state)
        sequences, tokens = sum(batch.sequences for batch in window), sum(batch.tokens for batch in window)
        return Ticket(packed, rate, sequences, tokens)

    def read(self, ticket: Ticket) -> StepResult:
        """Wait for an update and return its numbers."""
        values = np.array(ticket.packed).tolist()
        done, *values = values
        scale = values.pop(0) if self.updater.scale is not None else None
        total, weight, *scalars = values
        named, names = self.traced.named, self.traced.names
        means = [value / weight if weight else float("nan") for value in scalars[: len(named)]]
        before, self._home = self._home, time.perf_counter()
        return StepResult(
            loss=total / weight if weight else float("nan"),
            weight=weight,
            sequences=ticket.sequences,
            tokens=ticket.tokens,
            learning_rate=ticket.learning_rate,
            scalars=dict(zip([*named, *names], [*means, *scalars[len(named) :]], strict=True)),
            skipped=not done,
            loss_scale=scale,
            seconds=self._home - before,
        )

    def evaluate(self, batch: Batch) -> tuple[float, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return a batch's loss sum by weight, its predictions [B, K] and its logits [B, K], without dropout."""
        arrays = to_device(batch)
        self.model.eval()
        try:
            loss, predictions, logits = self.traced.call(self.traced.evaluate, arrays)
            mx.eval(loss, predictions, logits)
        finally:
            self.model.train()
        return float(np.array(loss)), np.array(predictions), np.array(logits)

    def restart_clock(self) -> None:
        """Leave what was not training (an evaluation, a checkpoint) out of the next update's time."""
        self._home = time.perf_counter()
