"""Which weights hold minus infinity on purpose."""

from __future__ import annotations

import copy

import mlx.core as mx
import mlx.nn as nn

from stepbus.compute.watching.again import became_nan, first_spoiled
from stepbus.compute.watching.masks import is_mask, note_masks

INF, NAN = float("inf"), float("nan")


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mask, self.free = mx.array([0.0, -INF, -INF]), mx.zeros(3)


def test_only_what_was_minus_infinity_when_it_was_noted_is_a_mask() -> None:
    model = Masked()
    assert is_mask(model, "free", mx.array([-INF, 0.0, 0.0]))  # nobody knows
    note_masks(model)
    assert is_mask(model, "mask", model.mask)
    assert is_mask(model, "mask", mx.array([0.0, 0.0, -INF]))
    assert not is_mask(model, "mask", mx.array([-INF, -INF, -INF]))
    assert not is_mask(model, "mask", mx.array([-INF, -INF]))  # of another shape
    assert not is_mask(model, "free", mx.array([-INF, 0.0, 0.0]))
    assert is_mask(model, "other", mx.array([-INF]))  # which came later
    assert is_mask(copy.deepcopy(model), "mask", model.mask)
    assert set(model.parameters()) == {"mask", "free"}
    note_masks(object())  # no module has no weights


def test_a_new_one_is_the_first_that_is_spoiled_beside_a_mask() -> None:
    model = Masked()
    note_masks(model)
    for kind in ("update", "average"):
        assert first_spoiled(model, model.parameters(), kind) is None
        found = first_spoiled(model, {**model.parameters(), "free": mx.array([0.0, -INF, 0.0])}, kind)
        assert found is not None and (found.name, found.infinite) == ("free", 1)
    found = first_spoiled(model, {"mask": mx.array([NAN, -INF, -INF])}, "update")
    assert found is not None and (found.nan, found.infinite) == (1, 2)


def test_what_began_as_nan_or_is_infinite_did_not_become_nan() -> None:
    before = {"a": mx.array([NAN, 1.0]), "b": mx.array([1, 2]), "c": mx.zeros(2)}
    assert became_nan(before, before) is None
    assert became_nan(before, {**before, "c": mx.array([INF, -INF])}) is None
    assert became_nan(before, {**before, "c": mx.array([0.0, NAN])}) == ("c", 1, "float32 [2]")
    assert became_nan(before, {**before, "a": mx.array([NAN, NAN])}) == ("a", 1, "float32 [2]")
    assert became_nan({}, {"new": mx.array([NAN])}) == ("new", 1, "float32 [1]")
