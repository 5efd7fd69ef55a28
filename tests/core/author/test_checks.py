"""What is wrong with a plugin class, without running it."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus import Axis, hookimpl
from stepbus.author import problems_of
from stepbus.config.discovery import LoadedPlugin


def nothing(self: Any) -> None: ...


@pytest.mark.parametrize(
    ("grows", "hooks", "words"),
    [
        ((Axis("fold"),), ("expand_fits", "combine_results"), []),
        ((Axis("bag", "mean", "member"),), ("expand_fits",), []),
        ("fold", ("expand_fits",), ["expected grows = (Axis(\"name\"),), got 'fold'"]),
        ((Axis("fold"),), ("combine_results",), ["it has grows and no expand_fits, which would grow the plan"]),
        ((Axis("fold"),), ("expand_fits",), ["it grows the plan along fold, and has no combine_results; write it"]),
        ((Axis("bag", "mean"),), ("expand_fits",), ["the axis bag is a new one; say what it comes after"]),
        ((Axis("fold", after="member"),), ("expand_fits", "combine_results"), ["the axis fold has its place"]),
    ],
)
def test_the_axes_that_a_class_declares(grows: Any, hooks: tuple[str, ...], words: list[str]) -> None:
    functions = {name: hookimpl(type(nothing)(nothing.__code__, globals(), name)) for name in hooks}
    cls = type("Grows", (), {"scope": "run", "grows": grows, **functions})
    found = problems_of(LoadedPlugin("grows", cls, "here", "", "local"))
    assert len(found) == len(words)
    assert all(said.startswith(start) for said, start in zip(found, words, strict=True))
