"""Who hears each event of a planned run, in call order, and what each of its plugins gives and may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.author import powers, timeline
from stepbus.base import Selected
from stepbus.compute.models import head_for
from stepbus.fit import for_fit
from stepbus.kernel import RUN_HOOKS, SPECIFICATIONS, Bus
from stepbus.text.rows import readers_in_use

if TYPE_CHECKING:
    from stepbus.base import Component
    from stepbus.config import Config
    from stepbus.kernel import Member
    from stepbus.run import Run


def planned_members(run: Run) -> list[Member]:
    """Return the members of a fit's bus as the run will make them, the scheduler last where it listens."""
    return for_fit(run.members, run.builder.parts(), alone=len(run.fits) <= 1, extras=run.plugins)


def describe_events(run: Run, members: Sequence[Member]) -> list[dict[str, Any]]:
    """Return who hears each event, in call order, without the events that nobody hears.

    Args:
        run: A run.
        members: Those of a fit's bus.
    """
    fit, planners = Bus(members), Bus(run.members)
    found = []
    for event in events_in_order():
        bus = run.bus if event in RUN_HOOKS else planners if event == "validate_plan" else fit
        # pluggy calls the last of its list first.
        heard = list(reversed(getattr(bus.hook, event).get_hookimpls()))
        if heard:
            calls = [{"plugin": each.plugin_name, "around": bool(each.wrapper)} for each in heard]
            found.append({"event": event, "calls": calls})
    return found


def events_in_order() -> list[str]:
    """Return every event: first in the order of a run, then those that may come at any time."""
    timed = [word for word in timeline().split() if word in SPECIFICATIONS]
    return list(dict.fromkeys([*timed, *SPECIFICATIONS]))


def describe_plugins(
    run: Run, members: Sequence[Member], events: Sequence[Mapping[str, Any]], task: str | None
) -> list[dict[str, Any]]:
    """Return each plugin with where it comes from, what it gives and what it may do.

    Args:
        run: A run.
        members: Those of a fit's bus.
        events: As `describe_events` returned them.
        task: What the labels are, where that is known.
    """
    loaded = {choice.name: choice.loaded for choice in run.config.plugins}
    scopes = {member.name: member.scope for member in run.members}
    used = components_in_use(run.config, task)
    found = []
    for member in members:
        own = loaded.get(member.name)
        hooks = [each["event"] for each in events if member.name in [call["plugin"] for call in each["calls"]]]
        offered = [] if own is None else own.components
        found.append(
            {
                "name": member.name,
                "distribution": own.distribution if own is not None else None,
                "version": (own.version or None) if own is not None else None,
                "scope": scopes.get(member.name, "fit"),
                "on_error": member.on_error,
                "hooks": hooks,
                "gives": [f"{part.kind} {part.name}" for part in used if any(part is each for each in offered)],
                "may": list(powers(member.plugin, hooks, member.label)),
            }
        )
    return found


def components_in_use(config: Config, task: str | None) -> list[Component]:
    """Return the components that a configuration picks, by itself or by the labels.

    Args:
        config: The configuration.
        task: What the labels are; without it, nothing is known of what goes by them.
    """
    picked = [*_selected([getattr(config, name) for name in ("model", "data", "loss", "optimizer", "scheduler")])]
    picked += _selected([choice.settings for choice in config.plugins])
    picked += readers_in_use(config.data.settings)
    parts = [each.component for each in picked if each.component.kind != "head"]
    if task is not None:
        parts.append(head_for(config.components, config.model.settings.head, task).component)
        metrics = [part for part, _ in config.components if part.kind == "metric"]
        named = None if config.training.metrics is None else [each.component for each in config.training.metrics]
        parts += [part for part in metrics if task in part.metadata.get("default", ())] if named is None else named
    return parts


def _selected(value: Any) -> Iterator[Selected]:
    """Yield the components that settings hold, and those that these hold."""
    if isinstance(value, Selected):
        yield value
        yield from _selected(value.settings)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _selected(each)
    elif attrs.has(type(value)):
        for each in attrs.fields(type(value)):
            yield from _selected(getattr(value, each.name))
