"""The steps of a fit: launched without waiting, one packed vector home for each update."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import numpy as np
from attrs import evolve, frozen
from mlx.utils import tree_flatten, tree_map

from stepbus.base import StepbusError, listed
from stepbus.compute import LEAST_SCALE, Arrays, Forward
from stepbus.compute.stepping.parts import MOST_NAMED, StepParts
from stepbus.compute.stepping.traced import Traced
from stepbus.compute.stepping.updater import ParameterUpdater
from stepbus.compute.watching import (
    Found,
    NotFinite,
    Watch,
    first_spoiled,
    looked_at_again,
    may_hold_masks,
    note_masks,
    watching,
)
from stepbus.kernel import Batch, StepResult


@frozen
class Ticket:
    """An update on its way home.

    Args:
        packed: Whether it was done, -1 where it overflowed, the loss scale where there is one, loss sum, weight, then
            the named numbers of the loss as sums by weight and those of the update; float32.
        learning_rate: The rate it uses.
        sequences: Real rows.
        tokens: Real tokens.
        window: Its batches, which are computed again where it is not one of finite numbers.
        number: Its number, from 1.
    """

    packed: mx.array
    learning_rate: float
    sequences: int
    tokens: int
    window: Sequence[Batch]
    number: int


def mix(*parts: int) -> int:
    """Return a seed that is a function of its parts alone, the same on every machine."""
    text = ",".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def to_device(batch: Batch) -> Arrays:
    """Return a collated batch as the arrays that the model takes."""
    return {name: mx.array(values) for name, values in batch.arrays.items() if values is not None}


def _begun(batch: Batch) -> Arrays:
    """Return the arrays of a batch that is computed now."""
    arrays = to_device(batch)
    if (watch := watching()) is not None:
        watch.begins(arrays)
    return arrays


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
        debug: Whether steps run uncompiled, and stop at the first array that is not finite.
        tell: Says in words what such a step came upon.
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
        *,
        debug: bool = False,
        tell: Callable[[Found], str] = str,
    ) -> None:
        self.model, self.updater, self.rate, self.seed = model, updater, rate, seed
        self.traced = traced or Traced(model, updater, parts, precision, forward, debug=debug)
        self._launch = self._debugged if debug else self._compiled
        self._tell, self._last = tell, 0
        self._unfinished: tuple[Ticket, float | None] | None = None
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
        if number == 1:
            note_masks(self.model)
        self.updater.set_learning_rate(rate)
        packed = self._launch(window, number)
        mx.async_eval(packed, self.model.state, self.updater.state)
        sequences, tokens = sum(batch.sequences for batch in window), sum(batch.tokens for batch in window)
        self._last = number
        return Ticket(packed, rate, sequences, tokens, window, number)

    def _compiled(self, window: Sequence[Batch], number: int) -> Any:
        return self._computed(window, number, lambda name: partial(self.traced.call, getattr(self.traced, name)))

    def _debugged(self, window: Sequence[Batch], number: int) -> Any:
        """Compute an update with every array looked at.

        Raises:
            StepbusError: One is not finite; weights and optimizer are what they were before the update.
        """
        watch = Watch(self.model, stops=True, scaled=self._may_overflow())
        try:
            with watch.looking():
                return self._compiled(window, number)
        except NotFinite as error:
            # Once more to its end, because all rows count; where that shows nothing, what stopped it does.
            found = self._again(Ticket(mx.array(0.0), self.rate(number - 1), 0, 0, window, number), None)
            found = evolve(found, finding=found.finding or error.finding, debug=self._last > 0)
            raise StepbusError(self._tell(found)) from error

    def _may_overflow(self) -> bool:
        return self.updater.scale is not None and float(np.array(self.updater.scale.value)) > LEAST_SCALE

    def _computed(self, window: Sequence[Batch], number: int, function: Callable[[str], Callable[..., Any]]) -> Any:
        """Compute an update by functions of these names: a whole one, or one for each batch and one for their sums."""
        if len(window) == 1:
            mx.random.seed(mix(self.seed, number))
            return function("train")(_begun(window[0]))
        sums: Any = {
            "gradients": tree_map(mx.zeros_like, self.model.trainable_parameters()),
            "total": mx.zeros(()),
            "weight": mx.zeros(()),
            "first": mx.zeros(()),
            "named": mx.zeros((MOST_NAMED,)),
        }
        for micro, each in enumerate(window):
            mx.random.seed(mix(self.seed, number, micro))
            sums = function("micro")(_begun(each), sums)
            mx.async_eval(sums)  # else the graph of the whole window is held at once
        return function("apply")({}, sums)

    def read(self, ticket: Ticket) -> StepResult:
        """Wait for an update and return its numbers."""
        values = np.array(ticket.packed).tolist()
        done, *values = values
        scale = values.pop(0) if self.updater.scale is not None else None
        # Only what may have to be explained keeps its batches.
        self._unfinished = None if done > 0 and math.isfinite(sum(values)) else (ticket, scale)
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
            skipped=done <= 0,
            loss_scale=scale,
            overflow=done < 0 and scale is not None and scale > LEAST_SCALE,
            of_loss=tuple(named),
            seconds=self._home - before,
        )

    def diagnose(self) -> Found | None:
        """Compute the update that was read last once more, uncompiled, and find its first array that is not finite.

        Returns:
            What was found; None where its numbers are finite, and so are the weights after it.
        """
        if self._unfinished is None:
            return self.spoiled()
        ticket, scale = self._unfinished
        found = self._again(ticket, scale)
        if found.finding is None or "gradient" not in found.finding.kind or scale is None or scale <= LEAST_SCALE:
            return found
        again = self._again(ticket, LEAST_SCALE).finding
        return evolve(found, overflow=again is None or "gradient" not in again.kind)

    def may_hold_masks(self) -> bool:
        """Return whether a weight may be minus infinity on purpose, as any may before the first update."""
        flat: Any = tree_flatten(self.model.trainable_parameters())
        names = {*dict(flat), *self.updater.state["parameters"]}
        return not self.updater.state["step"].item() or may_hold_masks(self.model, names)

    def spoiled(self, averages: Any = None) -> Found | None:
        """Return the first weight that is not finite as it stands, or None; minus infinity from before is a mask.

        Args:
            averages: What counts in place of the weights, by name; None looks at the weights that are trained.
        """
        if not self.updater.state["step"].item():
            note_masks(self.model)  # no update made any of it
        weights = self.model.trainable_parameters() if averages is None else averages
        finding = first_spoiled(self.model, weights, "update" if averages is None else "average")
        return None if finding is None else Found(self._last, [], finding)

    def _again(self, ticket: Ticket, scale: float | None) -> Found:
        """Compute an update with every array looked at; nothing of it stays."""
        traced, updater = self.traced, self.updater
        named = traced.named, traced.names

        def compute() -> Any:
            updater.set_learning_rate(ticket.learning_rate)
            if scale is not None:
                updater.state["loss_scale"] = mx.array(scale)
            return self._computed(ticket.window, ticket.number, lambda name: traced.plain[name])

        watch, raised = looked_at_again(self.model, updater.state, compute)
        traced.named, traced.names = named
        ahead = self._last - ticket.number
        wrappers = [maker.said for maker, _ in traced.parts.given if maker.said.endswith("wrap_gradient")]
        found = watch.found
        return Found(
            ticket.number, ticket.window, found, watch.losses, max(ahead, 0), raised, wrappers=listed(wrappers)
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
