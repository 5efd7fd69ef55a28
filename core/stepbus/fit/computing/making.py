"""The optimizer and the compiled steps of a fit, whatever its batches and its model are."""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.base import show_python
from stepbus.base.guards import Maker
from stepbus.compute import CompiledSteps, Optimizer, ParameterUpdater
from stepbus.compute.checks import check_groups
from stepbus.fit.computing.alike import trace_keys
from stepbus.fit.seen import watched_rate

if TYPE_CHECKING:
    from stepbus.compute import Forward, Shared
    from stepbus.config import Config
    from stepbus.fit import Fitting


def new_optimizer(config: Config, session: Fitting, shared: Shared | None = None) -> ParameterUpdater:
    """Return the optimizer of a fit whose model is there, with the settings that plugins give single parameters.

    Args:
        config: The configuration.
        session: The fit.
        shared: What the fits of the run share.
    """
    from mlx.utils import tree_flatten

    groups: dict[str, dict[str, float]] = {}
    every: Any = tree_flatten(session.model.parameters())
    known = dict(every).keys()
    for given in session.bus.in_order("parameter_groups", trainer=session, model=session.model):
        check_groups(given, known, getattr(given, "maker", None))
        for name, group in given.items():
            own = groups.setdefault(name, {})
            scale = own.get("learning_rate_scale", 1.0) * group.get("learning_rate_scale", 1.0)
            own.update(group, learning_rate_scale=scale)
    settings, optimizer = config.optimizer.settings, config.optimizer.build_a(Optimizer)
    maker = config.optimizer.maker
    made = ParameterUpdater(optimizer, settings.learning_rate, settings.weight_decay, groups, maker)
    made.init(session.model.trainable_parameters(), frozen=known)
    return made if shared is None else shared.updater(made)


def new_steps(config: Config, session: Fitting, forward: Forward, shared: Shared | None = None) -> CompiledSteps:
    """Return the compiled functions of a fit.

    Args:
        config: The configuration.
        session: The fit; weights, optimizer state and restored values are in place.
        forward: What a model makes of a batch.
        shared: What the fits of the run share.
    """
    state, optimizer, (scheduler, *_) = session.state, session.optimizer, session.parts.values()
    transforms = list(session.bus.in_order("transform_gradients", trainer=session))
    maker = attrs.evolve(config.scheduler.maker, mend="mend it, or pick another scheduler.type")
    session.model.train()
    total = state.total_steps
    rate = watched_rate(lambda step, base: _rate(scheduler, step, total, base, maker), scheduler, session.bus, total)
    traced = None
    if shared is not None:
        traced = shared.traced(transforms, config.training.precision, forward, trace_keys(session.bus, session))
    return CompiledSteps(
        session.model,
        optimizer,
        transforms,
        rate=lambda step: rate(step, optimizer.learning_rate),
        seed=session.fit.seed,
        precision=config.training.precision,
        forward=forward,
        traced=traced,
    )


def _rate(scheduler: Any, step: int, total_steps: int, base: float, maker: Maker | None = None) -> float:
    """Return the learning rate of one update, from 0.

    Raises:
        PluginFailure: The schedule raised, `sys.exit` included, or gave no number that a rate can be.
    """
    maker = maker or Maker(f"the schedule {type(scheduler).__name__}", mend="mend it, or pick another scheduler.type")
    with maker.calling(f"its rate of update {step + 1}"):
        given = scheduler.rate(step, total_steps, base)
    number = isinstance(given, Real) and not isinstance(given, bool)
    if not number or not math.isfinite(given) or given < 0:
        expected = f"expected its rate of update {step + 1} as a finite number of at least 0"
        raise maker.fault(f"{expected}, got {show_python(given)}")
    return float(given)
