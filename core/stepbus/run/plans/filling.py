"""Filling a fit: what it needs of the results of others, once those are there."""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import TYPE_CHECKING

from stepbus.base import DataError, PluginError, listed
from stepbus.kernel import Fit
from stepbus.run.plans.checks import cut

if TYPE_CHECKING:
    from stepbus.run.plans.planning import Planned

HOOK = "fill_fit"
# What a fit is, which the plan has said.
FIXED = ("name", "seed", "scope", "roles", "overrides", "starts_from", "after", "auxiliary")


def fill(run: Planned, fit: Fit) -> Fit:
    """Return a fit with what plugins add to its rows now that the fits are done that it comes after.

    Args:
        run: The run.
        fit: The fit.

    Raises:
        PluginError: A plugin changed what the plan has said of it.
        DataError: Its rows cannot be used.
    """
    done = {result.fit.name: result for result in run.results}
    results = MappingProxyType({name: done[name] for name in fit.after})
    before = fit

    def check(name: str, filled: Fit) -> None:
        label = next((member.label for member in run.members if member.name == name), name)
        for wrong in _changes(before, filled):
            raise PluginError(f"{label}: {HOOK}: fit {before.name!r}: {wrong}")

    filled: Fit = run.bus.thread(HOOK, told=check, run=run, fit=fit, results=results)
    if filled is not fit:
        builder, first = run.variants.of(fit).builder, run.main
        try:
            builder.check([filled] if fit.auxiliary else [first, filled])
        except DataError as error:
            raise DataError(f"{error}; so it is filled by {listed(fillers(run))}") from error
    return filled


def _changes(before: Fit, filled: Fit) -> Iterator[str]:
    """Yield what differs of a filled fit that the plan has said, and rows that are none."""
    for name in FIXED:
        was, now = getattr(before, name), getattr(filled, name)
        if was != now:
            yield f"expected {name} as in the plan, {cut(was)}, got {cut(now)}; leave it, or change it in expand_fits"
    if [*before.sets] != [*filled.sets]:
        got = listed(filled.sets) or "none"
        yield f"expected the sets {listed(before.sets)}, got {got}; add rows to those there are"
        return
    for name, rows in filled.sets.items():
        kind, was = type(before.sets[name]), before.sets[name]
        if not isinstance(rows, kind):
            yield f"sets.{name}: expected {kind.__name__}, got {type(rows).__name__}"
        elif hasattr(rows, "__len__") and not len(rows):
            yield f"sets.{name}: expected rows, got none"
        elif {"train", "stop"}.isdisjoint(before.roles_of(name)) and [*map(str, rows.ids)] != [*map(str, was.ids)]:
            yield f"sets.{name}: expected the rows of the plan, which are scored or predicted, got others"


def fillers(run: Planned) -> list[str]:
    """Return the labels of the plugins that fill fits."""
    return [member.label for member in run.bus.members_with(HOOK)]
