"""The sets of a plan that are only predicted, and who combines what its fits say of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stepbus.base import Problem, listed
from stepbus.kernel import Fit, grown_axes, hooks_of
from stepbus.run.plans.growing import ranked

if TYPE_CHECKING:
    from stepbus.fit import Prototype
    from stepbus.run.plans.axes import Grown

PREDICTS = "combine_predictions"


def taking_part(fits: Sequence[Fit]) -> list[Fit]:
    """Return the fits whose predictions are the run's."""
    return [fit for fit in fits if not fit.auxiliary]


def predicted_sets(fits: Sequence[Fit]) -> list[str]:
    """Return the sets that every fit which takes part predicts and none scores."""
    every = taking_part(fits)
    return [
        name
        for name in (every[0].sets if every else ())
        if all(name in fit.sets and not fit.is_labelled(name) for fit in every)
    ]


def unpredicted(whole: Fit, fits: Sequence[Fit]) -> list[str]:
    """Return a sentence for each set that a run was asked to predict and that its plan loses on the way.

    Args:
        whole: The fit that plugins made the plan of.
        fits: The plan.
    """
    found = []
    for name in sorted({*predicted_sets([whole])} - {*predicted_sets(fits)}):
        without = [fit.name for fit in taking_part(fits) if name not in fit.sets or fit.is_labelled(name)]
        found.append(
            f"the run will say nothing of the {name} rows, because not all of its fits predict them: "
            f"{listed(without)} {'does' if len(without) == 1 else 'do'} not; a plugin that gives a fit other sets "
            "keeps the others: evolve(fit, sets={**fit.sets, …})"
        )
    return found


def prediction_problems(fits: Sequence[Fit], grown: Sequence[Grown], members: Sequence[Prototype]) -> list[Problem]:
    """Return a problem for each axis of a plan along which nobody combines what its fits predict.

    Args:
        fits: The plan.
        grown: The axes that plugins declare.
        members: The prototypes of the run.
    """
    names, by_name, problems = predicted_sets(fits), {member.name: member for member in members}, []
    known = {each.axis.name: each for each in grown}
    for axis in grown_axes(fits, ranked(each.axis for each in grown)) if names else ():
        member = by_name.get(known[axis].combiner) if axis in known else None  # without one, something else is said
        if member is not None and PREDICTS not in hooks_of(member.plugin, member.label):
            message = (
                f"{member.label} combines the fits along {axis}, which predict {names[0]} rows, and has no {PREDICTS}; "
                f"write it (return stepbus.mean_predictions(predictions)), or leave data.{names[0]} out"
            )
            problems.append(Problem(f"plugins.{member.name}", message))
    return problems
