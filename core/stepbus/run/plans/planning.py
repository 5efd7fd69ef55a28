"""Planning a run: rows read, fits made, and every problem collected before anything is created or loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from stepbus.base import BadInput, ConfigError, DataError, ModelError
from stepbus.fit import exclusions
from stepbus.kernel import Bus, Fit, Run
from stepbus.run.plans import plan as plans
from stepbus.run.prediction import prediction_problems

if TYPE_CHECKING:
    from stepbus.base import Problem
    from stepbus.fit import FitBuilder, FitSession, Prototype
    from stepbus.kernel import Meter


class Planned(Run, Protocol):
    """A run, as its planning sees it.

    Attributes:
        bus: Its plugins of scope "run".
        members: The prototypes of its plugins, and of those who watch.
        planners: Those of its plugins alone.
        meter: What counts the time of plugins.
        store: What keeps it, see `stepbus.run.outer_loop.Store`.
    """

    bus: Bus
    members: list[Prototype]
    planners: list[Prototype]
    meter: Meter
    store: Any

    @property
    def builder(self) -> FitBuilder:
        """What makes the parts of each fit."""

    @property
    def first(self) -> FitSession:
        """The first fit, its data prepared."""

    def session_of(self, fit: Fit) -> FitSession:
        """Return the session of a fit, its data prepared."""


def plan_run(run: Planned) -> None:
    """Plan a run.

    Args:
        run: The run; its fits are set here.

    Raises:
        ConfigError: Every problem of the plan.
        DataError: Rows cannot be used.
        ModelError: What is known of the model before it is loaded cannot be used.
    """
    _refuse(exclusions(run.config, run.members))
    try:
        plan_fits(run)
        prepare_first(run)
    except (DataError, ModelError) as error:
        raise type(error)(str(run.config.place(error))) from error
    _refuse(plan_problems(run))


def plan_fits(run: Planned) -> None:
    """Read the rows and make the fits."""
    whole = Fit("fit", run.builder.sets(), run.config.training.seed)
    run.fits = run.bus.thread("expand_fits", run=run, fits=[whole])
    names = [fit.name for fit in run.fits]
    if len(set(names)) != len(names):
        raise BadInput(f"two fits of the plan have the same name: {', '.join(names)}")


def prepare_first(run: Planned) -> None:
    """Prepare the data of the first fit, and look at the rows of all of them."""
    run.builder.check(run.fits)
    session = run.session_of(run.fits[0])
    run.builder.check(run.fits, session.data)


def plan_problems(run: Planned) -> list[Problem]:
    """Return every problem of the plan, with file and line; the data of the first fit is prepared."""
    plan = plans.make_plan(run.first, run.fits)
    planners = Bus(run.members, meter=run.meter)
    problems = [problem for found in planners.in_order("validate_plan", plan=plan) for problem in found]
    problems += plans.plan_problems(plan, can_combine=Bus(run.planners).has("combine_results"))
    problems += prediction_problems(run.fits, can_predict=Bus(run.planners).has("combine_predictions"))
    problems += run.store.problems(run)
    return [run.config.locate(problem) for problem in dict.fromkeys(problems)]


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)
