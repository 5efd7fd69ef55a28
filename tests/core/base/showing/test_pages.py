"""Tables for notebooks, and folders as they are named from here."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepbus.base.showing import html_table, short_path


def test_a_table_holds_any_text() -> None:
    page = html_table([("a", "<script>&'\""), ("b", "2")])
    assert "<script>" not in page
    assert "&lt;script&gt;&amp;&#x27;&quot;" in page
    assert page.count("<tr>") == 2


def test_a_folder_is_named_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "a" / "b") == "a/b"
    assert short_path(Path("a")) == "a"
    assert short_path(tmp_path.parent / "other") == str(tmp_path.parent / "other")
