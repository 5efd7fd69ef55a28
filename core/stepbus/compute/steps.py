"""The compiled step: one unit for each job, one packed vector home for each update.

Everything Python-side is fixed when a function is traced: the model's mode, the parameter groups, the plugins'
functions. So this is built last, after weights, optimizer state and restored values are in place.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
import numpy as np
from attrs import frozen
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from stepbus.base import ModelError
from stepbus.compute.forward import Arrays, Forward, HeadForward
from stepbus.compute.optimizer import ParameterUpdater, hoist
from stepbus.compute.transforms import transformed
from stepbus.kernel import Batch, StepResult


@frozen
class Ticket:
    """An update on its way home.

    Args:
        packed: loss sum, weight, then the named scalars; [2 + S] float32.
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


def lowered(model: nn.Module, precision: mx.Dtype) -> Callable[[], None]:
    """Let a model compute in a lower precision; its own arrays come back, the frozen ones bit by bit.

    Args:
        model: The model; arrays that are no floating-point numbers stay as they are.
        precision: The number format of the computation; float32 changes nothing.

    Returns:
        What puts the own arrays back. One that the computation has replaced meanwhile, such as a running mean, keeps
        its new value, in its own number format.
    """
    if precision == mx.float32:
        return lambda: None
    own = {name: array for name, array in _flat(model) if mx.issubdtype(array.dtype, mx.floating)}
    low = {name: array.astype(precision) for name, array in own.items()}
    model.update(tree_unflatten(list(low.items())))

    def put_back() -> None:
        now = [(name, array) for name, array in _flat(model) if name in own]
        back = [(name, own[name] if array is low[name] else array.astype(own[name].dtype)) for name, array in now]
        model.update(tree_unflatten(back))

    return put_back


