"""What the fits of a run make together: their results combined along each axis, innermost first."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from attrs import evolve

from stepbus.base import PluginFailure, as_written
from stepbus.base.guards import as_read_only, hand_over
from stepbus.kernel import Run, groups_along, grown_axes
from stepbus.kernel.fits import with_parts
from stepbus.run.keeping import tell_combined
from stepbus.run.plans import declared, ranked

if TYPE_CHECKING:
    from stepbus.fit import Prototype
    from stepbus.kernel import Bus, FitResult
    from stepbus.run.plans import Grown


class Combined(Run, Protocol):
    """A run, as combining sees it: `bus` holds its plugins of scope "run", `planners` the prototypes of all."""

    bus: Bus
    store: Any
    planners: list[Prototype]


def combine(run: Combined) -> FitResult:
    """Return the result of a run whose fits are done; auxiliary ones are in no combination.

    Args:
        run: The run.

    Raises:
        PluginFailure: Who is to combine an axis gives nothing.
    """
    grown = {each.axis.name: each for each in declared(run.planners)}
    results = [result for result in run.results if not result.fit.auxiliary]
    for axis in grown_axes(run.fits, ranked(each.axis for each in grown.values())):
        # Who has no place on it, and nobody beside who has one, waits for an outer axis.
        results = [
            _combined(run, grown[axis], group) if any(axis in result.fit.scope for result in group) else group[0]
            for group in groups_along(axis, results)
        ]
    (result,) = results
    # Also of one fit alone, what a run gives lies in the run's folder.
    return evolve(result, directory=run.directory, next_command=run.next_command)


@contextmanager
def goes_on_from_fits(run: Combined) -> Iterator[None]:
    """Say of a failure after the last fit that none of them has to be trained again.

    Args:
        run: The run, its fits done.
    """
    try:
        yield
    except PluginFailure as error:
        error.add_note(
            "the fits are done and kept: mend the plugin, and `stepbus train … --resume "
            f"{shlex.quote(as_written(str(run.directory)))} --allow-changed` takes them as they are"
        )
        raise


def _combined(run: Combined, grown: Grown, group: Sequence[FitResult]) -> FitResult:
    """Return one result in place of those of a group, which differ in one axis."""
    axis = grown.axis.name
    ask = run.bus.asking(grown.combiner, "combine_results")
    result: FitResult | None = ask(run=run, axis=axis, results=as_read_only(list(group)))
    label = next(member.label for member in run.planners if member.name == grown.combiner)
    if result is None:
        fits = ", ".join(each.fit.name for each in group)
        raise PluginFailure(
            f"{label}: combine_results gave nothing for {fits} along {axis}, which it is to combine; return a "
            "stepbus.FitResult"
        )
    if not result.predictions and any(part.predictions for part in group):
        raise PluginFailure(
            f"{label}: combine_results gave a result without predictions for {axis}s that have some; return "
            "stepbus.FitResult(…, predictions={…}), for what comes after works with them"
        )
    scope = {name: place for name, place in group[0].fit.scope.items() if name != axis}
    whole = with_parts(evolve(result, fit=evolve(result.fit, scope=scope)), group)
    hand_over(whole)
    tell_combined(run, axis, whole)
    return whole
