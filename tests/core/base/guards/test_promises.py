"""Who promises finite gradients for finite ones, and who does not inherit that promise."""

from __future__ import annotations

import types
from typing import Any

import pytest

from stepbus.base.errors import PluginError
from stepbus.base.guards.promises import keeps_finite_of


class Promises:
    keeps_finite = True

    def transform_gradients(self) -> Any: ...


class SaysNothing(Promises):
    pass


class Overrides(Promises):
    def transform_gradients(self) -> Any: ...


class Again(Overrides):
    keeps_finite = True


class Withdraws(Promises):
    keeps_finite = False


MODULE = types.ModuleType("module")
vars(MODULE).update(keeps_finite=True)


@pytest.mark.parametrize(
    ("plugin", "kept"),
    [
        (Promises, True),
        (Promises(), True),
        (SaysNothing(), True),
        (Overrides(), False),
        (Again(), True),
        (Withdraws(), False),
        (object(), False),
        (MODULE, True),
    ],
)
def test_the_promise_is_of_the_class_that_has_the_function(plugin: Any, kept: bool) -> None:
    assert keeps_finite_of(plugin, "mine") is kept


def test_something_else_is_refused() -> None:
    with pytest.raises(PluginError, match=r"^mine: expected keeps_finite = True or keeps_finite = False, got 'yes'$"):
        keeps_finite_of(type("Mine", (), {"keeps_finite": "yes"}), "mine")
