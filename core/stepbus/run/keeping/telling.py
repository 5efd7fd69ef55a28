"""Telling plugins of results: of each fit after its end, of each combination once it is made; over all resumes once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from stepbus.base import listed
from stepbus.kernel import Run
from stepbus.run.keeping.linking import CHECKPOINTS
from stepbus.storage import checkpoints, to_json

if TYPE_CHECKING:
    from collections.abc import Container

    from stepbus.kernel import Bus, Fit, FitResult
    from stepbus.run.keeping.delivery import Deliveries


class Telling(Run, Protocol):
    """A run, as its results are told.

    Attributes:
        bus: Its plugins of scope "run".
        store: What keeps it, see `stepbus.run.outer_loop.Store`.
    """

    bus: Bus
    store: Any


def tell_fit(run: Telling, result: FitResult) -> None:
    """Tell of a fit that is done, unless an earlier process has.

    Args:
        run: The run.
        result: What came out of the fit.
    """
    what = f"fit {result.fit.name}"
    if not run.store.is_told(what):
        run.bus.hook.on_fit_result(run=run, result=result)
        run.store.note_told(run, what)


def tell_combined(run: Telling, axis: str, result: FitResult) -> None:
    """Tell of fits that were combined, unless an earlier process has.

    Args:
        run: The run.
        axis: What they differ in.
        result: What they came to; its scope is their place on the other axes.
    """
    what = f"axis {axis} {to_json(dict(sorted(result.fit.scope.items())))}"
    if not run.store.is_told(what):
        run.bus.hook.on_result(run=run, axis=axis, result=result)
        run.store.note_told(run, what)


def forget_undone(run: Run, deliveries: Deliveries, done: Container[str]) -> None:
    """Take back that plugins were told of a fit that is gone, and of what came after it in the plan.

    Where its checkpoints are gone as well, or the plan has it no more, nobody knows what plugins remembered before it,
    and they start anew.

    Args:
        run: A run that is resumed; its plugins have not got their memory back yet.
        deliveries: What was told in it.
        done: The names of the fits that the ledger has.
    """
    planned = {fit.name: fit for fit in run.fits}
    strange = [name for name in deliveries.fits if name not in planned]
    undone = [fit for name, fit in planned.items() if name in deliveries.fits and name not in done]
    if not strange and not undone:
        return
    if not strange and checkpoints.scan(run.directory_of(undone[0]) / CHECKPOINTS):
        forget_from(run, deliveries, undone[0])
        return
    gone = [name for name in deliveries.forget(deliveries.fits) if name in planned]
    why = f"the plan has no {listed(strange)} any more" if strange else f"{undone[0].name} is done again"
    run.message(
        f"{why}, and what plugins remembered before is not known: they start anew"
        + (f", and are told again of {listed(gone)}" if gone else ""),
        "warning",
    )


def forget_from(run: Run, deliveries: Deliveries, first: Fit) -> None:
    """Take back that plugins were told of a fit that goes on from its checkpoint, and of what came after it.

    The checkpoint gives back what they remembered then, which has nothing of the later fits: they hear of those again.

    Args:
        run: The run.
        deliveries: What was told in it.
        first: The fit.
    """
    gone = deliveries.forget(fit.name for fit in run.fits[run.fits.index(first) :])
    if later := [name for name in gone if name != first.name]:
        run.message(
            f"{first.name} goes on from its checkpoint, and so does what plugins remember: they are told again of "
            f"{listed(later)}, whose updates they have forgotten",
            "warning",
        )
