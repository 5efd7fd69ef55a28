"""The phases of a fit: what is trained in each, and what of the model plugins change before the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import ModelError, PluginError, did_you_mean, listed
from stepbus.fit.exporting import set_apart

if TYPE_CHECKING:
    from stepbus.fit import Fitting


def transformed_model(session: Fitting, model: Any, *, kept: bool) -> Any:
    """Return the model of a fit as plugins change it, its weights in place.

    Args:
        session: The fit.
        model: The model as it was loaded.
        kept: Whether it is the caller's own.

    Raises:
        ModelError: What came back is no `mlx.nn.Module`.
    """
    import mlx.nn as nn

    model, labels = set_apart(session, model, kept=kept), labels_of(session)

    def told(member: str, given: Any) -> None:
        if not isinstance(given, nn.Module):
            raise ModelError(
                f"{labels[member]}: transform_model: expected a model, an mlx.nn.Module, got a {type(given).__name__}"
            )

    return session.bus.thread("transform_model", told=told, trainer=session, model=model)


def labels_of(session: Fitting) -> dict[str, str]:
    """Return how messages name the members of a fit, by name."""
    return {member.name: member.label for member in session.bus.members}


def phases_of(session: Fitting, names: Sequence[str] | None = None) -> dict[int, tuple[str, ...]]:
    """Return the updates before each phase -> the parameters that it trains; the first phase begins at 0.

    Args:
        session: The fit, its model in place.
        names: The parameters that are not frozen; None takes those of the model.

    Raises:
        PluginError: A plugin names a parameter that there is none of, or that one before it took out.
        ModelError: A phase trains nothing.
    """
    asked = session.bus.in_order("phases", trainer=session)
    total = session.state.total_steps
    starts = sorted({0, *(step for steps in asked for step in steps if step < total)})
    if names is None:
        from stepbus.compute.stepping import trainable_names

        names = trainable_names(session.model)
    return {start: _trained(session, tuple(names), start) for start in starts}


def _trained(session: Fitting, names: tuple[str, ...], start: int) -> tuple[str, ...]:
    left, labels, givers = names, labels_of(session), dict[str, None]()

    def told(member: str, given: Any) -> None:
        nonlocal left
        givers[labels[member]] = None
        for name in given:
            if name not in left:
                near = did_you_mean(name, left)
                raise PluginError(
                    f"{labels[member]}: trained_parameters names {name!r}{near}, expected some of the names given"
                )
        left = tuple(name for name in left if name in set(given))

    session.bus.thread("trained_parameters", told=told, trainer=session, model=session.model, names=names, step=start)
    if not left:
        who = listed(givers)
        if not who:
            raise ModelError(
                "model: expected parameters to train, got a model in which everything is frozen; leave some of it "
                "unfrozen: model.head.unfreeze(), or model.unfreeze()"
            )
        raise ModelError(
            f"{who}: trained_parameters: expected some parameters to train from update {start + 1} on, got all frozen"
        )
    return left


def phase_at(phases: Mapping[int, Any], step: int) -> int:
    """Return where the phase begins that an update belongs to.

    Args:
        phases: By the updates before each.
        step: The updates so far.
    """
    return max(start for start in phases if start <= step)


def late_ones(phases: Mapping[int, Sequence[str]]) -> dict[str, str]:
    """Return which phases train a parameter, as a word such as "01", of each that some do and some do not."""
    found: dict[str, str] = {}
    for name in union(phases):
        word = "".join("1" if name in names else "0" for names in _sets(phases))
        if "0" in word:
            found[name] = word
    return found


def union(phases: Mapping[int, Sequence[str]]) -> list[str]:
    """Return the parameters that any phase trains."""
    return list(dict.fromkeys(name for names in phases.values() for name in names))


def _sets(phases: Mapping[int, Sequence[str]]) -> list[frozenset[str]]:
    return [frozenset(names) for names in phases.values()]
