"""Names that packages add to stepbus: found when asked for, never in the place of its own, refused in one sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import stepbus
from stepbus.base.errors import PluginError
from stepbus.config.discovery import package_names
from stepbus.config.discovery.entry_points import Entry
from stepbus.config.discovery.package_names import UnusableName, listing, name_problems, names
from stepbus.config.discovery.plugins import import_module

fakes = import_module(str(Path(__file__).parents[3] / "fixtures" / "distributions.py"))

SHOUT = "def shout():\n    return 'aloud'\n"


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Entry]:
    """A package that adds the name shout."""
    (tmp_path / "shout_pack.py").write_text(SHOUT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "shout_pack", raising=False)
    found = [Entry("shout", "shout_pack:shout", "shout-pack", "1.0")]
    monkeypatch.setattr(package_names, "entries", lambda group: tuple(found) if group == "stepbus.names" else ())
    return found


def test_a_name_is_there_and_imported_when_asked_for(offered: list[Entry]) -> None:
    assert "shout" in dir(stepbus) and set(stepbus.__all__) < set(dir(stepbus))
    assert listing() == "names of installed packages, from stepbus import …: shout (shout-pack 1.0)"
    assert name_problems() == []
    assert "shout_pack" not in sys.modules
    assert hasattr(stepbus, "shout")
    from stepbus import shout  # type: ignore[attr-defined]

    assert shout is stepbus.shout is sys.modules["shout_pack"].shout
    assert shout() == "aloud"


def test_what_nobody_has_is_no_attribute(offered: list[Entry]) -> None:
    assert not hasattr(stepbus, "nothing_of_the_kind")
    assert not hasattr(stepbus, "shuot") and getattr(stepbus, "shuot", None) is None
    with pytest.raises(AttributeError, match=r"^module 'stepbus' has no attribute 'shuot' \(did you mean 'shout'\?\)$"):
        _ = stepbus.shuot
    with pytest.raises(ImportError, match=r"^cannot import name 'create_trainr' from 'stepbus' \(did you mean '"):
        from stepbus import create_trainr  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'nothing_of_the_kind' from 'stepbus'"):
        from stepbus import nothing_of_the_kind  # noqa: F401
    with pytest.raises(AttributeError, match=r"^module 'stepbus' has no attribute '__nothing__'$"):
        _ = stepbus.__nothing__


def test_packages_inside_are_found_as_ever(offered: list[Entry], tmp_path: Path) -> None:
    offered.append(Entry("testing", "shout_pack:shout", "shout-pack", "1.0"))
    said = (
        "import stepbus\ntry:\n    stepbus.testing\nexcept AttributeError as error:\n    print(error)\n"
        "from stepbus import testing\nprint(testing.__name__)\n"
    )
    assert fakes.python(said, folder=tmp_path).stdout.splitlines() == [
        "module 'stepbus' has no attribute 'testing'; write import stepbus.testing",
        "stepbus.testing",
    ]
    assert name_problems() == ["the name testing of shout-pack 1.0 is hidden by stepbus's own; it needs another name"]


def test_a_name_of_stepbus_is_its_own(offered: list[Entry]) -> None:
    own = stepbus.Callback
    offered.append(Entry("Callback", "shout_pack:shout", "shout-pack", "1.0"))
    assert stepbus.Callback is own
    assert names() == ["shout"]
    assert name_problems() == ["the name Callback of shout-pack 1.0 is hidden by stepbus's own; it needs another name"]


def test_two_packages_with_one_name_are_both_named(offered: list[Entry]) -> None:
    offered.append(Entry("shout", "loud_pack:shout", "loud-pack", "2.0"))
    said = (
        "stepbus.shout is offered by loud-pack 2.0 and shout-pack 1.0; uninstall one of them, or import it from the "
        "package itself"
    )
    with pytest.raises(UnusableName) as refused:
        from stepbus import shout  # type: ignore[attr-defined]  # noqa: F401
    assert str(refused.value) == said and name_problems() == [said]
    assert isinstance(refused.value, PluginError) and isinstance(refused.value, ImportError)
    assert "shout" not in dir(stepbus)


def test_a_plugin_of_stepbus_goes_before_a_package(offered: list[Entry]) -> None:
    offered.insert(0, Entry("shout", "loud_pack:shout", "loud-pack", "2.0"))
    offered[1] = offered[1]._replace(distribution="stepbus")
    assert stepbus.shout() == "aloud"
    assert name_problems() == [
        "the name shout of loud-pack 2.0 is hidden by that of a built-in plugin; it needs another name"
    ]


@pytest.mark.parametrize(
    ("value", "text", "reason"),
    [
        ("broken_pack:shout", "import a_package_that_is_nowhere\n", "No module named 'a_package_that_is_nowhere'"),
        ("broken_pack:shout", "raise SystemExit(3)\n", "SystemExit: 3"),
        (
            "broken_pack:shout",
            "def shuot(): ...\n",
            r"the module broken_pack has no 'shout' \(did you mean",
        ),
        ("broken_pack", "", "expected an entry point module:attribute"),
        ("broken pack:shout", "", "expected an entry point module:attribute"),
        ("absent_pack:shout", "", "No module named 'absent_pack'"),
    ],
)
def test_a_target_that_cannot_be_had_names_the_package(
    offered: list[Entry], value: str, text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "broken_pack", raising=False)
    (tmp_path / "broken_pack.py").write_text(text)
    offered[:] = [Entry("shout", value, "broken-pack", "1.0")]
    words = f"^stepbus.shout of broken-pack 1.0 cannot be imported from {value}: .*{reason}"
    for ask in ("stepbus.shout", "hasattr(stepbus, 'shout')", "__import__('stepbus', fromlist=['shout'])"):
        with pytest.raises(UnusableName, match=words):
            eval(ask)


def test_the_doctor_looks_at_each(tmp_path: Path) -> None:
    points = {"shout": "shout", "shuot": "shuot", "Callback": "shout", "to-day": "shout", "_own": "shout"}
    fakes.install(tmp_path, "shout-pack", SHOUT, points, group="stepbus.names")
    fakes.install(tmp_path, "broken-pack", fakes.BROKEN, {"mend": "Broken"}, group="stepbus.names")
    doctor = fakes.stepbus("plugins", "doctor", paths=(tmp_path,), folder=tmp_path)
    assert doctor.returncode == 2
    for words in (
        "stepbus.shuot of shout-pack 1.0 (shout_pack:shuot): the module shout_pack has no 'shuot' (did you mean 'shout",
        "stepbus.mend of broken-pack 1.0 (broken_pack:Broken): ModuleNotFoundError: No module named 'a_package_that",
        "the name Callback of shout-pack 1.0 is hidden by stepbus's own; it needs another name",
        "the name to-day of shout-pack 1.0: expected a name of Python that does not begin with _; it needs another",
        "the name _own of shout-pack 1.0: expected a name of Python that does not begin with _; it needs another name",
    ):
        assert words in doctor.stdout, words
    assert "stepbus.shout of" not in doctor.stdout
    listed = fakes.stepbus("plugins", "list", paths=(tmp_path,), folder=tmp_path).stdout
    assert "mend (broken-pack 1.0), shout (shout-pack 1.0), shuot (shout-pack 1.0)" in listed


def test_nothing_is_read_when_stepbus_is_imported(tmp_path: Path) -> None:
    code = "import sys, stepbus; print('importlib.metadata' in sys.modules, 'stepbus.config' in sys.modules)"
    assert fakes.python(code, folder=tmp_path).stdout == "False False\n"
