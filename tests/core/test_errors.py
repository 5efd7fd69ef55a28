"""What went wrong after the first cause is mentioned, once, and in order."""

from __future__ import annotations

from stepbus.errors import BadInput, PluginFailure, mention


def test_later_errors_are_notes_of_the_first() -> None:
    first, second, third = BadInput("one"), PluginFailure("two"), PluginFailure("three")
    mention(second, [third])
    mention(first, [second, BadInput("one"), PluginFailure("two"), PluginFailure("four")])
    mention(first, [])
    assert first.__notes__ == ["two", "three", "four"]
