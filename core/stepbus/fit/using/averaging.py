"""The weights that count, for as long as somebody looks at them: training goes on with the model's own.

Where a plugin (the hook `after_update`) or the optimizer averages the weights, the averages are evaluated, chosen as
best and exported. They are put into the model for that and taken out again, and at the end of a fit they stay in it, or
those of the best evaluation do; from then on nobody is asked for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stepbus.base import Asker, PluginError
from stepbus.fit import tensors_of
from stepbus.fit.using.providers import DECLARED, IN_METADATA, averages_of

if TYPE_CHECKING:
    from stepbus.fit import Fitting


def checked_averages(session: Fitting) -> bool:
    """Return whether anybody averages the weights of a fit, once its optimizer is whole; see `Fitting.averages`.

    Args:
        session: The fit.

    Raises:
        PluginError: Somebody does of whom the plan did not know, or several do.
    """
    averages = session.optimizer.averages
    members = {member.name: member for member in session.bus.members}
    who = []
    for each in averages.plugins:
        member = members[each.name]
        if not averages_of(member.plugin, member.label):
            place = Asker.of(member.plugin, member.name, member.label, "after_update").place
            raise PluginError(
                f"{member.label}: after_update gives weights to evaluate, and does not declare that it may; write "
                f"{DECLARED} in {place}"
            )
        who.append(member.name)
    if averages.optimizer is not None:
        if not session.config.optimizer.component.metadata.get("averages"):
            words = f"it has weights(parameter, state), and does not declare it; write {IN_METADATA} in its Component"
            raise averages.optimizer.fault(words, PluginError)
        who.append(f"optimizer.type: {session.config.optimizer.name}")
    if len(who) > 1:  # which the plan said, where it knew all of them
        raise PluginError(f"expected one that averages the weights, got {' and '.join(who)}; leave one of them")
    if who and (running := _running(session.model)):
        session.message(
            f"{who[0]} averages what is trained, which the running means of {running} are not: averaged weights are "
            "evaluated and exported with those that the weights of training left",
            "warning",
        )
    return bool(who)


@contextmanager
def weights_in_use(session: Fitting) -> Iterator[None]:
    """Have the weights in the model that are evaluated; afterwards those are back that training goes on with.

    No hook that watches is called meanwhile: who looks at the model there, saves or loads it, meets those of training.

    Args:
        session: The fit.
    """
    if not session.averages:
        yield
        return
    own = _put_averages(session)
    try:
        yield
    finally:
        _update(session.model, own)


def tensors_in_use(session: Fitting) -> dict[str, Any]:
    """Return the weights that are evaluated, by their names in files."""
    with weights_in_use(session):
        return tensors_of(session.model)


def settle(session: Fitting) -> None:
    """Leave the weights in the model that are evaluated; from now on they are its own.

    Args:
        session: The fit, at its end.
    """
    if session.averages:
        _put_averages(session)
        session.averages = False
        session.not_of_step = "the averages of the weights were put in their place"


def settle_at_last(session: Fitting) -> list[BaseException]:
    """Do the same for a fit that was cut; one that failed keeps the weights of training.

    Args:
        session: The fit.

    Returns:
        What was raised.
    """
    try:
        if session.cut:
            settle(session)
    except Exception as error:
        return [error]
    finally:
        session.averages = False
    return []


def begin_averages(session: Fitting) -> None:
    """Let averages begin anew with the present weights, which came without what was averaged before.

    Args:
        session: The fit; where it stands is put back already.
    """
    optimizer = session.optimizer
    told = optimizer.on_change
    optimizer.averages.begin(optimizer.trained(session.model))
    session.builder.followed(session)
    optimizer.on_change = told  # which fits that share an optimizer begin without


def _running(model: Any) -> str:
    """Return the name of a module that keeps running means, or "" where there is none."""
    import mlx.nn as nn

    found = [
        name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm) and "running_mean" in module
    ]
    return found[0] if found else ""


def _put_averages(session: Fitting) -> dict[str, Any]:
    """Put averages into the model, and return what they replace."""
    own = session.optimizer.trained(session.model)
    found = session.optimizer.averages.of(own)
    _update(session.model, found)
    return {name: own[name] for name in found}


def _update(model: Any, parameters: dict[str, Any]) -> None:
    from mlx.utils import tree_unflatten

    model.update(tree_unflatten(list(parameters.items())))
