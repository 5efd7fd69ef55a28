"""What one fit does, and the directions that a plan of fits grows in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import field, frozen

from stepbus.base.guards import as_read_only

# The axes that fits can grow along, innermost first: the order in which results are combined.
AXES = ("fold", "repeat", "member", "round", "trial")


@frozen
class Axis:
    """A direction that a plan grows in: the folds of a cross-validation, the members of an ensemble.

    A plugin that grows a plan says so in its class: `grows = (Axis("fold"),)`.

    Args:
        name: The axis; fold, repeat, member, round and trial are known, innermost first.
        combined_by: The plugin, by its name in the configuration, that combines what lies along it; "" is the one that
            grows it.
        after: The axis that a new one comes after, which is combined before it.

    Example:
        >>> class GrowsEras:  # a plugin whose fits lie along a direction of its own, combined after the rounds
        ...     grows = (Axis("era", after="round"),)
        >>> GrowsEras.grows[0].name
        'era'
    """

    name: str
    combined_by: str = ""
    after: str = ""


@frozen(eq=False)
class Fit:
    """What one fit is about to do.

    Args:
        name: A folder name: "fit", "fold-1".
        sets: Named rows: `train`; `validation`, which is scored; `stop`, which decides when there is one; `test`,
            which is predicted.
        seed: Where its randomness starts.
        scope: Its place on each axis: {"fold": 0}.
        notice: Something a reader of its score must know ("selected on validation").
        roles: Set name -> its roles, of train, stop, score and predict; where a set is not in it, its name says them.
        overrides: Setting -> value, where this fit differs from the configuration: {"optimizer.learning_rate": 1e-5}.
        starts_from: The fit whose weights it starts with, by name, or the folder of a model; "" takes what
            the configuration says.
        after: The fits, by name, whose results it needs.
        auxiliary: Whether it serves another purpose than the run's predictions and is combined with no other.

    Example:
        >>> fit = Fit("fit", {"train": train, "validation": dev}, seed=42)
        >>> fit.with_role("train"), fit.with_role("score"), fit.monitored
        (['train'], ['validation'], 'validation')
    """

    name: str
    sets: dict[str, Any] = field(repr=lambda sets: f"<{', '.join(sets)}>")
    seed: int
    scope: dict[str, int] = field(factory=dict)
    notice: str = ""
    roles: Mapping[str, tuple[str, ...]] = field(factory=dict)
    overrides: Mapping[str, Any] = field(factory=dict)
    starts_from: str = ""
    after: tuple[str, ...] = ()
    auxiliary: bool = False

    def seal(self) -> None:
        """Make its mappings ones that core alone changes: it is planned, and plugins are about to be given it."""
        for name in ("sets", "scope", "roles", "overrides"):
            object.__setattr__(self, name, as_read_only(getattr(self, name)))

    def roles_of(self, name: str) -> tuple[str, ...]:
        """Return what a set is for: train, stop, score, predict.

        Args:
            name: The set.
        """
        if name in self.roles:
            return self.roles[name]
        if name == "validation":
            return ("score",) if self._decided_elsewhere else ("stop", "score")
        return {"train": ("train",), "stop": ("stop",), "test": ("predict",)}.get(name, ("score",))

    def with_role(self, role: str) -> list[str]:
        """Return the names of the sets that have a role, in order."""
        return [name for name in self.sets if role in self.roles_of(name)]

    def is_labelled(self, name: str) -> bool:
        """Return whether the labels of a set are read: those of one that is only predicted are not."""
        return set(self.roles_of(name)) != {"predict"}

    @property
    def _decided_elsewhere(self) -> bool:
        """Whether another set than `validation` decides."""
        return any(name != "validation" and "stop" in self.roles.get(name, (name,)) for name in self.sets)

    @property
    def monitored(self) -> str | None:
        """The set that is evaluated during training, if there is one."""
        return next(iter(self.with_role("stop")), None)


def grown_axes(fits: Iterable[Fit], order: Sequence[str] = AXES) -> list[str]:
    """Return the axes that a fit has a place on, innermost first; auxiliary fits have none.

    Args:
        fits: The fits.
        order: The axes that are known, innermost first.
    """
    grown = dict.fromkeys(axis for fit in fits if not fit.auxiliary for axis in fit.scope)
    return [axis for axis in order if axis in grown] + [axis for axis in grown if axis not in order]
