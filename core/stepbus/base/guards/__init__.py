"""What plugins are given and give: read-only values, and parts and functions that say whom they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.base.guards.closed import Closed as Closed
    from stepbus.base.guards.facts import FACTS as FACTS
    from stepbus.base.guards.facts import TASKS as TASKS
    from stepbus.base.guards.facts import WANTED as WANTED
    from stepbus.base.guards.given import signed as signed
    from stepbus.base.guards.makers import Maker as Maker
    from stepbus.base.guards.places import raised_at as raised_at
    from stepbus.base.guards.promises import keeps_finite_of as keeps_finite_of
    from stepbus.base.guards.promises import said_by as said_by
    from stepbus.base.guards.read_only import AssignedByCore as AssignedByCore
    from stepbus.base.guards.read_only import ReadOnlyDict as ReadOnlyDict
    from stepbus.base.guards.read_only import ReadOnlyList as ReadOnlyList
    from stepbus.base.guards.read_only import as_read_only as as_read_only
    from stepbus.base.guards.read_only import hand_over as hand_over
    from stepbus.base.guards.read_only import unless_handed_over as unless_handed_over
    from stepbus.base.guards.read_only import written_by_core as written_by_core
    from stepbus.base.guards.scores import Scores as Scores
    from stepbus.base.guards.unheard import unheard_hooks as unheard_hooks
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        closed="Closed",
        facts="FACTS TASKS WANTED",
        given="signed",
        makers="Maker",
        places="raised_at",
        promises="keeps_finite_of said_by",
        read_only="AssignedByCore ReadOnlyDict ReadOnlyList as_read_only hand_over unless_handed_over written_by_core",
        scores="Scores",
        unheard="unheard_hooks",
    )
