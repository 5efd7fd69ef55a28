"""What a plugin may do, from its hooks and from what it declares."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus.author.abilities import MEANINGS, powers
from stepbus.base.requests import REQUESTS
from stepbus.kernel.hook_checks import hooks_of
from stepbus_plugins.checkpoint import CheckpointPolicy
from stepbus_plugins.early_stopping import EarlyStopping
from stepbus_plugins.gradient_clipping import GradientClipping
from stepbus_plugins.history import History
from stepbus_plugins.nan_guard import NanGuard


@pytest.mark.parametrize(
    ("cls", "settings", "words"),
    [
        (EarlyStopping, {}, ("stop", "best", "refuse")),
        (EarlyStopping, {"restore_best": False}, ("stop", "refuse")),  # so no memory is planned for them
        (CheckpointPolicy, {}, ("checkpoint", "remove", "refuse")),
        (NanGuard, {}, ("stop",)),
        (GradientClipping, {}, ("change", "refuse")),
        (History, {}, ()),
    ],
)
def test_what_our_own_plugins_may_do(cls: Any, settings: dict[str, Any], words: tuple[str, ...]) -> None:
    plugin = cls(cls.Config(**settings))
    assert powers(plugin, hooks_of(plugin, cls.__name__)) == words


def test_every_request_has_a_meaning() -> None:
    assert set(REQUESTS) < set(MEANINGS)
