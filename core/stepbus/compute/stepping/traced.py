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
from stepbus.compute import Arrays, Forward, HeadForward, detach, hoist, lowered, references
from stepbus.compute.checks import all_finite, handed_out, still_finite, transformed
from stepbus.compute.stepping.checks import Misnamed
from stepbus.compute.stepping.own_step import StepOptimizer, maker_of_step, own_step
from stepbus.compute.stepping.parts import StepParts, packed, summed
from stepbus.compute.stepping.training import set_trained, trainable_names
from stepbus.compute.stepping.updater import ParameterUpdater
from stepbus.compute.watching import saw_changed, saw_update, watching

# What MLX says of an array that stands for a value of a trace which is over.
_OF_ANOTHER_TRACE = (
    "[eval] Attempting to eval an array without a primitive",
    "[compile] Attempting to compile a function with uncaptured",
)


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
        debug: Whether steps run uncompiled.
    """

    def __init__(
        self,
        model: Any,
        updater: ParameterUpdater,
        parts: StepParts,
        precision: str = "float32",
        forward: Forward | None = None,
        *,
        debug: bool = False,
    ) -> None:
        self.model, self.updater, self.parts, self.debug = model, updater, parts, debug
        self.precision, self.forward = getattr(mx, precision), forward or HeadForward()
        if parts.gradient is not None:
            parts.gradient.function = self._value_and_grad
        self.traces = 0
        self.named: list[str] = []  # numbers of the loss, which are sums by weight
        self.names: list[str] = []  # numbers of the update
        self._totals: list[mx.array] = []  # of each computation of the batch: the first is of the weights as they are
        state = [model.state, updater.state, mx.random.state]
        self._traced: set[tuple[Any, ...]] = set()
        self.plain: dict[str, Callable[..., Any]] = {
            "train": self._train_step,
            "micro": self._micro_step,
            "apply": self._apply_step,
        }
        compiled = partial(self._compiled, inputs=state, outputs=state)
        self.train, self.micro, self.apply = map(compiled, self.plain.values())
        self.evaluate = self._compiled(self._eval_step, inputs=[model.state])

    def _compiled(self, function: Callable[..., Any], **captured: Any) -> Callable[..., Any]:
        """Return a function compiled, so that its traces are counted; where steps run uncompiled, as it is."""
        if self.debug:
            return function

        def traced(*arguments: Any) -> Any:
            self.traces += 1
            return function(*arguments)

        return mx.compile(traced, **captured)

    def loss_sums(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, Arrays]:
        """Return the sum of the row losses by weight, the sum of the weights, and the sums of named numbers."""
        put_back, watch = lowered(model, self.precision), watching()
        if watch is not None:
            watch.computes()
        loss = self.parts.loss or self.forward.loss_of(model)
        rows, named = loss(self.forward.calling(model), handed_out(batch))
        if watch is not None:
            watch.saw_losses(rows, whole=True)
        sums = (rows * batch["weights"]).sum(), batch["weights"].sum(), summed(named, batch["weights"])
        put_back()
        return sums

    def _mean_loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array, Arrays]:
        total, weight, named = self.loss_sums(model, batch)
        # Dividing here and not after the gradient saves one pass over all parameters.
        return self._scaled(total / mx.maximum(weight, 1e-12)), total, weight, named

    def _sum_loss(self, model: Any, batch: Arrays) -> tuple[mx.array, mx.array, mx.array, Arrays]:
        total, weight, named = self.loss_sums(model, batch)
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
        flat, trained, watch = dict(_flat(self.model.parameters())), trainable_names(self.model), watching()
        if watch is not None:
            watch.saw_tree("weight", parameters, by="wrap_gradient")
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
        self._totals.append(total)
        gradients = {name: array.astype(mx.float32) for name, array in gradients.items()}
        gradients = self._unscaled(gradients, len(batch["weights"]))
        if watch is not None:
            watch.saw_tree("gradient", gradients)
        return total, weight, named, gradients

    def gradients(self, batch: Arrays, mean: bool) -> tuple[mx.array, mx.array, Arrays, Any]:
        """Return total, weight, named sums and the gradients, of the mean loss or of the total, with all wrappers."""
        master = self.model.trainable_parameters()
        if self.parts.wrapped is None:
            gradient = nn.value_and_grad(self.model, self._mean_loss if mean else self._sum_loss)
            (_, total, weight, named), gradients = gradient(self.model, batch)
            self._totals.append(total)
            gradients = self._unscaled(gradients, 1 if mean else len(batch["weights"]))
        else:
            total, weight, named, flat = self.parts.wrapped(handed_out(dict(_flat(master))), handed_out(batch))
            gradients = tree_map_with_path(lambda name, _: flat[name], master)
            if mean:
                gradients = self._divided(gradients, weight)
        self.model.update(master)
        if (watch := watching()) is not None:
            watch.saw_tree("gradient", gradients)
        self.named = list(named)
        return total, weight, named, gradients

    def _divided(self, gradients: Any, weight: mx.array) -> Any:
        scale = hoist(1 / mx.maximum(weight, 1e-12))
        return self.updater.map(lambda array: array * scale, gradients)

    def _train_step(self, batch: Arrays) -> mx.array:
        self._totals.clear()
        if self.parts.own is not None:
            return self._own_step(batch)
        total, weight, named, gradients = self.gradients(batch, mean=True)
        finite = all_finite(gradients, total, over=self.updater.map)
        return self._update(gradients, [total, weight, *named.values()], finite)

    def _micro_step(self, batch: Arrays, sums: Any) -> Any:
        """Add one batch's gradient sums, loss sum, weight and named sums to `sums`."""
        self._totals.clear()
        total, weight, named, gradients = self.gradients(batch, mean=False)
        found = {"gradients": gradients, "total": total, "weight": weight, "named": packed(named)}
        found["first"] = (self._totals or [total])[0]
        return tree_map(lambda a, b: a + b, sums, found)

    def _apply_step(self, _: Arrays, sums: Any) -> mx.array:
        """Update the parameters from the sums of a whole accumulation window."""
        self._totals[:] = [sums["first"]]
        finite = all_finite(sums["gradients"], sums["total"], over=self.updater.map)
        gradients = self._divided(sums["gradients"], sums["weight"])
        named = mx.split(sums["named"], len(sums["named"]))[: len(self.named)]
        return self._update(gradients, [sums["total"], sums["weight"], *(each.reshape(()) for each in named)], finite)

    def _update(self, gradients: Any, numbers: list[mx.array], finite: mx.array) -> mx.array:
        givers = {name: self.parts.givers.get(name, Maker("the loss")) for name in self.named}
        gradients, scalars = transformed(self.parts.transforms, gradients, givers, saw_changed)
        still = still_finite(finite, self.parts.transforms, gradients, self.updater.map)
        new, done = self.updater.applied(gradients, self.model.trainable_parameters(), still)
        self.model.update(new)
        saw_update(self.model)
        return self._committed(numbers, scalars, done, finite)

    def _own_step(self, batch: Arrays) -> mx.array:
        """Do the step that a plugin gave."""
        step, model, gradients = self.parts.own, self.model, partial(self.gradients, mean=True)
        optimizer = StepOptimizer(maker_of_step(step), self.updater, model, self.parts.transforms, gradients)
        total, weight, scalars, finite = own_step(step, model, optimizer, batch)
        self.named = []
        return self._committed([total, weight], scalars, finite, optimizer.came_finite)

    def _committed(self, numbers: list[mx.array], scalars: Arrays, done: mx.array, finite: mx.array) -> mx.array:
        """Let what follows an update follow it, and return all that the host reads; `finite` is before any change."""
        # A scale multiplies the loss: none mends one that is not finite itself. A later loss of the batch may come of
        # weights that were moved by a gradient which overflowed.
        overflowed = ~finite & mx.isfinite((self._totals or numbers)[0])
        scale = [] if self.updater.scale is None else [self.updater.scale.value]
        self.updater.follow(self.model.parameters(), done, overflowed)
        self._totals.clear()
        self.names = list(scalars)
        how = done.astype(mx.float32) - overflowed.astype(mx.float32) if scale else done.astype(mx.float32)
        return mx.stack([how, *scale, *numbers, *scalars.values()])

    def _eval_step(self, batch: Arrays) -> tuple[mx.array, mx.array, mx.array]:
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
        if self.debug:
            return self._first_call(function, batch, *more)
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
