"""The code of an editable install: one changed byte of it is another version, whatever the version says."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stepbus import CheckpointError, create_trainer, hookimpl
from stepbus.base.errors import PluginError
from stepbus.config.discovery import plugins
from stepbus.device import conditions, sources
from stepbus.device.sources import code_version, digest_of, is_editable

PLUGIN = """
from stepbus import hookimpl
from .arithmetic import double

class Doubles:
    '''Double what is trained with.'''

    @hookimpl
    def on_fit_start(self, trainer):
        trainer.optimizer.learning_rate = double(trainer.optimizer.learning_rate)
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """What a process knows of distributions and sources is asked for anew, as in another process."""

    def forget() -> None:
        for known in (plugins.entries, digest_of, is_editable, sources._installed_folders, conditions._fixed):
            getattr(known, "cache_clear", lambda: None)()  # a test may have put another in its place
        for name in [name for name in sys.modules if name.partition(".")[0] in ("doubling", "company")]:
            del sys.modules[name]

    forget()
    yield
    forget()


def package(folder: Path) -> Path:
    """Write the package `doubling` into a folder, with what does not count beside what does."""
    for place in ("inner", "tests", "__pycache__", ".hidden"):
        (folder / "doubling" / place).mkdir(parents=True)
    files = {
        "__init__.py": "", "arithmetic.py": "def double(x): return 2 * x\n", "plugin.py": PLUGIN,
        "inner/__init__.py": "", "inner/deep.py": "x = 1\n", "tests/test_it.py": "", "test_plugin.py": "",
        "conftest.py": "", "__pycache__/plugin.cpython-311.pyc": "", ".hidden/x.py": "", "data.json": "{}",
    }  # fmt: skip
    for name, text in files.items():
        (folder / "doubling" / name).write_text(text)
    return folder / "doubling"


def metadata(folder: Path, *, record: str = "", direct_url: Any = None) -> None:
    """Write what an installer leaves of the distribution `stepbus-doubling` in a folder."""
    info = folder / "stepbus_doubling-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stepbus-doubling\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stepbus.plugins]\ndoubles = doubling.plugin:Doubles\n")
    (info / "RECORD").write_text(record)
    if direct_url is not None:
        (info / "direct_url.json").write_text(direct_url if isinstance(direct_url, str) else json.dumps(direct_url))


EDITABLE = {"url": "file:///x", "dir_info": {"editable": True}}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("plugin.py", True), ("arithmetic.py", True), ("inner/deep.py", True), ("new.py", True),
        ("tests/test_it.py", False), ("test_plugin.py", False), ("conftest.py", False), ("data.json", False),
        ("__pycache__/plugin.cpython-311.pyc", False), (".hidden/x.py", False), ("__pycache__/x.py", False),
    ],
)  # fmt: skip
def test_every_source_of_the_package_counts_and_nothing_else(name: str, counts: bool, tmp_path: Path) -> None:
    folder = package(tmp_path)
    before = digest_of(folder)
    digest_of.cache_clear()
    assert digest_of(folder) == before
    with (folder / name).open("a") as file:
        file.write("\n")
    digest_of.cache_clear()
    assert (digest_of(folder) != before) == counts


def test_a_name_counts_and_what_stands_in_one_file_cannot_stand_in_two(tmp_path: Path) -> None:
    folder = package(tmp_path)
    found = {digest_of(folder)}
    for name, text in (("inner/deep.py", ""), ("inner/deeper.py", "x = 1\n")):
        (folder / name).write_text(text)
        digest_of.cache_clear()
        found.add(digest_of(folder))
    (folder / "inner" / "deep.py").unlink()
    digest_of.cache_clear()
    assert len(found | {digest_of(folder)}) == 4


