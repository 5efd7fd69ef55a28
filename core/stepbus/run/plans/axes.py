"""The axes of a plan: which plugin grows each of them, and which one combines what lies along it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from stepbus.base import PluginError, Problem, did_you_mean, listed, show
from stepbus.fit import Prototype
from stepbus.kernel import Axis, Fit, grown_axes, hooks_of
from stepbus.run.plans.checks import Fault, Makers
from stepbus.run.plans.growing import ranked

COMBINES = "combine_results"


@frozen(eq=False)
class Grown:
    """An axis, as a plugin declares it.

    Args:
        axis: The axis.
        member: The plugin.
    """

    axis: Axis
    member: Prototype

    @property
    def combiner(self) -> str:
        """The name of the plugin that combines what lies along it."""
        return self.axis.combined_by or self.member.name


def grows_of(plugin: Any, label: str) -> tuple[Axis, ...]:
    """Return the axes that a plugin declares.

    Args:
        plugin: A class, an instance or a module.
        label: How messages name it.

    Raises:
        PluginError: `grows` is no tuple of axes.
    """
    grows = getattr(plugin, "grows", ())
    if not isinstance(grows, tuple | list) or not all(isinstance(axis, Axis) for axis in grows):
        raise PluginError(f'{label}: expected grows = (Axis("name"),), got {show(grows)}')
    return tuple(grows)


def declared(members: Iterable[Prototype]) -> list[Grown]:
    """Return the axes that plugins declare, in call order.

    Args:
        members: The prototypes of a run.

    Raises:
        PluginError: `grows` is no tuple of axes.
    """
    return [Grown(axis, member) for member in members for axis in grows_of(member.plugin, member.label)]


def declared_problems(grown: Sequence[Grown]) -> list[Problem]:
    """Return what is wrong with the axes that plugins declare, whatever the plan is.

    Args:
        grown: The axes.
    """
    problems: list[Problem] = []
    for axis, several in _by_name(grown).items():
        if len(several) > 1:
            labels = listed(each.member.label for each in several)
            message = f"expected one plugin that grows the plan along {axis}, got {labels}; switch all but one off"
            problems.append(Problem(f"plugins.{several[1].member.name}", message))
    for each in grown:
        if wrong := misplaced(each.axis, [other.axis for other in grown]):
            problems.append(Problem(f"plugins.{each.member.name}", f"{each.member.label}: {wrong}"))
    return problems


def _by_name(grown: Sequence[Grown]) -> dict[str, list[Grown]]:
    found: dict[str, list[Grown]] = {}
    for each in grown:
        found.setdefault(each.axis.name, []).append(each)
    return found


def axes_problems(grown: Sequence[Grown], makers: Makers, fits: Sequence[Fit]) -> list[Problem]:
    """Return what is wrong with the axes that fits have places on, and with who combines them.

    Args:
        grown: The axes that plugins declare.
        makers: The plugins of the run, and which of them made what.
        fits: The fits, each sound by itself.
    """
    problems, by_name = list[Problem](), _by_name(grown)
    named = {member.name: member for member in makers.members}
    for axis in grown_axes(fits, ranked(each.axis for each in grown)):
        if axis not in by_name:
            problems.append(makers.problem(Fault("scope", axis, _undeclared(axis, fits, by_name))))
        for each in by_name.get(axis, []):
            if wrong := _uncombined(each, named):
                problems.append(Problem(f"plugins.{each.member.name}", wrong))
    return problems


def unasked(grown: Sequence[Grown], members: Sequence[Prototype]) -> list[str]:
    """Return a sentence for each plugin that combines results, and that nobody asks."""
    asked, found = {each.combiner for each in grown}, []
    for each in members:
        own = hooks_of(each.plugin, each.label).get(COMBINES)
        if own is not None and each.name not in asked and not getattr(own, "stepbus_impl", {}).get("wrapper"):
            found.append(
                f"{each.label} has {COMBINES} and is not asked, because no axis of the plan is combined by it; who "
                f"grows the axis names it: Axis(…, combined_by={each.name!r})"
            )
    return found


def ungrown(grown: Sequence[Grown], fits: Sequence[Fit]) -> list[str]:
    """Return a sentence for each axis that a plugin declares, and that no fit of the plan has a place on.

    Args:
        grown: The axes that plugins declare.
        fits: The fits.
    """
    return [
        f"{each.member.label} declares the axis {each.axis.name} and made no fit along it; if it was to make some, let "
        f'its expand_fits return them, each with a place: scope=fit.scope | {{"{each.axis.name}": 0}}'
        for each in grown
        if not any(each.axis.name in fit.scope for fit in fits)
    ]


def _undeclared(axis: str, fits: Sequence[Fit], known: Mapping[str, list[Grown]]) -> str:
    name = next(fit.name for fit in fits if axis in fit.scope)
    near = did_you_mean(axis, known)
    return (
        f"fit {name!r} has a place on the axis {axis!r}, which no plugin of the plan declares{near}; write "
        f"grows = (Axis({axis!r}),) in the class of the one that grows it"
    )


def misplaced(axis: Axis, known: Sequence[Axis]) -> str:
    """Return what is wrong with the place of an axis among the others, or ""."""
    ranks = ranked()
    if axis.name in ranks:
        return f"the axis {axis.name} has its place; leave after={axis.after!r} out" if axis.after else ""
    names = [*ranks, *(other.name for other in known)]
    if not axis.after:
        return f'the axis {axis.name} is a new one; say what it comes after: Axis({axis.name!r}, after="member")'
    if axis.after not in names:
        near = did_you_mean(axis.after, names)
        return f"the axis {axis.name} comes after {axis.after!r}, which is no axis{near}; known are {listed(ranks)}"
    seen, place = {axis.name}, {other.name: other.after for other in known}
    after = axis.after
    while after in place and after not in ranks:
        if after in seen:
            return f"the axis {axis.name} comes after {axis.after}, which comes after it; name one of {listed(ranks)}"
        seen.add(after)
        after = place[after]
    return ""


def _uncombined(grown: Grown, named: dict[str, Prototype]) -> str:
    """Return why nobody combines what lies along an axis, or ""."""
    axis, label, name = grown.axis.name, grown.member.label, grown.combiner
    member = named.get(name)
    if member is None:
        near = did_you_mean(name, named)
        return (
            f"{label} grows the plan along {axis}, and {name!r} is to combine it, which is not switched on{near}; add "
            f"plugins: {{{name}: {{}}}}"
        )
    if COMBINES not in hooks_of(member.plugin, member.label):
        other = "" if name == grown.member.name else f"{member.label}, which is to combine it, "
        mend = f'write {COMBINES} in it, or name who combines it: Axis({axis!r}, combined_by="…")'
        return f"{label} grows the plan along {axis}, and {other}has no {COMBINES}; {mend}"
    return ""
