"""A package that offers a name of stepbus's own breaks no run: the built-in one is meant, and the doctor says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stepbus import import_module

made: Any = import_module(str(Path(__file__).parents[1] / "fixtures" / "distributions.py"))
OTHER = """
from stepbus import hookimpl

class History:
    \"\"\"Another history.\"\"\"

    scope = "run"

    @hookimpl
    def on_run_start(self, run):
        run.message("the other history")

def command(words):
    print("the other command")
"""
LOOK = """
from stepbus.config.discovery import installed, load_class, preset_path
from stepbus.config.load import load_config
found = installed()
assert (found["history"].distribution, found["history"].rivals) == ("stepbus", ()), found["history"]
assert [each.distribution for each in found["history"].hidden] == ["aaa-other"]
assert load_class("history").distribution == "stepbus"
assert load_class("early_stopping").distribution == "stepbus"
assert load_class("mine", "aaa_other:History").label == "mine, aaa_other.py"
assert preset_path("production").parent.name == "configs", preset_path("production")
print([choice.loaded.label for choice in load_config(None).plugins if choice.name == "history"])
"""


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, ...]:
    """Folders of packages that offer a plugin, a preset and a command by names of ours."""
    points = {"stepbus.plugins": {"history": "History", "early_stopping": "History"}}
    points |= {"stepbus.presets": {"production": "aaa_other"}, "stepbus.commands": {"train": "command"}}
    for number, (group, named) in enumerate(points.items()):
        name = f"{'abc'[number] * 3}-other"
        made.install(tmp_path / name, name, OTHER, named, group=group)
    return tuple(tmp_path / f"{letter * 3}-other" for letter in "abc")


def test_the_built_in_one_is_meant_and_use_reaches_the_other(paths: tuple[Path, ...], tmp_path: Path) -> None:
    done = made.python(LOOK, *paths, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['history, stepbus ")


def test_the_command_of_ours_is_ours(paths: tuple[Path, ...], tmp_path: Path) -> None:
    done = made.stepbus("train", "--help", paths=paths, folder=tmp_path)
    assert done.returncode == 0
    assert "the other command" not in done.stdout


def test_the_doctor_says_so(paths: tuple[Path, ...], tmp_path: Path) -> None:
    done = made.stepbus("plugins", "doctor", paths=paths, folder=tmp_path)
    assert done.returncode == 2
    words = "its name is that of a built-in plugin, which goes first; use: aaa_other:History reaches it"
    assert done.stdout.count(words) == 2
    assert "the preset production of bbb-other 1.0 is hidden by the built-in one" in done.stdout
    assert "the command train of ccc-other 1.0 is hidden by the built-in one" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines() if " history " in line]
    assert [(line[0], line[2]) for line in lines] == [("ok", "stepbus"), ("wrong", "aaa-other")]
