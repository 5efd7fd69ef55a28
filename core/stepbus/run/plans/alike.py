"""Fits of a plan that come to the same weights: trained several times for nothing, as if they were different."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from stepbus.base import listed
from stepbus.kernel import Fit


def alike(fits: Sequence[Fit], *, fills: bool) -> Iterator[str]:
    """Yield a sentence for each group of fits with the same rows, seed, overrides and weights to start from.

    Args:
        fits: The plan.
        fills: Whether a plugin is still to add rows to those that come after others.
    """
    groups: list[list[Fit]] = []
    for fit in fits:
        if fills and fit.after:
            continue
        group = next((group for group in groups if _same(group[0], fit)), None)
        if group is None:
            groups.append([fit])
        else:
            group.append(fit)
    for group in groups:
        if len(group) > 1:
            names = [fit.name for fit in group]
            shown = names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"]
            yield (
                f"{listed(shown)} train on the same rows with the same seed, overrides and weights to start from, so "
                "they come to the same weights unless a plugin tells them apart; give each a seed of its own, "
                "evolve(fit, seed=…)"
            )


def _same(one: Fit, other: Fit) -> bool:
    """Say whether two fits do the same: what is scored or predicted alone makes no other weights."""
    if (one.seed, one.starts_from, dict(one.overrides)) != (other.seed, other.starts_from, dict(other.overrides)):
        return False
    names = [{name: fit.roles_of(name) for name in fit.sets if _decides(fit, name)} for fit in (one, other)]
    return names[0] == names[1] and all(_same_rows(one.sets[name], other.sets[name]) for name in names[0])


def _decides(fit: Fit, name: str) -> bool:
    return not {"train", "stop"}.isdisjoint(fit.roles_of(name))


def _same_rows(one: Any, other: Any) -> bool:
    """Say whether two sets have the same rows in the same order; of a loader's batches only what is one object has."""
    if one is other:
        return True
    if not hasattr(one, "pieces") or not hasattr(other, "pieces") or len(one) != len(other):
        return False
    if any(not np.array_equal(*pair) for pair in ((one.ids, other.ids), *_numbers(one, other))):
        return False
    if not hasattr(one, "frame"):
        return [piece.source_key for piece, _ in one.pieces] == [piece.source_key for piece, _ in other.pieces]
    return bool(one.frame.equals(other.frame))


def _numbers(one: Any, other: Any) -> Iterator[tuple[Any, Any]]:
    """Yield what else rows have of each, where either has it: an array beside nothing is not equal to it."""
    for name in ("weights", "soft"):
        pair = getattr(one, name, None), getattr(other, name, None)
        if any(each is not None for each in pair):
            yield pair
