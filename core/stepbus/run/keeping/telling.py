"""Telling plugins of results: of each fit after its end, of each combination once it is made; over all resumes once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from stepbus.kernel import Run
from stepbus.storage import to_json

if TYPE_CHECKING:
    from stepbus.kernel import Bus, FitResult


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
