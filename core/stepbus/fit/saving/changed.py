"""What a fit that goes on under other settings makes of what was kept under the old ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.fit import best_weights
from stepbus.kernel import Best

if TYPE_CHECKING:
    from stepbus.fit import Fitting


def go_on_with(session: Fitting, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Let the settings of now count where a checkpoint brought back what followed from others.

    Args:
        session: The fit, whose checkpoint was put back.
        was: The facts of the checkpoint.
        now: Those of the fit.
    """
    before, after = was.get("config", {}), now.get("config", {})
    _take_rate(session, before, after)
    best = session.state.best
    if best is not None and (why := _incomparable(session, was, now, best)):
        best_weights.forget(session, why)
    elif best is not None and best.metric != session.monitor:
        _choose_again(session, best)


def tell_epochs(session: Fitting, per_epoch: int, total: int) -> None:
    """Say how many epochs come of it where an epoch has another number of updates than before.

    Args:
        session: The fit, whose state is that of its checkpoint.
        per_epoch: The updates of an epoch now; 0 where nobody can count them.
        total: The updates of the whole fit, as they are planned now.
    """
    state, asked = session.state, session.config.training
    if not per_epoch or not state.steps_per_epoch or state.steps_per_epoch == per_epoch or asked.max_steps is not None:
        return
    done, wanted = state.epoch + state.step_in_epoch / state.steps_per_epoch, total / per_epoch
    comes = done + max(total - state.step, 0) / per_epoch
    if abs(comes - wanted) < 0.005:
        return
    needed = state.step + round(max(wanted - done, 0) * per_epoch)
    session.message(
        f"an epoch has {per_epoch} updates now, and had {state.steps_per_epoch} before step {state.step}; a fit counts "
        f"updates, and with the {total} of this plan it ends after {comes:.3g} epochs in place of {wanted:.3g}: "
        f"training.max_steps: {needed} trains as many epochs as were asked for",
        "warning",
    )


def _take_rate(session: Fitting, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Take the learning rate that is set now, where it, or what may have lowered it, is another one."""
    optimizer, rate = session.optimizer, after.get("optimizer", {}).get("learning_rate")
    same_rate = before.get("optimizer", {}).get("learning_rate") == rate
    same_scheduler = _kind(before.get("scheduler")) == _kind(after.get("scheduler"))
    if rate is None or (same_rate and same_scheduler) or optimizer.learning_rate == rate:
        return
    session.message(
        f"the base learning rate is {rate:g} from here on, as it is set now; it was {optimizer.learning_rate:g}"
    )
    optimizer.learning_rate = rate


def _kind(section: Any) -> Any:
    return section.get("type") if isinstance(section, Mapping) else section


def _incomparable(session: Fitting, was: Mapping[str, Any], now: Mapping[str, Any], best: Best) -> str:
    """Return why the best value so far cannot be compared with those that come, or ""."""
    name, rows = session.fit.monitored, (was.get("data", {}), now.get("data", {}))
    if name is not None and not best.metric.startswith("train_") and rows[0].get(name) != rows[1].get(name):
        return f"was of other rows of {name}"
    if best.metric.endswith("loss") and was.get("config", {}).get("loss") != now.get("config", {}).get("loss"):
        return "was of another loss"
    return ""


def _choose_again(session: Fitting, best: Best) -> None:
    """Find the best evaluation by another metric than before, where its weights are there or nobody wants them."""
    monitor, greater, state = session.monitor, session.directions.get(session.monitor), session.state
    said = {record["step"]: record[monitor] for record in state.history if monitor in record}
    values = {step: value for step, value in said.items() if value == value}
    if greater is None or not values:
        return best_weights.forget(session, f"is not by {monitor}")
    step = (max if greater else min)(values, key=values.__getitem__)
    if best_weights.wanted(session) and step not in (best.step, state.step):
        why = f"is not by {monitor}, whose best ({values[step]:.6g} at step {step}) has no weights that were kept"
        return best_weights.forget(session, why)
    state.best = Best(monitor, values[step], step)
    best_weights.keep(session)
    return None