@pytest.mark.parametrize(
    ("direct_url", "record", "editable"),
    [
        (EDITABLE, "", True),
        (None, "", True),  # a plain path: no installer noted anything
        (EDITABLE, "doubling/__init__.py,sha256=abc,0\n", True),
        (None, "doubling/__init__.py,sha256=abc,0\n", False),
        ({"url": "file:///x", "dir_info": {}}, "doubling/__init__.py,sha256=abc,0\n", False),
        ({"url": "https://x/y.whl", "archive_info": {}}, "doubling/__init__.py,sha256=abc,0\n", False),
        ("{]", "", True),
        ("[1]", "", True),
        (None, "doubling/other.py,sha256=abc,0\n", True),
    ],
)
def test_an_editable_install_is_told_by_what_its_installer_noted_and_by_where_it_lies(
    direct_url: Any, record: str, editable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = package(tmp_path)
    metadata(tmp_path, record=record, direct_url=direct_url)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert is_editable("stepbus-doubling", folder) is editable
    import doubling.plugin as module  # type: ignore[import-not-found]

    expected = f"1.0+editable.{digest_of(folder)}" if editable else "1.0"
    assert code_version("stepbus-doubling", "1.0", module.__name__) == expected


def test_what_lies_among_the_installed_is_as_it_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = package(tmp_path / "site")
    monkeypatch.setattr(sources, "_installed_folders", lambda: ((tmp_path / "site").resolve(),))
    assert not is_editable("nobody-knows-it", folder)
    assert is_editable("nobody-knows-it", tmp_path)


def test_a_namespace_is_nobodys_package_and_a_module_may_stand_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ours/__init__.py", "ours/part.py", "theirs/__init__.py", "alone.py"):
        (tmp_path / "company" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "company" / name).write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    import company.alone  # type: ignore[import-not-found]
    import company.ours.part  # type: ignore[import-not-found]  # noqa: F401

    found = [code_version("x", "1", name) for name in ("company.ours.part", "company.ours", "company.alone")]
    digests = [digest_of(tmp_path / "company" / name) for name in ("ours", "ours", "alone.py")]
    assert found == [f"1+editable.{digest}" for digest in digests]
    assert code_version("x", "1", "never_imported.at_all") == "1"


def test_a_package_in_an_archive_is_as_it_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path / "src")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "src")
    monkeypatch.syspath_prepend(archive)
    import doubling.arithmetic as module

    assert archive in str(module.__file__)
    assert code_version("stepbus-doubling", "1.0", "doubling.arithmetic") == "1.0"


def test_sources_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    folder = package(tmp_path)
    (folder / "gone.py").symlink_to("nowhere")
    with pytest.raises(
        PluginError, match=r"/gone\.py: the sources of an editable install cannot be read \(No such file"
    ):
        digest_of(folder)


def test_this_stepbus_knows_its_own_sources_plugin_by_plugin() -> None:
    import stepbus
    from stepbus_plugins import history

    root = Path(stepbus.__file__).parent
    own = conditions.current()["stepbus"]
    if is_editable("stepbus", root):  # as in CI; from a wheel, the version says it all
        assert own == f"{stepbus.__version__}+editable.{digest_of(root)}"
        version = code_version("stepbus", "1", "stepbus_plugins.history", depth=2)
        assert version == f"1+editable.{digest_of(Path(history.__file__).parent)}"
    else:
        assert own == stepbus.__version__


@pytest.fixture
def train(
    tmp_path: Path, tiny_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """Return a function that trains with the plugin, as a process of its own would; it gives the warnings."""
    package(tmp_path / "src")
    metadata(tmp_path / "src", direct_url=EDITABLE)
    monkeypatch.syspath_prepend(str(tmp_path / "src"))

    class Falls:
        falls = False

        @hookimpl
        def on_step_end(self, state: Any) -> None:
            if state.step == 13 and self.falls:
                raise KeyError("the lights went out")

    class Words:
        scope = "run"

        def __init__(self) -> None:
            self.said: list[str] = []

        @hookimpl
        def on_message(self, text: str, level: str) -> None:
            if level == "warning":
                self.said.append(text)

    def run(*, falls: bool = False, **options: Any) -> list[str]:
        for known in (plugins.entries, digest_of, is_editable):
            known.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "doubling"]:
            del sys.modules[name]
        Falls.falls, words = falls, Words()
        trainer = create_trainer(config=tiny_config(plugins={"progress": False, "doubles": {}}), plugins=[Falls, words])
        trainer.train(**options)
        return words.said

    return run


def test_a_resume_after_the_code_of_an_editable_plugin_changed_is_refused_by_name(
    train: Callable[..., list[str]], tmp_path: Path
) -> None:
    with pytest.raises(Exception, match="the lights went out"):
        train(falls=True)
    helper = tmp_path / "src" / "doubling" / "arithmetic.py"
    before = helper.read_text()
    helper.write_text(before.replace("2 *", "3 *"))
    os.utime(helper, (1, 1))  # told by what it holds, not by when
    changed = (
        r"plugins\.doubles was stepbus-doubling 1\.0\+editable\.\w{12}, is stepbus-doubling 1\.0\+editable\.\w{12}"
    )
    with pytest.raises(CheckpointError, match=changed):
        train(resume=True)
    said = train(resume=True, allow_changed=True)
    assert [text for text in said if text.startswith("resumed although plugins.doubles was stepbus-doubling")]


def test_a_resume_of_the_same_code_goes_on_in_silence(train: Callable[..., list[str]], tmp_path: Path) -> None:
    with pytest.raises(Exception, match="the lights went out"):
        train(falls=True)
    (tmp_path / "src" / "doubling" / "test_plugin.py").write_text("assert True\n")
    (tmp_path / "src" / "doubling" / "__pycache__" / "more.pyc").write_text("")
    os.utime(tmp_path / "src" / "doubling" / "plugin.py", (1, 1))
    assert train(resume=True) == []
