"""What names rows: its scheme, its file, the rest; and what a reader has to say of itself."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define

from stepbus.base.components import Component, Components
from stepbus.base.errors import PluginError
from stepbus.base.row_sources import by_scheme, claimed


@define(frozen=True, kw_only=True)
class Nothing:
    pass


def reader(name: str = "mine", **facts: Any) -> Component:
    return Component("reader", name, Nothing, print, facts)


READERS = [reader("lite", schemes=("lite",), file=True), reader("table", schemes=("table",)), reader(suffixes=(".x",))]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("lite:some.db#t", ("lite", "lite", "some.db", "#t")),
        ("LITE:/a b/some.db?query=SELECT '#'", ("lite", "LITE", "/a b/some.db", "?query=SELECT '#'")),
        ("lite:", ("lite", "lite", "", "")),
        ("lite:#t", ("lite", "lite", "", "#t")),
        ("lite:a\n?b\nc", ("lite", "lite", "a\n", "?b\nc")),
        ("table:iris#t", ("table", "table", None, "iris#t")),
        ("other:iris", None),
        ("some.x", None),
        ("/lite:a", None),
        ("l:a", None),
    ],
)
def test_a_text_is_taken_apart(text: str, parts: tuple[Any, ...] | None) -> None:
    found = by_scheme(text, READERS)
    assert parts == (None if found is None else (found.reader.name, found.scheme, found.path, found.rest))
    if found is not None and found.path is not None:
        assert found.moved(found.path) == text


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, 'expected metadata={"suffixes": (".csv", …)} or {"schemes": ("sqlite", …)} in its Component, got none'),
        ({"suffixes": (), "schemes": ()}, 'expected metadata={"suffixes": (".csv", …)} or {"schemes"'),
        ({"suffixes": [".x"]}, "expected suffixes in its metadata to be a tuple of endings in small letters, such as"),
        ({"suffixes": ".x"}, "expected suffixes in its metadata to be a tuple of endings in small letters"),
        ({"suffixes": ("x",)}, "expected suffixes in its metadata to be endings in small letters, such as ("),
        ({"suffixes": (".X",)}, "got '.X'"),
        ({"suffixes": (3,)}, "got 3"),
        ({"suffixes": (".a/b",)}, "got '.a/b'"),
        ({"schemes": ("sql:",)}, "expected schemes in its metadata to be names of two small letters or more"),
        ({"schemes": ("c",)}, "got 'c'"),
        ({"schemes": ("mine",), "file": "yes"}, "expected file in its metadata to be True or False, got 'yes'"),
        ({"suffixes": (".x",), "packed": 1}, "expected packed in its metadata to be True or False, got 1"),
    ],
)
def test_facts_are_looked_at(facts: dict[str, Any], message: str) -> None:
    assert reader(**facts).unfit().startswith("the reader 'mine': ")
    assert message in reader(**facts).unfit()
    assert claimed("reader", facts) == []


def test_good_facts_are_fine() -> None:
    assert reader(suffixes=(".x", ".tar.gz"), schemes=("my-sql+x",), packed=True, file=False).unfit() == ""
    assert claimed("reader", {"suffixes": (".x",), "schemes": ("sql",)}) == ["files ending in .x", "rows by sql:"]
    assert claimed("metric", {"suffixes": (".x",)}) == []


def test_two_readers_of_one_ending_or_scheme_are_named() -> None:
    for facts, words in (({"suffixes": (".x", ".y")}, "files ending in .y"), ({"schemes": ("sql",)}, "rows by sql:")):
        components = Components()
        components.add(reader("one", **facts), "first, one 1.0")
        with pytest.raises(
            PluginError, match=f"two plugins read {words}: first, one 1.0 and second, two 2.0; switch one"
        ):
            components.add(reader("two", **{name: values[-1:] for name, values in facts.items()}), "second, two 2.0")
        assert components.names("reader") == ["one"]
