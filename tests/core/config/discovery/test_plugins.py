"""Finding plugins without importing them, and importing the named ones."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from stepbus import PluginError
from stepbus.config.discovery import plugins
from stepbus.config.discovery.plugin_sources import may_offer_components, purpose, source_file
from stepbus.config.discovery.plugins import Entry, import_module, installed, load_class


def test_what_is_installed_is_known_by_name() -> None:
    found = installed()["early_stopping"]
    assert (found.value, found.distribution) == ("stepbus_plugins.early_stopping:EarlyStopping", "stepbus")
    assert found.rivals == ()


def test_an_unknown_name_has_a_suggestion() -> None:
    with pytest.raises(PluginError, match=r"no installed plugin is called 'early_stoping' \(did you mean"):
        load_class("early_stoping")


@pytest.mark.parametrize("name", ["Early", "early-stopping", "1st", ""])
def test_a_name_is_small_letters(name: str) -> None:
    with pytest.raises(PluginError, match="expected a plugin name of small letters"):
        load_class(name)


def offer(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    monkeypatch.setattr(plugins, "entries", lambda group: entries)


def test_two_distributions_with_one_name_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, Entry("same", "one:A", "first-package", "1"), Entry("same", "two:B", "second-package", "2"))
    with pytest.raises(PluginError) as caught:
        load_class("same")
    assert str(caught.value) == (
        "two distributions offer 'same': first-package (one:A), second-package (two:B); say which with use: one:A"
    )


def test_use_picks_one(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, Entry("same", "one:A", "first-package", "1"), Entry("same", "two:B", "second-package", "2"))
    assert load_class("same", "stepbus_plugins.history:History").cls.__name__ == "History"


def test_a_broken_import_names_the_package_and_the_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_sample.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, Entry("sample", "broken_sample:Sample", "sample-package", "3.1"))
    with pytest.raises(PluginError) as caught:
        load_class("sample")
    assert str(caught.value) == (
        "sample (sample-package 3.1) cannot be imported: ZeroDivisionError: division by zero; "
        "switch it off with plugins: {sample: false}"
    )


def test_a_file_is_found_beside_the_base(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from stepbus import hookimpl\nclass Mine:\n    @hookimpl\n    def on_step_end(self): ...\n"
    )
    loaded = load_class("mine", "./mine.py:Mine", tmp_path)
    assert (loaded.cls.__name__, loaded.origin, loaded.label) == ("Mine", "local", "mine, mine.py")


@pytest.mark.parametrize(
    ("use", "got"),
    [
        ("os:system", "expected a class with hooks or components, got something of type builtin_function_or_method"),
        (
            "builtins:exec",
            "expected a class with hooks or components, got something of type builtin_function_or_method",
        ),
        ("sys:exit", "expected a class with hooks or components, got something of type builtin_function_or_method"),
        ("stepbus.cli.main:main", "expected a class with hooks or components, got something of type function"),
        ("os:environ", "expected a class with hooks or components, got something of type _Environ"),
        ("os:path", "expected a class with hooks or components, got something of type module"),
        ("sys:maxsize", "expected a class with hooks or components, got something of type int"),
        ("subprocess:Popen", "it has neither hooks nor components"),
        ("builtins:dict", "it has neither hooks nor components"),
        ("stepbus.base.errors:BadInput", "it has neither hooks nor components"),
        (
            "stepbus_plugins.history:History.Config",
            "expected use: module:Class or ./file.py:Class, got",
        ),
    ],
)
def test_what_use_names_is_looked_at_before_it_is_called(use: str, got: str) -> None:
    with pytest.raises(PluginError, match=re.escape(got)):
        load_class("mine", use)


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(f"place = {folder!r}\n")
    assert [import_module("mine.py", tmp_path / folder).place for folder in ("a", "b")] == ["a", "b"]


def test_a_file_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import nowhere_to_be_found\n")
    before = set(sys.modules)
    with pytest.raises(PluginError, match=r"cannot import \./mine\.py: ModuleNotFoundError"):
        import_module("./mine.py", tmp_path)
    assert not [name for name in set(sys.modules) - before if "mine" in name]


def test_a_missing_file_has_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "my_plugin.py").touch()
    with pytest.raises(PluginError, match=r"there is no file ./my_plugins.py \(did you mean 'my_plugin.py'\?\)"):
        import_module("./my_plugins.py", tmp_path)


def test_the_purpose_is_read_without_importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "unread_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    (package / "part.py").write_text('class Part:\n    """Does one thing.\n\n    More words."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert purpose("unread_package.part:Part") == "Does one thing."
    assert source_file("unread_package.part:Part") == package / "part.py"
    assert "unread_package" not in sys.modules


@pytest.mark.parametrize(
    "value", ["nowhere_at_all:Part", "stepbus.nowhere:Part", "stepbus.config.discovery.plugins:NoSuchClass"]
)
def test_a_purpose_that_cannot_be_read_is_empty(value: str) -> None:
    assert purpose(value) == ""


@pytest.mark.parametrize(
    ("body", "may"),
    [
        ("class A:\n    def on_close(self): ...\n", False),
        ("class A:\n    components = [Component('metric', 'm', C, b)]\n", True),
        ("class A:\n    components: ClassVar[list] = [stepbus.Component('optimizer', 'm', C, b)]\n", False),
        ("class A:\n    components = [Component('optimizer', 'o', C, b), Component('head', 'h', C, b)]\n", True),
        ("class A:\n    components = [Component('optimizer', 'o', C, b), made()]\n", True),
        ("class A:\n    components = MADE_ELSEWHERE\n", True),
        ("class A(Base):\n    pass\n", True),
        ("@decorated\nclass A:\n    pass\n", True),
        ("A = made()\n", True),
    ],
)
def test_what_a_class_offers_is_told_from_its_source(body: str, may: bool, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(body)
    assert may_offer_components(f"{tmp_path}/plugin.py:A", beside=("optimizer", "scheduler")) is may


def test_what_stands_where_a_file_of_python_is_expected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "null.py").symlink_to("/dev/null")
    for name, kind in (("fifo", "a pipe"), ("folder", "a folder"), ("null", "a device or socket")):
        with pytest.raises(PluginError, match=rf"^\./{name}\.py: expected a file of Python, got {kind}$"):
            load_class("mine", f"./{name}.py:X", tmp_path)
    with pytest.raises(
        PluginError, match=r"^expected a module's name, or a file that ends in \.py, got '\.\./etc/pass"
    ):
        load_class("mine", "../etc/passwd:x", tmp_path)
