"""The fixtures that pytest finds by itself. It reads this file in every session, so nothing is imported at its top."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stepbus.kernel import Bus
    from stepbus.testing.playing import Played
    from stepbus.testing.recorder import Recorder


@pytest.fixture
def stepbus_no_discovery(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Find no entry point of any package while the test runs."""
    from stepbus.config.discovery import entry_points

    monkeypatch.setattr(entry_points, "distributions", lambda: ())
    entry_points.entries.cache_clear()
    yield
    entry_points.entries.cache_clear()


@pytest.fixture
def stepbus_play(stepbus_no_discovery: None, tmp_path: Path) -> Callable[..., Played]:
    """Return `stepbus.testing.play`, which plays in the test's own folder."""
    from stepbus.testing.playing import play

    return functools.partial(play, directory=tmp_path / "run")


@pytest.fixture
def stepbus_bus(stepbus_no_discovery: None) -> Callable[..., Bus]:
    """Return `stepbus.testing.bus_of`, which makes a bus with the given plugins on it and no others."""
    from stepbus.testing.playing import bus_of

    return bus_of


@pytest.fixture
def stepbus_recorder() -> Recorder:
    """Return a plugin that writes down every hook call."""
    from stepbus.testing.recorder import Recorder

    return Recorder()
