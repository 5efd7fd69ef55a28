"""Who may decide by scores: as far as classes declare it before anything is trained, and what is watched meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stepbus.base import Asker, may_select
from stepbus.kernel import Member, hooks_of

if TYPE_CHECKING:
    from stepbus.kernel import Bus, ScoredSet


def deciders(members: Iterable[Member], parts: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the names of those that may stop a fit, choose its weights or change its rate by scores.

    Args:
        members: The prototypes of a run.
        parts: Built components with the name that they have on the bus; one without hooks hears no score.
    """
    found = [member.name for member in members if may_select(member.plugin, member.label)]
    return found + [name for name, part in parts if hooks_of(part, name, "fit") and may_select(part, name)]


def watch_reading(sets: Mapping[str, ScoredSet], saw: Callable[[str], None]) -> None:
    """Have it noted when anybody reads the batches of a set, a plugin that evaluates by itself among them.

    Args:
        sets: The sets of a fit by name.
        saw: Told the name.
    """
    for name, each in sets.items():
        setattr(each, "batches", _noting(each.batches, name, saw))  # noqa: B010 - a method for an attribute


def _noting(read: Callable[[], Any], name: str, saw: Callable[[str], None]) -> Callable[[], Any]:
    def noted() -> Any:
        saw(name)
        return read()

    return noted


def watched_rate(
    rate: Callable[[int, float], float], scheduler: Any, bus: Bus, total_steps: int
) -> Callable[[int, float], float]:
    """Return a rate that notes when its scheduler decides: the rate that it gives is not the one it gave before.

    Args:
        rate: The learning rate of an update, from 0, and a base.
        scheduler: What gives it; without hooks it hears no score.
        bus: The plugins of the fit.
        total_steps: Updates of the fit.
    """
    member = next((member for member in bus.members if member.plugin is scheduler), None)
    if member is None:
        return rate
    asker, ahead = Asker.of(scheduler, member.name, member.label, "rate"), dict[int, float]()

    def watched(step: int, base: float) -> float:
        if step in ahead and ahead.pop(step) != rate(step, 1.0):
            bus.control.decide(asker)
        if step + 1 < total_steps:
            ahead[step + 1] = rate(step + 1, 1.0)
        return rate(step, base)

    return watched
