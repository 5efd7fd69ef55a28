"""Who may decide by scores, as far as classes declare it, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepbus.base import may_select
from stepbus.kernel import Member, hooks_of


def deciders(members: Iterable[Member], parts: Iterable[tuple[str, Any]]) -> list[str]:
    """Return the names of those that may stop a fit, choose its weights or change its rate by scores.

    Args:
        members: The prototypes of a run.
        parts: Built components with the name that they have on the bus; one without hooks hears no score.
    """
    found = [member.name for member in members if may_select(member.plugin, member.label)]
    return found + [name for name, part in parts if hooks_of(part, name, "fit") and may_select(part, name)]
