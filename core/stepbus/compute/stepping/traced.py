"""What is compiled: one unit for each job, over one model and one optimizer, whose fits of equal shapes share it.

Everything Python-side is fixed when a function is traced: the model's mode, the parameter groups, the plugins'
functions. So this is built last, after weights, optimizer state and restored values are in place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map, tree_map_with_path, tree_unflatten

from stepbus.base import ModelError, PluginError, did_you_mean, listed
from stepbus.base.guards import Maker
from stepbus.compute import Arrays, Forward, HeadForward, hoist
from stepbus.compute.checks import handed_out, transformed
from stepbus.compute.stepping.checks import Misnamed
from stepbus.compute.stepping.held_arrays import detach, references
from stepbus.compute.stepping.own_step import StepOptimizer, maker_of_step, own_step
from stepbus.compute.stepping.parts import StepParts, packed, summed
from stepbus.compute.stepping.training import all_finite, set_trained, trainable_names
from stepbus.compute.stepping.updater import ParameterUpdater

# What MLX says of an array that stands for a value of a trace which is over.
_OF_ANOTHER_TRACE = (
    "[eval] Attempting to eval an array without a primitive",
    "[compile] Attempting to compile a function with uncaptured",
)


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
    own = {name: array for name, array in _flat(model.parameters()) if mx.issubdtype(array.dtype, mx.floating)}
    low = {name: array.astype(precision) for name, array in own.items()}
    model.update(tree_unflatten(list(low.items())))

    def put_back() -> None:
        now = [(name, array) for name, array in _flat(model.parameters()) if name in own]
        back = [(name, own[name] if array is low[name] else array.astype(own[name].dtype)) for name, array in now]
        model.update(tree_unflatten(back))

    return put_back


def _flat(tree: Any) -> list[tuple[str, mx.array]]:
    named: Any = tree_flatten(tree)
    return list(named)


class Traced:
    """The compiled functions over one model and one optimizer.

    They read and write the arrays that stand in `model` and `updater` when they are called, so whatever fit puts its
    own arrays there is computed with what was traced for the ones before.

    Args:
        model: The model, weights in place.
        updater: The optimizer, state in place.
        parts: What plugins make of the step.
        precision: The number format of the computation; every weight, trained or frozen, keeps its own.
        forward: What the model makes of a batch.
    """

    def __init__(
        self,
        model: Any,
        updater: ParameterUpdater,
        parts: StepParts,
        precision: str = "float32",
        forward: Forward | None = None,
    ) -> None:
        self.model, self.updater, self.parts = model, updater, parts
        self.precision, self.forward = getattr(mx, precision), forward or HeadForward()
        if parts.gradient is not None:
            parts.gradient.function = self._value_and_grad
        self.traces = 0
        self.named: list[str] = []  # numbers of the loss, which are sums by weight
        self.names: list[str] = []  # numbers of the update
        state = [model.state, updater.state, mx.random.state]
        self._traced: set[tuple[Any, ...]] = set()
        compiled = partial(mx.compile, inputs=state, outputs=state)
        self.train = compiled(self._train_step)
        self.micro = compiled(self._micro_step)
        self.apply = compiled(self._apply_step)
        self.evaluate = mx.compile(self._eval_step, inputs=[model.state])

    def _loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, Arrays]:
        """Return the sum of the row losses by weight, the sum of the weights, and the sums of named numbers."""
        put_back = lowered(model, self.precision)
        loss = self.parts.loss or self.forward.loss_of(model)
        rows, named = loss(self.forward.calling(model), handed_out(batch))
        sums = (rows * batch["weights"]).sum(), batch["weights"].sum(), summed(named, batch["weights"])
        put_back()
        return sums

    def _mean_loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array, Arrays]:
        total, weight, named = self._loss(model, batch)
        # Dividing here and not after the gradient saves one pass over all parameters.
        return self._scaled(total / mx.maximum(weight, 1e-12)), total, weight, named

    def _sum_loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array, Arrays]:
        total, weight, named = self._loss(model, batch)
        # A sum would leave float16 long before the mean of as many rows does.
        return self._scaled(total, len(batch["weights"])), total, weight, named

    def _scaled(self, loss: mx.array, rows: int = 1) -> mx.array:
        return loss if self.updater.scale is None else loss * (self.updater.scale.value / rows)

    def _unscaled(self, gradients: Any, rows: int = 1) -> Any:
        if self.updater.scale is None:
            return gradients
        factor = hoist(rows / self.updater.scale.value)
        return self.updater.map(lambda array: array * factor, gradients)

    def _value_and_grad(self, parameters: Arrays, batch: Arrays) -> tuple[mx.array, mx.array, Arrays, Arrays]:
        """Return total, weight, named sums and gradients of a batch at other values of parameters, which go back."""
        flat, trained = dict(_flat(self.model.parameters())), trainable_names(self.model)
        for name in parameters.keys() - flat.keys():
            near = did_you_mean(name, flat) if isinstance(name, str) else ""
            raise Misnamed(name, f"value_and_grad: expected a parameter's name, got {name!r}{near}")

        def loss(values: Arrays) -> tuple[mx.array, mx.array, mx.array, Arrays]:
            self.model.update(tree_unflatten(list(values.items())))
            return self._sum_loss(self.model, batch)

        # Some modules leave out the gradients of what is frozen in them.
        set_trained(self.model, {*trained, *parameters})
        try:
            (_, total, weight, named), gradients = mx.value_and_grad(loss)(dict(parameters))
        finally:
            set_trained(self.model, trained)
        self.model.update(tree_unflatten([(name, flat[name]) for name in parameters]))
        gradients = {name: array.astype(mx.float32) for name, array in gradients.items()}
        return total, weight, named, self._unscaled(gradients, len(batch["weights"]))

    def _gradients(self, batch: Arrays, mean: bool) -> tuple[mx.array, mx.array, Arrays, Any]:
        """Return total, weight, named sums and the gradients, of the mean loss or of the total, with all wrappers."""
        master = self.model.trainable_parameters()
        if self.parts.wrapped is None:
            gradient = nn.value_and_grad(self.model, self._mean_loss if mean else self._sum_loss)
            (_, total, weight, named), gradients = gradient(self.model, batch)
            gradients = self._unscaled(gradients, 1 if mean else len(batch["weights"]))
        else:
            total, weight, named, flat = self.parts.wrapped(handed_out(dict(_flat(master))), handed_out(batch))
            gradients = tree_map_with_path(lambda name, _: flat[name], master)
            if mean:
                gradients = self._divided(gradients, weight)
        self.model.update(master)
        self.named = list(named)
        return total, weight, named, gradients

    def _divided(self, gradients: Any, weight: mx.array) -> Any:
        scale = hoist(1 / mx.maximum(weight, 1e-12))
        return self.updater.map(lambda array: array * scale, gradients)

    def _train_step(self, batch: Arrays) -> mx.array:
        self.traces += 1
        if self.parts.own is not None:
            return self._own_step(batch)
        total, weight, named, gradients = self._gradients(batch, mean=True)
        finite = all_finite(gradients, total, over=self.updater.map)
        return self._update(gradients, [total, weight, *named.values()], finite)

    def _micro_step(self, batch: Arrays, sums: Any) -> Any:
        """Add one batch's gradient sums, loss sum, weight and named sums to `sums`."""
        self.traces += 1
        total, weight, named, gradients = self._gradients(batch, mean=False)
        found = {"gradients": gradients, "total": total, "weight": weight, "named": packed(named)}
        return tree_map(lambda a, b: a + b, sums, found)

    def _apply_step(self, _: Arrays, sums: Any) -> mx.array:
        """Update the parameters from the sums of a whole accumulation window."""
        self.traces += 1
        finite = all_finite(sums["gradients"], sums["total"], over=self.updater.map)
        gradients = self._divided(sums["gradients"], sums["weight"])
        named = mx.split(sums["named"], len(sums["named"]))[: len(self.named)]
        return self._update(gradients, [sums["total"], sums["weight"], *(each.reshape(()) for each in named)], finite)

    def _update(self, gradients: Any, numbers: list[mx.array], finite: mx.array) -> mx.array:
        givers = {name: self.parts.givers.get(name, Maker("the loss")) for name in self.named}
        gradients, scalars = transformed(self.parts.transforms, gradients, givers)
        self.model.update(self.updater.apply(gradients, self.model.trainable_parameters(), finite))
        return self._committed(numbers, scalars, finite)

    def _own_step(self, batch: Arrays) -> mx.array:
        """Do the step that a plugin gave."""
        step, model, gradients = self.parts.own, self.model, partial(self._gradients, mean=True)
        optimizer = StepOptimizer(maker_of_step(step), self.updater, model, self.parts.transforms, gradients)
        total, weight, scalars, finite = own_step(step, model, optimizer, batch)
        self.named = []
        return self._committed([total, weight], scalars, finite)

    def _committed(self, numbers: list[mx.array], scalars: Arrays, finite: mx.array) -> mx.array:
        """Let what follows an update follow it, and return all that the host reads, as one vector."""
        scale = [] if self.updater.scale is None else [self.updater.scale.value]
        self.updater.follow(self.model.parameters(), finite)
        self.names = list(scalars)
        return mx.stack([finite.astype(mx.float32), *scale, *numbers, *scalars.values()])

    def _eval_step(self, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
        self.traces += 1
        losses, predictions, logits = self.forward.outputs(self.model, batch)
        return (losses * batch["weights"]).sum(), predictions, logits

    def call(self, function: Callable[..., Any], batch: Arrays, *more: Any) -> Any:
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

    def _refuse_kept(self, error: Exception) -> None:
        """Say what MLX means where a plugin's function computes with an array that is of another trace.

        Raises:
            PluginError: It may be so.
        """
        makers = [maker for maker, _ in self.parts.given] + [each.maker for each in self.updater.followers.given]
        if makers and str(error).startswith(_OF_ANOTHER_TRACE):
            who = list(dict.fromkeys(maker.said for maker in makers))
            raise PluginError(
                f"{'one of ' if who[1:] else ''}{listed(who)}: expected functions of a step that keep no "
                "array from one call to the next, got one that was computed in another call; keep it in the arrays of "
                "after_update"
            ) from error

    def _first_call(self, function: Callable[..., Any], batch: Arrays, *more: Any) -> Any:
        """Call a function that is traced now, and compute it; MLX leaves its tracers in a model where that fails.

        Raises:
            ModelError: It can be traced and cannot be computed.
        """
        before = list(references([self.model.state, self.updater.state]))
        try:
            detach(before)
            try:
                result = function(batch, *more)
                mx.eval(result, self.model.state, self.updater.state)
            except (RuntimeError, ValueError) as error:
                self._refuse_kept(error)
                if isinstance(error, ValueError):
                    raise
                said = ", ".join(
                    f"{name} {str(array.dtype).rpartition('.')[2]} {list(array.shape)}" for name, array in batch.items()
                )
                raise ModelError(f"the model cannot be computed on a batch of {said}: {error}") from error
        except BaseException:
            for holder, place, value in before:
                holder[place] = value
            if function is not self.evaluate:  # which captures no random state
                mx.random.seed(0)
            raise
        return result
