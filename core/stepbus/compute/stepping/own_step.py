"""A whole training step of a plugin's, as it runs inside the compiled one; see the hook `training_step`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import PluginError, show_python
from stepbus.base.guards import Closed, Maker
from stepbus.compute.checks import all_finite, check_name, handed_out, shape_of, shown, still_finite, transformed
from stepbus.compute.stepping.training import check_tree
from stepbus.compute.stepping.updater import ParameterUpdater
from stepbus.compute.watching import saw_changed, saw_update, watching

Arrays = dict[str, mx.array]


class StepOptimizer(Closed, settable="came_finite"):
    """What a training step of a plugin's is given as `optimizer`: the engine's own gradient, and its update.

    Args:
        maker: Who made the step.
        updater: The optimizer of the fit.
        model: The model of the fit.
        transforms: Functions over gradients, in order; see the hook `transform_gradients`.
        gradients: Batch -> sum of the row losses by weight, sum of the weights, sums of named numbers, gradients of the
            mean.

    Attributes:
        step: The updates before this one, 0-d int32.
        learning_rate: The rate in use, 0-d float32.
    """

    def __init__(
        self,
        maker: Maker,
        updater: ParameterUpdater,
        model: Any,
        transforms: Sequence[Callable[[Any], Any]],
        gradients: Callable[[Arrays], tuple[mx.array, mx.array, Arrays, Any]],
    ) -> None:
        self._maker, self._updater, self._model = maker, updater, model
        self._transforms, self._gradients = transforms, gradients
        self.step: mx.array = updater.state["step"][...]
        self.learning_rate: mx.array = updater.state["learning_rate"][...]
        self._sums: list[tuple[mx.array, mx.array]] = []  # the mean losses that were given, with their sums
        self._named: Arrays = {}
        self._finite: mx.array | None = None
        self._closed = True

    def loss_and_gradients(self, batch: Arrays) -> tuple[mx.array, Any]:
        """Return the mean loss of a batch by its rows' weights, and its gradients, as the engine's own step does.

        Args:
            batch: Name -> array, `labels` and `weights` [B] among them.

        Returns:
            The loss, 0-d float32, and the gradients of what is trained, as a tree.
        """
        total, weight, named, gradients = self._gradients(batch)
        weight = mx.maximum(weight, 1e-12)
        mean = total / weight
        self._sums.append((mean, total))
        self._named |= {name: value / weight for name, value in named.items()}
        return mean, gradients

    def update(self, model: Any, gradients: Any) -> None:
        """Put the parameters of the model after one update into it; what plugins do to gradients comes before.

        Args:
            model: The model of the fit.
            gradients: The gradients of what is trained in it, as a tree.

        Raises:
            PluginFailure: It was called before in the same step, with another model, or the gradients are not those of
                what is trained.
        """
        if model is not self._model:
            got = f"another {type(model).__name__}" if type(model) is type(self._model) else show_python(model)
            raise self._maker.fault(f"optimizer.update: expected the model of the fit, got {got}")
        if self._finite is not None:
            raise self._maker.fault("optimizer.update was called twice in one step; add the gradients up before")
        if not isinstance(gradients, dict | list):
            got = shown(gradients) if isinstance(gradients, mx.array) else show_python(gradients)
            raise self._maker.fault(f"optimizer.update: expected the gradients as a tree of arrays, got {got}")
        try:
            check_tree(model.trainable_parameters(), gradients)
        except PluginError as error:
            raise self._maker.fault(str(error)) from None
        if (watch := watching()) is not None:
            watch.saw_tree("gradient", gradients, by=self._maker.said)
        finite = self.came_finite = all_finite(gradients, *(total for _, total in self._sums))
        known = dict.fromkeys(self._named, Maker("the loss"))
        changed, scalars = transformed(self._transforms, gradients, known, saw_changed)
        finite = still_finite(finite, self._transforms, changed)
        self._named |= scalars
        new, self._finite = self._updater.applied(changed, model.trainable_parameters(), finite)
        model.update(new)
        saw_update(model)

    def _done(self, loss: mx.array, weight: mx.array) -> tuple[mx.array, Arrays, mx.array]:
        """Return the sum of the loss by weight, named numbers, and whether the update was done.

        Args:
            loss: What it returned as the mean loss.
            weight: The sum of the weights.

        Raises:
            PluginFailure: There was no update.
        """
        if self._finite is None:
            raise self._maker.fault("expected its step to call optimizer.update(model, gradients), got no update")
        # A mean that was given here has a sum already, which no multiplication rounds.
        total = next((total for mean, total in self._sums if mean is loss), loss.astype(mx.float32) * weight)
        return total, self._named, self._finite


def maker_of_step(step: Any) -> Maker:
    """Return how messages name who made a step."""
    found: Maker = getattr(step, "maker", Maker("a function of training_step"))
    return found


def own_step(
    step: Any, model: Any, optimizer: StepOptimizer, batch: Arrays
) -> tuple[mx.array, mx.array, Arrays, mx.array]:
    """Return sum of the loss and of the weights, named numbers, and whether the update was done; called where traced.

    Args:
        step: The function, with whom it comes from in `maker`.
        model: The model.
        optimizer: What its `update` is called on, once.
        batch: The batch.

    Raises:
        PluginFailure: It raised, did no update, or gave something else than a loss.
    """
    maker = maker_of_step(step)
    weight = batch["weights"].sum()
    with maker.calling("its step"):
        found = step(model, optimizer, handed_out(batch))
    loss, named = found if isinstance(found, tuple) and len(found) == 2 else (found, {})
    if shape_of(loss) != ():
        got = shown(loss) if isinstance(loss, mx.array) else show_python(loss)
        raise maker.fault(f"expected its step to return the loss as an array of one number, got {got}")
    if not isinstance(named, Mapping):
        raise maker.fault(f"expected (loss, {{name: scalar array}}), got {show_python(named)} beside the loss")
    for name, value in named.items():
        check_name(maker, name)
        if shape_of(value) != ():
            got = shown(value) if isinstance(value, mx.array) else show_python(value)
            raise maker.fault(f"expected the scalar {name!r} as an array of one number, got {got}")
    if (watch := watching()) is not None:
        watch.saw_losses(loss, by=maker.said)
    total, known, finite = optimizer._done(loss, weight)
    if twice := sorted(named.keys() & known.keys()):
        raise maker.fault(f"expected a name of its own for a scalar, got {twice[0]!r}, which there is already")
    own = {name: value.astype(mx.float32) for name, value in named.items()}
    return total, weight, {**known, **own}, finite