def references(tree: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Yield each array, dictionary and list inside of a tree, outer ones first, with what holds it and its place."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        if isinstance(value, mx.array | dict | list):
            yield tree, key, value
        if isinstance(value, dict | list):
            yield from references(value)


def _flat(model: nn.Module) -> list[tuple[str, mx.array]]:
    named: Any = tree_flatten(model.parameters())
    return list(named)


class CompiledSteps:
    """The compiled functions of one fit.

    Args:
        model: The model, weights in place.
        updater: The optimizer, state in place.
        transforms: Functions over gradients, in order; see the hook `transform_gradients`.
        rate: Called with the number of an update from 0; the learning rate that it uses.
        seed: Where the dropout of each step starts.
        precision: The number format of the computation; every weight, trained or frozen, keeps its own.
        forward: What the model makes of a batch.
    """

    def __init__(
        self,
        model: Any,
        updater: ParameterUpdater,
        transforms: Sequence[Callable[[Any], Any]],
        rate: Callable[[int], float],
        seed: int,
        precision: str = "float32",
        forward: Forward | None = None,
    ) -> None:
        self.model, self.updater, self.transforms, self.rate, self.seed = model, updater, transforms, rate, seed
        self.precision, self.forward = getattr(mx, precision), forward or HeadForward()
        self.traces = 0
        self._names: list[str] = []
        self._home = time.perf_counter()
        state = [model.state, updater.state, mx.random.state]
        self._traced: set[tuple[Any, ...]] = set()
        compiled = partial(mx.compile, inputs=state, outputs=state)
        self._train = compiled(self._train_step)
        self._micro = compiled(self._micro_step)
        self._apply = compiled(self._apply_step)
        self._evaluate = mx.compile(self._eval_step, inputs=[model.state])

    # -- what is traced -----------------------------------------------------------------------------------------------

    def _loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array]:
        """Return the sum of the row losses by weight, and the sum of the weights."""
        put_back = lowered(model, self.precision)
        sums = (self.forward.losses(model, batch) * batch["weights"]).sum(), batch["weights"].sum()
        put_back()
        return sums

    def _mean_loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        total, weight = self._loss(model, batch)
        # Dividing here and not after the gradient saves one pass over all parameters.
        return total / mx.maximum(weight, 1e-12), total, weight

    def _train_step(self, batch: Arrays) -> mx.array:
        self.traces += 1
        gradient = nn.value_and_grad(self.model, self._mean_loss)
        master = self.model.trainable_parameters()
        (_, total, weight), gradients = gradient(self.model, batch)
        return self._update(master, gradients, total, weight)

    def _micro_step(self, batch: Arrays, sums: Any) -> Any:
        """Add one batch's gradient sums, loss sum and weight to `sums`."""
        self.traces += 1
        master = self.model.trainable_parameters()
        (total, weight), gradients = nn.value_and_grad(self.model, self._loss)(self.model, batch)
        self.model.update(master)
        return tree_map(lambda a, b: a + b, sums, {"gradients": gradients, "total": total, "weight": weight})

    def _apply_step(self, _: Arrays, sums: Any) -> mx.array:
        """Update the parameters from the sums of a whole accumulation window."""
        self.traces += 1
        scale = hoist(1 / mx.maximum(sums["weight"], 1e-12))
        gradients = self.updater.map(lambda array: array * scale, sums["gradients"])
        return self._update(self.model.trainable_parameters(), gradients, sums["total"], sums["weight"])

    def _update(self, master: Any, gradients: Any, total: mx.array, weight: mx.array) -> mx.array:
        gradients, scalars = transformed(self.transforms, gradients)
        self.model.update(self.updater.apply(gradients, master))
        self._names = list(scalars)
        return mx.stack([total, weight, *scalars.values()])

    def _eval_step(self, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        self.traces += 1
        losses, predictions, logits = self.forward.outputs(self.model, batch)
        return (losses * batch["weights"]).sum(), predictions, logits

    def _call(self, function: Callable[..., Any], batch: Arrays, *more: Any) -> Any:
        """Call a compiled function; on shapes that it has not seen yet, with the weights put back where it fails.

        Args:
            function: The compiled function.
            batch: What it is called with.
            *more: Further arguments.
        """
        # Two loops in C: this stands in the way of every step.
        key = (function, *batch, *[array.shape for array in batch.values()], *[array.dtype for array in batch.values()])
        if key in self._traced:
            return function(batch, *more)
        result = self._first_call(function, batch, *more)
        self._traced.add(key)
        return result

    def _first_call(self, function: Callable[..., Any], batch: Arrays, *more: Any) -> Any:
        """Call a function that is traced now, and compute it; MLX leaves its tracers in a model where that fails.

        Raises:
            ModelError: It can be traced and cannot be computed.
        """
        before = list(references([self.model.state, self.updater.state]))
        try:
            result = function(batch, *more)
            try:
                mx.eval(result, self.model.state, self.updater.state)
            except RuntimeError as error:
                said = ", ".join(
                    f"{name} {str(array.dtype).rpartition('.')[2]} {list(array.shape)}" for name, array in batch.items()
                )
                raise ModelError(f"the model cannot be computed on a batch of {said}: {error}") from error
        except BaseException:
            for holder, place, value in before:
                holder[place] = value
            if function is not self._evaluate:  # which captures no random state
                mx.random.seed(self.seed)
            raise
        return result

    # -- what the engine calls ----------------------------------------------------------------------------------------

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
            packed = self._call(self._train, to_device(window[0]))
        else:
            sums: Any = {
                "gradients": tree_map(mx.zeros_like, self.model.trainable_parameters()),
                "total": mx.zeros(()),
                "weight": mx.zeros(()),
            }
            for micro, each in enumerate(window):
                mx.random.seed(mix(self.seed, number, micro))
                sums = self._call(self._micro, to_device(each), sums)
                mx.async_eval(sums)  # else the graph of the whole window is held at once
            packed = self._call(self._apply, {}, sums)
        mx.async_eval(packed, self.model.state, self.updater.state)
        sequences, tokens = sum(batch.sequences for batch in window), sum(batch.tokens for batch in window)
        return Ticket(packed, rate, sequences, tokens)

    def read(self, ticket: Ticket) -> StepResult:
        """Wait for an update and return its numbers."""
        values = np.array(ticket.packed).tolist()
        total, weight, *scalars = values
        before, self._home = self._home, time.perf_counter()
        return StepResult(
            loss=total / weight if weight else float("nan"),
            weight=weight,
            sequences=ticket.sequences,
            tokens=ticket.tokens,
            learning_rate=ticket.learning_rate,
            scalars=dict(zip(self._names, scalars, strict=True)),
            seconds=self._home - before,
        )

    def evaluate(self, batch: Batch) -> tuple[float, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Return a batch's loss sum by weight, its predictions [B, K] and its logits [B, K], without dropout."""
        arrays = to_device(batch)
        self.model.eval()
        try:
            loss, predictions, logits = self._call(self._evaluate, arrays)
            mx.eval(loss, predictions, logits)
        finally:
            self.model.train()
        return float(np.array(loss)), np.array(predictions), np.array(logits)

    def restart_clock(self) -> None:
        """Leave what was not training (an evaluation, a checkpoint) out of the next update's time."""
        self._home = time.perf_counter()
