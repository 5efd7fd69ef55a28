"""Growing a plan: the order of its axes, and several fits made of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from attrs import evolve

from stepbus.kernel import AXES, Axis, Fit


def ranked(declared: Iterable[Axis] = ()) -> list[str]:
    """Return every axis, innermost first: the known ones, and each new one right after the one that it names.

    Args:
        declared: The axes that plugins grow; one whose place cannot be found comes last.
    """
    order, anchor = list(AXES), dict[str, str]()
    new = [axis for axis in declared if axis.name not in order]
    while placeable := [axis for axis in new if axis.after in order]:
        axis = placeable[0]
        new.remove(axis)
        if axis.name in order:
            continue
        place = order.index(axis.after) + 1
        # Those that came before it to the same place stay before it, with all that follows them.
        while place < len(order) and _follows(order[place], axis.after, anchor):
            place += 1
        order.insert(place, axis.name)
        anchor[axis.name] = axis.after
    return [*order, *dict.fromkeys(axis.name for axis in new)]


def _follows(name: str, other: str, anchor: Mapping[str, str]) -> bool:
    while name in anchor:
        name = anchor[name]
        if name == other:
            return True
    return False


def grow(fits: Iterable[Fit], make: Callable[[Fit], Sequence[Fit]]) -> list[Fit]:
    """Return a plan in which each fit is made into several, and what comes after one comes after its own copy.

    A fit of fold 2 then starts from fold 2 of the round before, not from weights that have seen its held-out rows.

    Args:
        fits: The plan so far.
        make: Returns what a fit becomes; [fit] leaves it as it is, as auxiliary ones are.

    Returns:
        The new plan. Where none of the copies has the same place on the new axes, `after` names all of them.

    Example:
        >>> from attrs import evolve
        >>> seeds = lambda fit: [evolve(fit, name=f"seed-{n}", seed=n, scope={"member": n}) for n in range(3)]
        >>> [fit.name for fit in grow([Fit("fit", {"train": train}, seed=42)], seeds)]
        ['seed-0', 'seed-1', 'seed-2']
    """
    copies = {fit.name: (fit, [fit] if fit.auxiliary else list(make(fit))) for fit in fits}

    def meant(name: str, own: Fit, was: Fit) -> list[str]:
        if name not in copies:
            return [name]
        new = {axis: place for axis, place in own.scope.items() if axis not in was.scope}
        known = copies[name][1]
        same = [each for each in known if all(each.scope.get(axis, place) == place for axis, place in new.items())]
        return [each.name for each in same or known]

    grown = []
    for was, made in copies.values():
        for own in made:
            # What `make` itself made of it stays: rounds come after their own earlier ones.
            after = [other for name in own.after for other in (meant(name, own, was) if name in was.after else [name])]
            start = own.starts_from
            if start and start == was.starts_from and len(same := meant(start, own, was)) == 1:
                start = same[0]  # of several, none is meant: the plan then says that there is no such fit
            grown.append(evolve(own, after=tuple(dict.fromkeys(after)), starts_from=start))
    return grown
