"""Plugins that an error switched off, and that stay so over a resume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.kernel import Bus, Member


def disabled_of(members: Iterable[Member]) -> dict[str, str]:
    """Return name -> error of every member that an error switched off."""
    return {member.name: member.disabled for member in members if member.disabled}


def keep_disabled(bus: Bus, saved: Mapping[str, str]) -> None:
    """Leave those members switched off that an error had switched off before the run was cut, and say so.

    Args:
        bus: The bus; who is no longer on it is passed over.
        saved: What `disabled_of` returned then.
    """
    for member in bus.members:
        error = saved.get(member.name)
        if error and not member.disabled:
            member.disabled = error
            bus.meter.of(member.name).disabled.append(error)
            bus.on_disabled(f"{member.name} stays switched off, as it was before the resume: {error}")
