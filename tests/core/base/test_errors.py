"""What went wrong after the first cause is mentioned, once, and in order."""

from __future__ import annotations

from stepbus.base.errors import BadInput, PluginFailure, mention
from stepbus.base.problems import Problem
from stepbus.base.quoting import one_line


def test_later_errors_are_notes_of_the_first() -> None:
    first, second, third = BadInput("one"), PluginFailure("two"), PluginFailure("three")
    mention(second, [third])
    mention(first, [second, BadInput("one"), PluginFailure("two"), PluginFailure("four")])
    mention(first, [])
    assert first.__notes__ == ["two", "three", "four"]


def test_no_sentence_holds_what_a_terminal_obeys() -> None:
    assert str(BadInput("a\x1b[2J\tb\nc\r\x7f\x9b")) == "a\\x1b[2J\tb\nc\\x0d\\x7f\\x9b"
    assert str(Problem("a\x1b", "b\x07")) == "a\\x1b: b\\x07"


def test_what_is_quoted_stays_on_its_line_and_short() -> None:
    assert one_line("a\nb\x1b") == "a\\nb\\x1b"
    assert one_line("ä" * 300) == "ä" * 200 + " …"
