"""The optimizer and the compiled steps of a fit, whatever its batches and its model are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.base import PluginFailure, StepbusError
from stepbus.compute import CompiledSteps, Optimizer, ParameterUpdater
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
    groups: dict[str, dict[str, float]] = {}
    for given in session.bus.in_order("parameter_groups", trainer=session, model=session.model):
        for name, group in given.items():
            own = groups.setdefault(name, {})
            scale = own.get("learning_rate_scale", 1.0) * group.get("learning_rate_scale", 1.0)
            own.update(group, learning_rate_scale=scale)
    settings = config.optimizer.settings
    optimizer = config.optimizer.build_a(Optimizer)
    made = ParameterUpdater(optimizer, settings.learning_rate, settings.weight_decay, groups)
    made.init(session.model.trainable_parameters())
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
    session.model.train()
    total = state.total_steps
    rate = watched_rate(lambda step, base: _rate(scheduler, step, total, base), scheduler, session.bus, total)
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


def _rate(scheduler: Any, step: int, total_steps: int, base: float) -> float:
    """Return the learning rate of one update, from 0.

    Raises:
        PluginFailure: The schedule raised, `sys.exit` included, or gave no number.
    """
    try:
        return float(scheduler.rate(step, total_steps, base))
    except (KeyboardInterrupt, MemoryError, StepbusError):
        raise
    except BaseException as error:
        words = f"expected its rate of update {step + 1} as a number, got {type(error).__name__}: {error}"
        raise PluginFailure(f"the schedule {type(scheduler).__name__}: {words}; pick another scheduler.type") from error
