"""How long the parts of a step take: what is one compiled unit while training is compiled apart for this."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import frozen

from stepbus.compute import references
from stepbus.compute.stepping import CompiledSteps, to_device
from stepbus.kernel import Batch

REPEATS = 2  # of which the quicker one counts; the call that is traced comes before them


@frozen
class Part:
    """The seconds of one window of batches.

    Args:
        forward: The loss alone, with all that plugins put around it; None where the step is a plugin's own.
        gradient: The loss and its gradient: forward and backward; None there too.
        whole: The whole update.
        tracing: Tracing and compiling them.
    """

    forward: float | None
    gradient: float | None
    whole: float
    tracing: float


def time_parts(steps: CompiledSteps, windows: Sequence[Sequence[Batch]]) -> list[Part]:
    """Time the loss, its gradient and the update on some windows; what the fit computes stays as it is.

    Args:
        steps: The steps of a fit, none of which is on its way.
        windows: Batches of updates, those of one window together.
    """
    traced, model = steps.traced, steps.model
    state = [model.state, mx.random.state]
    forward = mx.compile(lambda batch: traced.loss_sums(model, batch)[0], inputs=state, outputs=state)
    gradient = mx.compile(lambda batch: traced.gradients(batch, mean=True)[3], inputs=state, outputs=state)
    # Arrays are immutable: with those of before back in their places, no update was made.
    before = list(references([model.state, steps.updater.state]))
    try:
        own = traced.parts.own is not None
        return [_part(steps, window, [] if own else [forward, gradient]) for window in windows]
    finally:
        for holder, place, value in before:
            holder[place] = value
        mx.random.seed(0)  # a trace that failed leaves the random state inside it; each step seeds itself


def _part(steps: CompiledSteps, window: Sequence[Batch], functions: Sequence[Callable[[Any], Any]]) -> Part:
    """Time functions of a batch, summed over a window, and the update."""
    batches = [to_device(batch) for batch in window]
    mx.eval(batches)

    def over_all(function: Callable[[Any], Any]) -> None:
        for batch in batches:
            mx.eval(function(batch))

    timed = [_timed(partial(over_all, function)) for function in functions]
    timed.append(_timed(lambda: steps.read(steps.launch(window, 1))))
    (forward, gradient), whole = [seconds for _, seconds in timed[:-1]] or (None, None), timed[-1][1]
    return Part(forward, gradient, whole, sum(tracing for tracing, _ in timed))


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    """Return what tracing took, and the seconds of a call once everything is traced."""
    seconds = []
    for _ in range(1 + REPEATS):
        mx.random.seed(0)
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    quickest = min(seconds[1:])
    return max(seconds[0] - quickest, 0.0), quickest
