"""Planning a run: rows read, fits made, and every problem collected before anything is created or loaded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve

from stepbus.base import ConfigError, DataError, ModelError, Problem
from stepbus.fit import disabled_of, exclusions, rehearse
from stepbus.fit.using import averaging_problems
from stepbus.kernel import Bus, Fit, Run
from stepbus.run.plans import plan as plans
from stepbus.run.plans import seen_rows
from stepbus.run.plans.alike import alike
from stepbus.run.plans.axes import axes_problems, declared, declared_problems, unasked, ungrown
from stepbus.run.plans.checks import Makers, fits_problems, in_order
from stepbus.run.plans.own_steps import own_step_problems
from stepbus.run.plans.predicted import prediction_problems, unpredicted

if TYPE_CHECKING:
    from stepbus.base import Selected
    from stepbus.fit import FitBuilder, FitSession, Prototype
    from stepbus.kernel import Meter
    from stepbus.run.plans.variants import Variants


class Planned(Run, Protocol):
    """A run, as its planning sees it.

    Attributes:
        bus: Its plugins of scope "run".
        members: The prototypes of its plugins, and of those who watch.
        planners: Those of its plugins alone.
        variants: What the fits are made with.
        meter: What counts the time of plugins.
        store: What keeps it, see `stepbus.run.outer_loop.Store`.
        notes: What a user should know before the first fit starts.
    """

    bus: Bus
    members: list[Prototype]
    planners: list[Prototype]
    variants: Variants
    meter: Meter
    store: Any
    notes: list[str]

    @property
    def builder(self) -> FitBuilder:
        """What makes the parts of each fit without overrides."""

    @property
    def main(self) -> Fit:
        """The first fit that predicts for the run."""

    @property
    def first(self) -> FitSession:
        """The session of that fit, its data prepared."""

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
    """Read the rows and make the fits, in the order in which they are done.

    Raises:
        ConfigError: What is wrong with the fits; where each is sound by itself, they are the run's all the same.
    """
    grown = declared(run.planners)
    _refuse([run.config.locate(problem) for problem in declared_problems(grown)])
    whole = Fit("fit", run.builder.sets(), run.config.training.seed)
    makers = Makers(run.planners)
    fits = list(run.bus.thread("expand_fits", told=makers.note, run=run, fits=[whole]))
    problems = fits_problems(fits, makers, tuple({type(rows) for rows in whole.sets.values()}))
    _refuse([run.config.locate(problem) for problem in dict.fromkeys(problems)])
    run.fits = in_order(fits)
    for fit in run.fits:
        fit.seal()
    problems += axes_problems(grown, makers, run.fits)
    problems += run.variants.problems(run.fits, makers.problem)
    problems += prediction_problems(run.fits, grown, run.planners)
    _refuse([run.config.locate(problem) for problem in dict.fromkeys(problems)])
    run.notes = unpredicted(whole, run.fits)


def prepare_first(run: Planned) -> None:
    """Prepare the data of the first fit that is not auxiliary, and look at the rows of all of them."""
    for group in run.variants.groups(run.fits):
        # Fits of one run know the same classes, whatever else they override.
        known = [] if all(fit.auxiliary for fit in group) else [run.main]
        run.variants.of(group[0]).builder.check([*known, *(fit for fit in group if fit is not run.main)])
    session = run.session_of(run.main)
    # Rows that plugins prepare are looked at when they are: before that they may lack what their texts need.
    session.builder.check([run.main] if session.bus.has("prepare_data") else _groups(run)[0], session.data)


def _groups(run: Planned) -> list[list[Fit]]:
    """Return the fits by what they are made with, those like the main one first, and it at their head."""
    return run.variants.groups([run.main, *(fit for fit in run.fits if fit is not run.main)])


def plan_problems(run: Planned) -> list[Problem]:
    """Return every problem of the plan, with file and line; the data of the first fit is prepared."""
    first, *others = _groups(run)
    problems = [run.config.locate(problem) for problem in _problems_of(run, run.first, first, run.members)]
    problems += [run.config.locate(problem) for problem in run.store.problems(run)]
    grown = declared(run.planners)
    run.notes += [*run.first.builder.notes(run.first, first), *unasked(grown, run.planners), *ungrown(grown, run.fits)]
    run.notes += alike(run.fits, fills=run.bus.has("fill_fit"))
    problems += [run.config.locate(problem) for problem in _unfit_starts(run)]
    for group in others:
        # Each variant is tried on the rows of its first fit, as far as they are known.
        variant, words = run.variants.of(group[0]), f"; so fit {group[0].name!r} would have it, by its overrides"
        try:
            session = run.session_of(group[0])
            variant.builder.check(group, session.data)
        except (DataError, ModelError) as error:
            problems.append(Problem("", f"{error}{words}"))
            continue
        asked = [member for member in variant.members if member.scope == "fit"]
        found = [variant.config.locate(problem) for problem in _problems_of(run, session, group, asked)]
        problems += [evolve(problem, message=problem.message + words) for problem in found if problem not in problems]
        run.notes += [note for note in variant.builder.notes(session, group) if note not in run.notes]
    run.notes += seen_rows.sentences(run.fits, lambda fit: run.variants.of(fit).builder.start())
    if not problems:  # settings that mean nothing are told as such, before a metric is asked with them
        try:
            rehearse(run.first.metrics, run.first.data, run.first.fit)
        except ConfigError as error:  # a setting that only predictions tell to be wrong
            problems += [run.config.locate(problem) for problem in error.problems]
    return list(dict.fromkeys(problems))


def _unfit_starts(run: Planned) -> Iterator[Problem]:
    """Yield a problem for each fit whose encoder has no place for the weights of the fit that it starts from."""
    fits = {fit.name: fit for fit in run.fits}
    for fit in run.fits:
        if fit.starts_from not in fits:
            continue
        sections = [run.variants.of(each).config.model for each in (fits[fit.starts_from], fit)]
        there, here = (_shapes(section) for section in sections)
        for name in sorted(there.keys() | here.keys()) if there and here else ():
            if there.get(name) != here.get(name):
                yield Problem(
                    "model",
                    f"fit {fit.name!r} starts from {fit.starts_from!r}, and overrides make other encoders of them: "
                    f"expected {name!r} of shape {there.get(name, 'none')}, got {here.get(name, 'none')}",
                )
                break


def _shapes(section: Selected) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an encoder's parameters, as far as its component says them without reading weights."""
    say = section.component.metadata.get("shapes")
    return {} if say is None else dict(say(section.settings))


def _problems_of(run: Planned, session: FitSession, fits: list[Fit], members: list[Prototype]) -> list[Problem]:
    """Return what plugins and core find wrong with the fits of one configuration, of which a session is the first."""
    plan = plans.make_plan(session, fits)
    planners = Bus(members, meter=run.meter)
    planners.on_disabled, planners.locate = run.bus.on_disabled, session.config.locate
    problems = [problem for found in planners.in_order("validate_plan", plan=plan) for problem in found]
    for member in session.bus.members:  # it has its own since its data was prepared
        member.disabled = member.disabled or disabled_of(members).get(member.name, "")
    problems += averaging_problems(session.config, session.members)
    problems += own_step_problems(session.config, session.members)
    return list(dict.fromkeys([*problems, *plans.plan_problems(plan)]))


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise ConfigError(problems)
