"""What the fits of a run make together: their results combined along each axis, innermost first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stepbus.base import PluginFailure, hand_over, read_only
from stepbus.kernel import Run, groups_along, grown_axes

if TYPE_CHECKING:
    from stepbus.kernel import Bus, FitResult


class Combined(Run, Protocol):
    """A run, as combining sees it; `bus` holds its plugins of scope "run"."""

    bus: Bus


def combine(run: Combined) -> FitResult:
    """Return the result of a run whose fits are done.

    Args:
        run: The run.
    """
    results = run.results
    for axis in grown_axes(run.fits):
        results = [
            run.bus.hook.combine_results(run=run, axis=axis, results=read_only(group))
            for group in groups_along(axis, results)
        ]
        for result in results:
            if result is None:
                raise PluginFailure(
                    f"combine_results: expected a result for the {axis}s from one plugin, got None from each; let the "
                    "plugin that grows this axis combine it"
                )
            hand_over(result)
    (result,) = results
    return result
