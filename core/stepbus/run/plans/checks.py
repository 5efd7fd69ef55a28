"""What is wrong with the fits of a plan, found before anything is loaded, and the plugin that made them so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, NamedTuple

from attrs import define, field

from stepbus.base import ModelError, Problem, did_you_mean, listed, show
from stepbus.fit import Prototype
from stepbus.kernel import Fit

ROLES = ("train", "stop", "score", "predict")
NAME = re.compile(r"\w(?:[\w .+=@-]{0,98}[\w+=@-])?")
SET = re.compile(r"\w[\w-]{0,98}")


class Fault(NamedTuple):
    """Something wrong with a fit.

    Args:
        attribute: The attribute of the fit that it lies in.
        value: What is wrong there: the attribute's value, or something in it.
        words: What is wrong, in words.
    """

    attribute: str
    value: Any
    words: str

    def is_in(self, fit: Fit) -> bool:
        """Whether a fit has the same."""
        own = getattr(fit, self.attribute)
        if own is self.value or (isinstance(own, str) and own == self.value):
            return True
        if isinstance(own, Mapping):
            own = [*own, *own.values()]
        return isinstance(own, list | tuple) and any(
            item is self.value or (isinstance(item, str) and item == self.value) for item in own
        )


@define
class Makers:
    """Which plugin made what of a plan.

    Args:
        members: The prototypes of the run.

    Attributes:
        history: The plan after each plugin that changed it, with the plugin's name.
    """

    members: Sequence[Prototype]
    history: list[tuple[str, list[Fit]]] = field(factory=list)

    def note(self, name: str, fits: Sequence[Fit]) -> None:
        """Take down what a plugin made."""
        self.history.append((name, list(fits)))

    def problem(self, fault: Fault, path: str = "") -> Problem:
        """Return a fault as a problem that names the first plugin in whose plan it was.

        Args:
            fault: The fault.
            path: The setting that is wrong; "" takes the plugin's.
        """
        names = [name for name, fits in self.history if any(fault.is_in(fit) for fit in fits)]
        if not names:
            return Problem(path or "plugins", fault.words)
        label = next((member.label for member in self.members if member.name == names[0]), names[0])
        return Problem(path or f"plugins.{names[0]}", f"{fault.words} ({label})")


def fits_problems(fits: Sequence[Fit], makers: Makers, kinds: tuple[type, ...]) -> list[Problem]:
    """Return what is wrong with the fits of a plan, each by itself, or else with each other.

    Args:
        fits: The fits.
        makers: Who made them.
        kinds: What a set of rows may be.
    """
    faults = [
        fault._replace(words=f"fit {show(fit.name)}: {fault.words}")
        for fit in fits
        for fault in (*_named_and_filled(fit, kinds), *_described(fit))
    ]
    if not faults:
        faults = [*_same_names(fits), *_same_places(fits), *_dependencies(fits)]
        if all(fit.auxiliary for fit in fits):
            faults.append(
                Fault("auxiliary", True, "expected a fit that predicts for the run, got auxiliary ones alone")
            )
    return [makers.problem(fault) for fault in faults]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _named_and_filled(fit: Fit, kinds: tuple[type, ...]) -> Iterator[Fault]:
    """Yield what is wrong with name, sets and seed of one fit."""
    if not isinstance(fit.name, str) or NAME.fullmatch(_composed(fit.name)) is None:
        yield Fault("name", fit.name, "expected a name that a folder can have: letters, digits, - and _")
    if not isinstance(fit.sets, Mapping) or "train" not in fit.sets:
        got = ", ".join(map(str, fit.sets)) if isinstance(fit.sets, Mapping) else show(fit.sets)
        yield Fault("sets", fit.sets, f"sets: expected rows by name, train among them, got {got or 'none'}")
    for name, rows in fit.sets.items() if isinstance(fit.sets, Mapping) else ():
        if not isinstance(name, str) or SET.fullmatch(name) is None:
            yield Fault("sets", name, f"sets: expected a name of letters, digits and -, got {show(name)}")
        elif not isinstance(rows, kinds):
            wanted = listed(dict.fromkeys(kind.__name__ for kind in kinds), "or")
            yield Fault("sets", rows, f"sets.{name}: expected {wanted}, got {show(rows)}")
        elif hasattr(rows, "__len__") and not len(rows):
            yield Fault("sets", rows, f"sets.{name}: expected rows, got none")
    if isinstance(fit.seed, bool) or not hasattr(fit.seed, "__index__") or not 0 <= fit.seed < 2**32:
        yield Fault("seed", fit.seed, f"seed: expected an int from 0 to 4294967295, got {show(fit.seed)}")


def _described(fit: Fit) -> Iterator[Fault]:
    """Yield what is wrong with scope, roles, overrides, after and starts_from of one fit."""
    scope, roles, after = fit.scope, fit.roles, fit.after
    if not isinstance(scope, Mapping) or not all(
        isinstance(axis, str) and isinstance(place, int) and not isinstance(place, bool) and place >= 0
        for axis, place in scope.items()
    ):
        yield Fault("scope", scope, f'scope: expected places on axes, {{"fold": 0}}, got {cut(scope)}')
    if not isinstance(roles, Mapping):
        yield Fault("roles", roles, f"roles: expected set name -> roles, got {cut(roles)}")
    for name, those in roles.items() if isinstance(roles, Mapping) else ():
        if name not in fit.sets:
            near = did_you_mean(str(name), fit.sets)
            yield Fault("roles", name, f"roles: expected the name of a set, got {show(name)}{near}")
        elif not isinstance(those, tuple | list) or not {*those} <= {*ROLES}:
            yield Fault("roles", those, f"roles.{name}: expected a tuple of {listed(ROLES)}, got {cut(those)}")
    if not isinstance(fit.overrides, Mapping):
        yield Fault("overrides", fit.overrides, f"overrides: expected setting -> value, got {cut(fit.overrides)}")
    if not isinstance(after, tuple | list) or not all(isinstance(name, str) for name in after):
        yield Fault("after", after, f'after: expected names of fits, ("fit",), got {cut(after)}')
    if not isinstance(fit.starts_from, str):
        start = fit.starts_from
        yield Fault("starts_from", start, f"starts_from: expected the name of a fit or a folder, got {show(start)}")


def _same_names(fits: Sequence[Fit]) -> Iterator[Fault]:
    known: dict[str, Fit] = {}
    for fit in fits:
        # As a disk may see it: macOS knows neither case nor how an accent was typed.
        other = known.setdefault(_composed(fit.name).casefold(), fit)
        if other is not fit:
            words = f"two fits of the plan have the same name: {fit.name!r}"
            if other.name != fit.name:
                words = f"two fits have names that may be one folder: {other.name!r} and {fit.name!r}"
            yield Fault("name", fit.name, f"{words}; give each its own")


def _same_places(fits: Sequence[Fit]) -> Iterator[Fault]:
    known: dict[tuple[tuple[str, int], ...], Fit] = {}
    for fit in fits:
        other = fit if fit.auxiliary else known.setdefault(tuple(sorted(fit.scope.items())), fit)
        if other is not fit:
            place = listed([f"{axis} {place}" for axis, place in fit.scope.items()]) or "no axis"
            words = f"expected fits that differ in their place, got {other.name!r} and {fit.name!r}, both on {place}"
            yield Fault("name", fit.name, f"{words}; give each a scope of its own, or make it auxiliary")


def _dependencies(fits: Sequence[Fit]) -> Iterator[Fault]:
    """Yield what is wrong with what fits wait for and start from."""
    names = [fit.name for fit in fits]
    for fit in fits:
        for name in fit.after:
            if name not in names:
                near = did_you_mean(name, names)
                words = f"fit {fit.name!r}: after: expected the name of a fit of the plan, got {name!r}{near}"
                yield Fault("after", name, words)
        start = fit.starts_from
        if start in names and start not in fit.after:
            words = f"fit {fit.name!r}: starts_from: expected {start!r} in after as well, got {tuple(fit.after)!r}"
            yield Fault("starts_from", start, words)
        elif start and start not in names and (wrong := _no_start(start, names)):
            yield Fault("starts_from", start, f"fit {fit.name!r}: starts_from: {wrong}")
    try:
        TopologicalSorter({fit.name: fit.after for fit in fits}).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        words = f"expected fits that can be done one after the other, got a circle: {' after '.join(circle)}"
        yield Fault("after", circle[1], words)


def _no_start(start: str, names: Sequence[str]) -> str:
    """Return why a fit cannot start from something that is no fit of the plan, or ""."""
    near = did_you_mean(start, names)
    if near and not Path(start).exists():
        return f"expected a fit of the plan, or a model's folder, got {start!r}{near}"
    from stepbus.compute import find_folder  # which needs MLX

    try:
        find_folder(start)
    except ModelError as error:
        return f"expected a fit of the plan, or a model's folder: {error}"
    return ""


def cut(value: Any) -> str:
    """Return what a value is, in Python's words, cut to a line."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def in_order(fits: Sequence[Fit]) -> list[Fit]:
    """Return fits so that each comes after those it waits for, else in their order; of a circle as they are."""
    left, found, done = list(fits), list[Fit](), set[str]()
    while left:
        fit = next((fit for fit in left if done.issuperset(fit.after)), left[0])
        left.remove(fit)
        found.append(fit)
        done.add(fit.name)
    return found
