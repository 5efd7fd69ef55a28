"""A whole training step of a plugin's, as it runs inside the compiled one; see the hook `training_step`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import show_python
from stepbus.base.guards import Maker
from stepbus.compute.checks import check_name, shape_of, shown
from stepbus.compute.updater import ParameterUpdater

Arrays = dict[str, mx.array]


def own_step(step: Any, model: Any, updater: ParameterUpdater, batch: Arrays) -> tuple[mx.array, Arrays, mx.array]:
    """Return the loss of a step, its named numbers, and whether the update was done; called where it is traced.

    Args:
        step: The function, with whom it comes from in `maker`.
        model: The model.
        updater: The optimizer, whose `update` it calls once.
        batch: The batch.

    Raises:
        PluginFailure: It raised, did no update, or gave something else than a loss.
    """
    maker: Maker = getattr(step, "maker", Maker("a function of training_step"))
    updater.finite = None
    try:
        with maker.calling("its step"):
            found = step(model, updater, batch)
        finite = updater.finite
    finally:
        updater.finite = None
    if finite is None:
        raise maker.fault("expected its step to call optimizer.update(model, gradients), got no update")
    loss, named = found if isinstance(found, tuple) and len(found) == 2 else (found, {})
    if shape_of(loss) != ():
        got = shown(loss) if isinstance(loss, mx.array) else show_python(loss)
        raise maker.fault(f"expected its step to return the loss as an array of one number, got {got}")
    if not isinstance(named, Mapping):
        raise maker.fault(f"expected (loss, {{name: scalar array}}), got {show_python(named)} beside the loss")
    for name, value in named.items():
        check_name(maker, name)
        if shape_of(value) != ():
            raise maker.fault(f"expected the scalar {name!r} as an array of one number, got {shown(value)}")
    return loss.astype(mx.float32), {name: value.astype(mx.float32) for name, value in named.items()}, finite
