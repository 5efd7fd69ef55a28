"""The optimizer and the compiled steps of a fit, whatever its batches and its model are."""

from __future__ import annotations

import math
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.base import show_python
from stepbus.base.guards import Maker, said_by
from stepbus.compute import CompiledSteps, Optimizer, ParameterUpdater
from stepbus.compute.checks import check_groups
from stepbus.compute.stepping import (
    Follower,
    Givers,
    Gradient,
    StepParts,
    checked_gradient,
    checked_loss,
    inner_gradient,
    inner_loss,
    set_trained,
)
from stepbus.compute.watching import note_masks
from stepbus.device import choice
from stepbus.fit.computing.alike import trace_keys
from stepbus.fit.computing.explaining import told
from stepbus.fit.computing.phases import late_ones, phase_at, union
from stepbus.fit.exporting import thaw
from stepbus.fit.seen import watched_rate
from stepbus.fit.using import checked_averages

if TYPE_CHECKING:
    from stepbus.compute import Forward, Shared
    from stepbus.config import Config
    from stepbus.fit import Fitting


def new_optimizer(config: Config, session: Fitting) -> ParameterUpdater:
    """Return the optimizer of a fit whose model is there, with the settings that plugins give single parameters.

    Args:
        config: The configuration.
        session: The fit.
    """
    from mlx.utils import tree_flatten, tree_unflatten

    groups: dict[str, dict[str, float]] = {}
    every: Any = tree_flatten(session.model.parameters())
    known = dict(every).keys()
    for given in session.bus.in_order("parameter_groups", trainer=session, model=session.model):
        check_groups(given, known, getattr(given, "maker", None))
        for name, group in given.items():
            own = groups.setdefault(name, {})
            scale = own.get("learning_rate_scale", 1.0) * group.get("learning_rate_scale", 1.0)
            own.update(group, learning_rate_scale=scale)
    phases, flat = session.phases, dict(every)
    trained = [(name, flat[name]) for name in union(phases)]
    settings, optimizer = config.optimizer.settings, config.optimizer.build_a(Optimizer)
    maker = config.optimizer.maker
    scaled = choice.effective_precision(config.training.precision) == "float16"
    made = ParameterUpdater(optimizer, settings.learning_rate, settings.weight_decay, groups, maker, scaled=scaled)
    made.init(tree_unflatten(trained), frozen=known, late=late_ones(phases))
    return made


def followed_optimizer(session: Fitting, shared: Shared | None = None) -> ParameterUpdater:
    """Return the optimizer of a fit with all that follows its weights, from where these stand; see `after_update`.

    Args:
        session: The fit, with model and optimizer.
        shared: What the fits of the run share.
    """
    found: list[Follower] = []
    for member in session.bus.members_with("after_update"):
        always = said_by(member.plugin, "follows_skipped", member.label)
        for arrays, function, *weights in session.bus.asking(member.name, "after_update")(trainer=session):
            maker = Maker(f"{member.label}: after_update", mend=f"mend it, or switch {member.name} off")
            found.append(Follower(member.name, maker, arrays, function, weights[0] if weights else None, always))
    made: ParameterUpdater = session.optimizer
    made.follow_with(found)
    session.averages = checked_averages(session)
    made.averages.offered(made.trained(session.model))
    return made if shared is None else shared.updater(made)


def new_steps(config: Config, session: Fitting, forward: Forward, shared: Shared | None = None) -> CompiledSteps:
    """Return the compiled functions of a fit.

    Args:
        config: The configuration.
        session: The fit; weights, optimizer state and restored values are in place.
        forward: What a model makes of a batch.
        shared: What the fits of the run share.
    """
    try:
        return _new_steps(config, session, forward, shared)
    except BaseException:
        thaw(session)  # nobody comes to the end of this fit, and the model may be the caller's
        raise


def _new_steps(config: Config, session: Fitting, forward: Forward, shared: Shared | None) -> CompiledSteps:
    state, optimizer, (scheduler, *_) = session.state, session.optimizer, session.parts.values()
    phase = phase_at(session.phases, state.step)
    set_trained(session.model, session.phases[phase])
    parts = _parts(session, forward)
    maker = attrs.evolve(config.scheduler.maker, mend="mend it, or pick another scheduler.type")
    session.model.train()
    total = state.total_steps
    rate = watched_rate(lambda step, base: _rate(scheduler, step, total, base, maker), scheduler, session.bus, total)
    if "steps" not in vars(session):  # of its first phase: what training makes of weights is no mask
        note_masks(session.model)
    traced = None
    debug, precision = config.environment.debug, choice.effective_precision(config.training.precision)
    if shared is not None and not debug:
        keys = trace_keys(session.bus, session)
        traced = shared.traced(parts, (phase, session.phases[phase]), precision, forward, keys)
    return CompiledSteps(
        session.model,
        optimizer,
        parts,
        rate=lambda step: rate(step, optimizer.learning_rate),
        seed=session.fit.seed,
        precision=precision,
        forward=forward,
        traced=traced,
        debug=debug,
        tell=lambda found: told(session, found),
    )


def scoring_steps(config: Config, session: Fitting, forward: Forward) -> CompiledSteps:
    """Return compiled functions that score and predict, and train nothing.

    Args:
        config: The configuration.
        session: The fit, with the model that is exported.
        forward: What a model makes of a batch.
    """
    unused = ParameterUpdater(config.optimizer.build_a(Optimizer), 0.0)
    return CompiledSteps(session.model, unused, StepParts(), rate=lambda step: 0.0, seed=0, forward=forward)


def _parts(session: Fitting, forward: Forward) -> StepParts:
    """Return what plugins make of a step from where the fit stands."""
    bus, makers = session.bus, dict[str, Maker]()
    # Wrappers of the loss are called while those of the gradient are: each kind has its own calls.
    of_loss, of_gradient = Givers(makers), Givers(makers)
    gradient = Gradient(of_gradient)
    loss, value_and_grad = inner_loss(forward.loss_of(session.model)), inner_gradient(gradient)
    given: list[Any] = []

    def told(_: str, function: Any) -> None:
        given.append(function)

    of = partial(checked_loss, givers=of_loss)
    wrapped_loss = bus.thread("wrap_loss", told=told, between=of, trainer=session, loss=loss)
    between = partial(checked_gradient, givers=of_gradient)
    wrapped = bus.thread("wrap_gradient", told=told, between=between, trainer=session, value_and_grad=value_and_grad)
    transforms = list(bus.in_order("transform_gradients", trainer=session))
    own = bus.hook.training_step(trainer=session)
    given += [*transforms, *([] if own is None else [own])]
    return StepParts(
        transforms=transforms,
        loss=None if wrapped_loss is loss else wrapped_loss,
        gradient=gradient,
        wrapped=None if wrapped is value_and_grad else wrapped,
        own=own,
        given=[(each.maker, each.function) for each in given],
        givers=makers,
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
